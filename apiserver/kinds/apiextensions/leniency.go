package apiextensions

import (
	"reflect"
	"slices"

	celgo "github.com/google/cel-go/cel"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	structuraldefaulting "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/cel/environment"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

// rules checks one definition. The fields say which rules hold: an update may keep what an older server took.
type rules struct {
	check.List
	needSchema     bool // every version has a schema
	knownTypes     bool // types are OpenAPI's
	structural     bool // schemas are structural
	prunedDefaults bool
	atomicSets     bool
	mapKeys        bool // keys of list maps are required or have defaults
	anyReview      bool // a webhook that the server cannot speak to
	anyBundle      bool // a CA bundle that is none
	unchanged      sets.Set[string]
	manySelectable map[string]bool
	known          expressions
}

func newRules() *rules {
	return &rules{needSchema: true, knownTypes: true, structural: true, prunedDefaults: true, atomicSets: true, mapKeys: true,
		// Upstream lets a new definition have any bundle: whoever writes the webhook fills it in later.
		anyBundle: true}
}

// expressions are those of the stored definition: they were accepted once. It is what the CEL compiler asks.
type expressions struct{ rules, messages sets.Set[string] }

func pick(env *environment.EnvSet, stored bool) *celgo.Env {
	if stored {
		return env.StoredExpressionsEnv()
	}
	return env.NewExpressionsEnv()
}

// RuleEnv implements upstream's interface.
func (e expressions) RuleEnv(env *environment.EnvSet, text string) *celgo.Env {
	return pick(env, e.rules.Has(text))
}

// MessageExpressionEnv implements upstream's interface.
func (e expressions) MessageExpressionEnv(env *environment.EnvSet, text string) *celgo.Env {
	return pick(env, e.messages.Has(text))
}

// lenient drops the rules that the stored definition breaks.
func (v *rules) lenient(d, old *definition) {
	spec := &old.Spec
	v.needSchema = spec.Validation != nil && spec.Validation.OpenAPIV3Schema != nil ||
		!slices.ContainsFunc(spec.Versions, func(o apiextensions.CustomResourceDefinitionVersion) bool {
			return o.Schema == nil || o.Schema.OpenAPIV3Schema == nil
		})
	v.knownTypes = !schemaIn(spec, func(s *apiextensions.JSONSchemaProps) bool {
		return s.Type != "" && !slices.Contains(schemaTypes, s.Type)
	})
	v.atomicSets = !schemaIn(spec, func(s *apiextensions.JSONSchemaProps) bool { _, _, bad := looseItem(s); return bad })
	v.mapKeys = !schemaIn(spec, func(s *apiextensions.JSONSchemaProps) bool {
		var l rules
		l.listKeys(s, nil)
		return len(l.ErrorList) > 0
	})
	v.structural, v.prunedDefaults = true, true
	v.known = expressions{sets.New[string](), sets.New[string]()}
	for _, root := range roots(spec) {
		structural, err := structuralschema.NewStructural(root)
		if err != nil || len(structuralschema.ValidateStructural(nil, structural)) > 0 {
			v.structural = false
			continue
		}
		if walk(root, hasDefault) {
			pruned := structural.DeepCopy()
			if structuraldefaulting.PruneDefaults(pruned) == nil && !reflect.DeepEqual(structural, pruned) {
				v.prunedDefaults = false
			}
		}
	}
	schemaIn(spec, func(s *apiextensions.JSONSchemaProps) bool {
		for _, r := range s.XValidations {
			v.known.rules.Insert(r.Rule)
			v.known.messages.Insert(r.MessageExpression)
		}
		return false
	})
	v.anyReview = spec.Conversion != nil && len(spec.Conversion.ConversionReviewVersions) > 0 && !understood(spec.Conversion.ConversionReviewVersions)
	v.anyBundle = !apiextensions.IsCRDConditionTrue(old, apiextensions.Established)
	if c := spec.Conversion; c != nil && c.WebhookClientConfig != nil && len(c.WebhookClientConfig.CABundle) > 0 && badBundle(c.WebhookClientConfig.CABundle) != nil {
		v.anyBundle = true
	}
	v.unchanged, v.manySelectable = sets.New[string](), map[string]bool{}
	keeps := func(version string, now, before []apiextensions.SelectableField) {
		if len(before) > mostSelectable && apiequality.Semantic.DeepEqual(now, before) {
			v.manySelectable[version] = true
		}
	}
	keeps("", d.Spec.SelectableFields, spec.SelectableFields)
	for _, version := range d.Spec.Versions {
		now, err := apiextensions.GetSchemaForVersion(d, version.Name)
		before, oldErr := apiextensions.GetSchemaForVersion(old, version.Name)
		if err == nil && oldErr == nil && apiequality.Semantic.DeepEqual(now, before) {
			v.unchanged.Insert(version.Name)
		}
		for _, o := range spec.Versions {
			if o.Name == version.Name {
				keeps(version.Name, version.SelectableFields, o.SelectableFields)
			}
		}
	}
}

// roots are the schemas of a definition.
func roots(s *apiextensions.CustomResourceDefinitionSpec) []*apiextensions.JSONSchemaProps {
	var out []*apiextensions.JSONSchemaProps
	if s.Validation != nil && s.Validation.OpenAPIV3Schema != nil {
		out = append(out, s.Validation.OpenAPIV3Schema)
	}
	for i := range s.Versions {
		if schema := s.Versions[i].Schema; schema != nil && schema.OpenAPIV3Schema != nil {
			out = append(out, schema.OpenAPIV3Schema)
		}
	}
	return out
}

// schemaIn says whether any schema in a definition is as wanted.
func schemaIn(s *apiextensions.CustomResourceDefinitionSpec, is func(*apiextensions.JSONSchemaProps) bool) bool {
	return slices.ContainsFunc(roots(s), func(root *apiextensions.JSONSchemaProps) bool { return walk(root, is) })
}

// walk looks at a schema and all below it until one is as wanted.
func walk(s *apiextensions.JSONSchemaProps, is func(*apiextensions.JSONSchemaProps) bool) bool {
	if s == nil {
		return false
	}
	if is(s) || walk(s.Not, is) {
		return true
	}
	for _, list := range [][]apiextensions.JSONSchemaProps{s.AllOf, s.AnyOf, s.OneOf} {
		for i := range list {
			if walk(&list[i], is) {
				return true
			}
		}
	}
	if s.Items != nil {
		if walk(s.Items.Schema, is) {
			return true
		}
		for i := range s.Items.JSONSchemas {
			if walk(&s.Items.JSONSchemas[i], is) {
				return true
			}
		}
	}
	for _, m := range []map[string]apiextensions.JSONSchemaProps{s.Properties, s.PatternProperties, s.Definitions} {
		for _, child := range m {
			if walk(&child, is) {
				return true
			}
		}
	}
	for _, either := range []*apiextensions.JSONSchemaPropsOrBool{s.AdditionalProperties, s.AdditionalItems} {
		if either != nil && walk(either.Schema, is) {
			return true
		}
	}
	for _, d := range s.Dependencies {
		if walk(d.Schema, is) {
			return true
		}
	}
	return false
}

func hasDefault(s *apiextensions.JSONSchemaProps) bool { return s.Default != nil }

// extended says whether a schema uses what only structural ones may.
func extended(s *apiextensions.JSONSchemaProps) bool {
	return s.XEmbeddedResource || s.XPreserveUnknownFields != nil || s.XIntOrString || len(s.XListMapKeys) > 0 || s.XListType != nil || len(s.XValidations) > 0
}
