package apiextensions

import (
	"fmt"
	"slices"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	schemavalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// warnings tells of formats that nobody checks and of sets that cannot be merged, as far as the stored definition does not
// have them.
func warnings(_ *kinds.Request, d, old *apiextensionsv1.CustomResourceDefinition) []string {
	in, err := internal(d)
	if err != nil {
		return nil
	}
	var formats, sets []string
	if old != nil {
		if before, err := internal(old); err == nil {
			formats, sets = unknownFormats(&before.Spec), looseSets(&before.Spec)
		}
	}
	var out []string
	for _, f := range unknownFormats(&in.Spec) {
		if !slices.Contains(formats, f) {
			out = append(out, fmt.Sprintf("unrecognized format %q", f))
		}
	}
	for _, w := range looseSets(&in.Spec) {
		if !slices.Contains(sets, w) {
			out = append(out, w)
		}
	}
	return out
}

func unknownFormats(s *apiextensions.CustomResourceDefinitionSpec) []string {
	var out []string
	schemaIn(s, func(p *apiextensions.JSONSchemaProps) bool {
		if p.Format != "" {
			schema := &spec.Schema{SchemaProps: spec.SchemaProps{Format: p.Format, Type: []string{p.Type}}}
			out = append(out, schemavalidation.GetUnrecognizedFormats(schema, environment.DefaultCompatibilityVersion())...)
		}
		return false
	})
	return out
}

func looseSets(s *apiextensions.CustomResourceDefinitionSpec) []string {
	var out []string
	schemaIn(s, func(p *apiextensions.JSONSchemaProps) bool {
		if p.XListType != nil && *p.XListType == "set" && p.Items != nil && p.Items.Schema != nil && (p.Items.Schema.Type == "object" || p.Items.Schema.Type == "array") {
			out = append(out, fmt.Sprintf("x-kubernetes-list-type: set for items of type %q is not supported by server-side apply or CEL validation rules", p.Items.Schema.Type))
		}
		return false
	})
	slices.Sort(out)
	return slices.Compact(out)
}
