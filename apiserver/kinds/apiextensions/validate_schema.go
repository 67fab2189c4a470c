package apiextensions

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	structuraldefaulting "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	schemavalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

// schemaTypes are OpenAPI's types, sorted.
var schemaTypes = []string{"array", "boolean", "integer", "number", "object", "string"}

// atRoot are the fields that a schema's root may use where there is a status subresource, in the order in which upstream's
// message has them.
var atRoot = []string{"Description", "Type", "Format", "Title", "Maximum", "ExclusiveMaximum", "Minimum", "ExclusiveMinimum", "MaxLength", "MinLength", "Pattern",
	"MaxItems", "MinItems", "UniqueItems", "MultipleOf", "Required", "Items", "Properties", "ExternalDocs", "Example", "XPreserveUnknownFields", "XValidations"}

// validation checks the schema of a version, or of all. unchanged says that the stored definition has the same, whose
// rules may then cost what they cost.
func (v *rules) validation(c *apiextensions.CustomResourceValidation, status, unchanged bool, at *field.Path) {
	if c == nil {
		return
	}
	found := &rules{}
	if schema := c.OpenAPIV3Schema; schema != nil {
		v.root(found, schema, status, unchanged, at)
	}
	if len(found.ErrorList) == 0 {
		if _, _, err := schemavalidation.NewSchemaValidator(c.OpenAPIV3Schema); err != nil {
			found.Add(field.Invalid(at, "", fmt.Sprintf("error building validator: %v", err)))
		}
	}
	v.All(found.ErrorList)
}

func (v *rules) root(found *rules, schema *apiextensions.JSONSchemaProps, status, unchanged bool, at *field.Path) {
	if status {
		found.Add(rootFields(schema, at))
	}
	if schema.Nullable {
		found.Add(field.Forbidden(at.Child("openAPIV3Schema.nullable"), "nullable cannot be true at the root"))
	}
	at = at.Child("openAPIV3Schema")
	var notStructural *field.Error
	var scope *celScope
	if v.structural {
		structural, err := structuralschema.NewStructural(schema)
		if err != nil {
			notStructural = field.Invalid(at, "", err.Error())
		} else if errs := structuralschema.ValidateStructural(at, structural); len(errs) > 0 {
			found.All(errs)
		} else if errs, err := structuraldefaulting.ValidateDefaults(background, at, structural, true, v.prunedDefaults); err != nil {
			found.Add(field.Invalid(at, "", err.Error()))
		} else if len(errs) > 0 {
			found.All(errs)
		} else {
			scope = rootScope(schema)
		}
	}
	walker := &schemaWalker{rules: v, unchanged: unchanged}
	shape, rules := walker.schema(schema, at, place{}, true, scope)
	found.All(shape)
	found.All(rules)
	if len(found.ErrorList) == 0 && notStructural != nil {
		found.Add(notStructural)
	}
	if scope != nil {
		found.All(scope.cost.exceeded(at))
	}
}

// rootFields complains about the first field of a root that a status subresource does not go with.
func rootFields(schema *apiextensions.JSONSchemaProps, at *field.Path) *field.Error {
	value := reflect.ValueOf(schema).Elem()
	for i := range value.NumField() {
		switch name := value.Type().Field(i).Name; {
		case reflect.DeepEqual(value.Field(i).Interface(), reflect.Zero(value.Field(i).Type()).Interface()):
		case name == "Type":
			if schema.Type != "object" {
				return field.Invalid(at.Child("openAPIV3Schema.type"), schema.Type, `only "object" is allowed as the type at the root of the schema if the status subresource is enabled`)
			}
		case !slices.Contains(atRoot, name):
			return field.Invalid(at.Child("openAPIV3Schema"), *schema, fmt.Sprintf(`only %v fields are allowed at the root of the schema if the status subresource is enabled`, atRoot))
		}
	}
	return nil
}

// place is what being below something means for a schema.
type place struct {
	noDefaults   string // why there may be no defaults; empty if there may
	inMeta       bool
	uncorrelated *field.Path // a list or map whose old and new elements cannot be told apart
}

func (p place) without(defaults string) place { p.noDefaults = defaults; return p }

func (p place) loose(at *field.Path) place {
	if p.uncorrelated == nil {
		p.uncorrelated = at
	}
	return p
}

type schemaWalker struct {
	*rules
	unchanged bool
}

// schema checks a schema and all below it. Errors of the shape come before those of CEL rules, as in upstream's answer.
// scope is nil where rules are not compiled.
func (w *schemaWalker) schema(s *apiextensions.JSONSchemaProps, at *field.Path, here place, isRoot bool, scope *celScope) (shape, celErrs field.ErrorList) {
	if s == nil {
		return nil, nil
	}
	var l check.List
	w.plain(&l, s, at, here)
	below := func(child *apiextensions.JSONSchemaProps, at *field.Path, there place, scope *celScope) {
		shape, cels := w.schema(child, at, there, false, scope)
		l.All(shape)
		celErrs = append(celErrs, cels...)
	}
	if a := s.AdditionalProperties; a != nil {
		if len(s.Properties) != 0 && (!a.Allows || a.Schema != nil) {
			l.Add(field.Forbidden(at.Child("additionalProperties"), "additionalProperties and properties are mutual exclusive"))
		}
		there := here
		if here.inMeta {
			there = here.without("inside additionalProperties applying to object metadata")
		}
		below(a.Schema, at.Child("additionalProperties"), there, scope.values(a.Schema))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		there, child := here, s.Properties[name]
		if !cel.MapIsCorrelatable(s.XMapType) {
			there = there.loose(at)
		}
		if (isRoot || s.XEmbeddedResource) && (name == "metadata" || name == "kind" || name == "apiVersion") {
			there.inMeta = true
			if isRoot {
				there = there.without("in top-level " + name)
			}
		}
		below(&child, at.Child("properties").Key(name), there, scope.property(&child, name))
	}
	below(s.Not, at.Child("not"), here, nil)
	for _, logic := range []struct {
		name string
		list []apiextensions.JSONSchemaProps
	}{{"allOf", s.AllOf}, {"oneOf", s.OneOf}, {"anyOf", s.AnyOf}} {
		for i := range logic.list {
			below(&logic.list[i], at.Child(logic.name).Index(i), here, nil)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Definitions)) {
		child := s.Definitions[name]
		below(&child, at.Child("definitions").Key(name), here, nil)
	}
	if s.Items != nil {
		there := here
		if s.XListType == nil || *s.XListType != "map" {
			there = here.loose(at)
		}
		below(s.Items.Schema, at.Child("items"), there, scope.items(s.Items.Schema))
		for i := range s.Items.JSONSchemas {
			below(&s.Items.JSONSchemas[i], at.Child("items").Index(i), there, scope.items(&s.Items.JSONSchemas[i]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Dependencies)) {
		below(s.Dependencies[name].Schema, at.Child("dependencies").Key(name), here, nil)
	}
	w.listsAndMaps(&l, s, at)
	for i := range s.XValidations {
		validationRule(&l, s, &s.XValidations[i], at.Child("x-kubernetes-validations").Index(i))
	}
	if len(s.XValidations) > 0 && len(l.ErrorList) == 0 && scope != nil {
		celErrs = append(celErrs, w.compile(s, at.Child("x-kubernetes-validations"), here, scope)...)
	}
	return l.ErrorList, celErrs
}

// plain complains about what a definition's schema has none of.
func (w *schemaWalker) plain(l *check.List, s *apiextensions.JSONSchemaProps, at *field.Path, here place) {
	if w.knownTypes && s.Type != "" {
		check.OneOf(l, at.Child("type"), s.Type, schemaTypes...)
	}
	if s.Default != nil && here.noDefaults != "" {
		l.Add(field.Forbidden(at.Child("default"), "must not be set "+here.noDefaults))
	}
	for _, f := range []struct {
		used bool
		name string
	}{{s.ID != "", "id"}, {s.AdditionalItems != nil, "additionalItems"}, {len(s.PatternProperties) != 0, "patternProperties"},
		{len(s.Definitions) != 0, "definitions"}, {s.Dependencies != nil, "dependencies"}, {s.Ref != nil, "$ref"}} {
		if f.used {
			l.Add(field.Forbidden(at.Child(f.name), f.name+" is not supported"))
		}
	}
	if s.Type == "null" {
		l.Add(field.Forbidden(at.Child("type"), "type cannot be set to null, use nullable as an alternative"))
	}
	if s.Items != nil && len(s.Items.JSONSchemas) != 0 {
		l.Add(field.Forbidden(at.Child("items"), "items must be a schema object and not an array"))
	}
	if here.inMeta && s.XEmbeddedResource {
		l.Add(field.Forbidden(at.Child("x-kubernetes-embedded-resource"), "must not be used inside of resource meta"))
	}
	if s.UniqueItems {
		l.Add(field.Forbidden(at.Child("uniqueItems"), "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"))
	}
}

// looseItem says whether a set has items that merging would take apart: the extension that is wrong and its value.
func looseItem(s *apiextensions.JSONSchemaProps) (name string, value any, loose bool) {
	if s.XListType == nil || *s.XListType != "set" || s.Items == nil || s.Items.Schema == nil {
		return "", nil, false
	}
	item := s.Items.Schema
	switch item.Type {
	case "array":
		return "x-kubernetes-list-type", item.XListType, item.XListType != nil && *item.XListType != "atomic"
	case "object":
		// Upstream shows the list type here as well.
		return "x-kubernetes-map-type", item.XListType, item.XMapType == nil || *item.XMapType != "atomic"
	}
	return "", nil, false
}

func (w *schemaWalker) listsAndMaps(l *check.List, s *apiextensions.JSONSchemaProps, at *field.Path) {
	if p := s.XPreserveUnknownFields; p != nil && !*p {
		l.Add(field.Invalid(at.Child("x-kubernetes-preserve-unknown-fields"), *p, "must be true or undefined"))
	}
	typed := func(want, extension string) bool {
		why := fmt.Sprintf("must be %s if %s is specified", want, extension)
		switch s.Type {
		case want:
			return true
		case "":
			l.Add(field.Required(at.Child("type"), why))
		default:
			l.Add(field.Invalid(at.Child("type"), s.Type, why))
		}
		return false
	}
	if m := s.XMapType; m != nil {
		typed("object", "x-kubernetes-map-type")
		check.OneOf(l, at.Child("x-kubernetes-map-type"), *m, "atomic", "granular")
	}
	listType := at.Child("x-kubernetes-list-type")
	if s.XListType != nil {
		if typed("array", "x-kubernetes-list-type") && w.atomicSets {
			if name, value, bad := looseItem(s); bad {
				l.Add(field.Invalid(at.Child("items", name), value, "must be atomic as item of a list with x-kubernetes-list-type=set"))
			}
		}
		check.OneOf(l, listType, *s.XListType, "atomic", "set", "map")
	}
	if len(s.XListMapKeys) > 0 {
		const why = "must be map if x-kubernetes-list-map-keys is non-empty"
		if s.XListType == nil {
			l.Add(field.Required(listType, why))
		} else if *s.XListType != "map" {
			l.Add(field.Invalid(listType, *s.XListType, why))
		}
	}
	if s.XListType != nil && *s.XListType == "map" {
		listMap(l, s, at)
	}
	if w.mapKeys {
		keys := &rules{}
		keys.listKeys(s, at)
		l.All(keys.ErrorList)
	}
}

func listMap(l *check.List, s *apiextensions.JSONSchemaProps, at *field.Path) {
	keys, items := at.Child("x-kubernetes-list-map-keys"), at.Child("items")
	if len(s.XListMapKeys) == 0 {
		l.Add(field.Required(keys, "must not be empty if x-kubernetes-list-type is map"))
	}
	switch {
	case s.Items == nil:
		l.Add(field.Required(items, "must have a schema if x-kubernetes-list-type is map"))
	case s.Items.Schema == nil:
		l.Add(field.Invalid(items, s.Items, "must only have a single schema if x-kubernetes-list-type is map"))
	case s.Items.Schema.Type != "object":
		l.Add(field.Invalid(items.Child("type"), s.Items.Schema.Type, "must be object if parent array's x-kubernetes-list-type is map"))
	default:
		for i, key := range s.XListMapKeys {
			if p, ok := s.Items.Schema.Properties[key]; !ok {
				l.Add(field.Invalid(keys, s.XListMapKeys, "entries must all be names of item properties"))
			} else if p.Type == "array" || p.Type == "object" {
				l.Add(field.Invalid(items.Child("properties").Key(key).Child("type"), s.Items.Schema.Type, "must be a scalar type if parent array's x-kubernetes-list-type is map"))
			}
			if slices.Contains(s.XListMapKeys[:i], key) {
				l.Add(field.Invalid(keys, s.XListMapKeys, "must not contain duplicate entries"))
			}
		}
	}
}

// listKeys: items of sets and keys of list maps are always there.
func (v *rules) listKeys(s *apiextensions.JSONSchemaProps, at *field.Path) {
	if s.Items == nil || s.Items.Schema == nil || s.XListType == nil || *s.XListType != "set" && *s.XListType != "map" {
		return
	}
	item, at := s.Items.Schema, at.Child("items")
	if item.Nullable {
		v.Add(field.Forbidden(at.Child("nullable"), "cannot be nullable when x-kubernetes-list-type is "+*s.XListType))
	}
	if *s.XListType != "map" {
		return
	}
	for _, key := range s.XListMapKeys {
		p, ok := item.Properties[key]
		if !ok {
			continue
		}
		at := at.Child("properties").Key(key)
		if p.Default == nil && !slices.Contains(item.Required, key) {
			v.Add(field.Required(at.Child("default"), "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"))
		}
		if p.Nullable {
			v.Add(field.Forbidden(at.Child("nullable"), "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"))
		}
	}
}

var ruleReasons = []apiextensions.FieldValueErrorReason{apiextensions.FieldValueDuplicate, apiextensions.FieldValueForbidden, apiextensions.FieldValueInvalid, apiextensions.FieldValueRequired}

// validationRule checks what is around a CEL rule's expressions.
func validationRule(l *check.List, s *apiextensions.JSONSchemaProps, r *apiextensions.ValidationRule, at *field.Path) {
	const empty, breaks = "must be non-empty if specified", "must not contain line breaks"
	broken := func(text string) bool { return strings.ContainsAny(text, "\n\r") }
	rule, message := strings.TrimSpace(r.Rule), strings.TrimSpace(r.Message)
	switch {
	case rule == "":
		l.Add(field.Required(at.Child("rule"), "rule is not specified"))
	case r.Message != "" && message == "":
		l.Add(field.Invalid(at.Child("message"), r.Message, empty))
	case broken(message):
		l.Add(field.Invalid(at.Child("message"), r.Message, breaks))
	case broken(rule) && message == "":
		l.Add(field.Required(at.Child("message"), "message must be specified if rule contains line breaks"))
	}
	if r.MessageExpression != "" && strings.TrimSpace(r.MessageExpression) == "" {
		l.Add(field.Required(at.Child("messageExpression"), "messageExpression must be non-empty if specified"))
	}
	if r.Reason != nil {
		check.OneOf(l, at.Child("reason"), *r.Reason, ruleReasons...)
	}
	path := at.Child("fieldPath")
	if r.FieldPath == "" {
		return
	}
	if strings.TrimSpace(r.FieldPath) == "" {
		l.Add(field.Invalid(path, r.FieldPath, empty))
	}
	if broken(r.FieldPath) {
		l.Add(field.Invalid(path, r.FieldPath, breaks))
	}
	if structural, err := structuralschema.NewStructural(s); err == nil {
		if _, _, err := fieldPath(r.FieldPath, structural, true); err != nil {
			l.Add(field.Invalid(path, r.FieldPath, "must be a valid path"))
		}
	}
}

// fieldPath finds what a path in a schema means.
func fieldPath(path string, s *structuralschema.Structural, lists bool) (*field.Path, *structuralschema.Structural, error) {
	if lists {
		return cel.ValidFieldPath(path, s)
	}
	return cel.ValidFieldPath(path, s, cel.WithFieldPathAllowArrayNotation(false))
}
