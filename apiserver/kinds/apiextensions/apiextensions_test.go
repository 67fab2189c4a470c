package apiextensions

import (
	"testing"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/kindtest"
)

func TestDefinitions(t *testing.T) {
	with := func(schema string) string {
		return `{spec: {group: example.com, scope: Namespaced, names: {plural: things, kind: Thing}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: ` + schema + `}}]}, status: {storedVersions: [v1]}}`
	}
	spec := func(properties string) string {
		return with(`{type: object, properties: {spec: {type: object, properties: {` + properties + `}}}}`)
	}
	plain := with(`{type: object}`)
	kindtest.Run(t, CustomResourceDefinition, "things.example.com", []kindtest.Case{
		{Name: "the least", Object: plain},
		{Name: "no schema", Object: `spec: {group: example.com, scope: Cluster, names: {plural: things, kind: Thing}, versions: [{name: v1, served: true, storage: true}]}`, Want: []string{"spec.versions[0].schema.openAPIV3Schema: Required value"}},
		{Name: "a field without a type", Object: spec(`a: {}`), Want: []string{"properties[a].type: Required value"}},
		{Name: "a default of another type", Object: spec(`a: {type: integer, default: x}`), Want: []string{"properties[a].default: Invalid value"}},
		{Name: "a reference", Object: spec(`a: {type: string, $ref: b}`), Want: []string{"properties[a].$ref: Forbidden"}},
		{Name: "a list map whose key may be missing", Object: spec(`l: {type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [k], items: {type: object, properties: {k: {type: string}}}}`),
			Want: []string{"it must have a default or be a required property"}},
		{Name: "a rule that does not compile", Object: spec(`a: {type: integer, x-kubernetes-validations: [{rule: "self.b"}]}`), Want: []string{"x-kubernetes-validations[0].rule: Invalid value"}},
		{Name: "a rule that could cost too much", Object: spec(`l: {type: array, items: {type: string, x-kubernetes-validations: [{rule: "self.matches('a+b')"}]}}`),
			Want: []string{"estimated rule cost exceeds budget", "contributed to estimated rule cost total", "for entire OpenAPIv3 schema exceeds budget"}},
		{Name: "the same with bounds", Object: spec(`l: {type: array, maxItems: 10, items: {type: string, maxLength: 10, x-kubernetes-validations: [{rule: "self.matches('a+b')"}]}}`)},
		{Name: "old elements of a list that has no keys", Object: spec(`l: {type: array, maxItems: 10, items: {type: string, maxLength: 10, x-kubernetes-validations: [{rule: "self == oldSelf"}]}}`),
			Want: []string{"oldSelf cannot be used on the uncorrelatable portion of the schema"}},
		{Name: "another kind, before it is established", Object: `{spec: {group: example.com, scope: Namespaced, names: {plural: things, kind: Other}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}}`, Old: plain},
		{Name: "another group", Object: `{spec: {group: example.org, scope: Namespaced, names: {plural: things, kind: Thing}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}}`, Old: plain,
			Want: []string{"spec.group: Invalid value"}},
		{Name: "a version goes while objects may be in it", Object: `{spec: {group: example.com, scope: Namespaced, names: {plural: things, kind: Thing}, versions: [{name: v2, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}}`, Old: plain,
			Want: []string{"v1 was previously a storage version"}},
		{Name: "a field without a type does not become right by being old", Object: spec(`a: {}`), Old: spec(`a: {}`), Want: []string{"properties[a].type: Required value"}},
	})
	kindtest.Run(t, CustomResourceDefinition, "others.example.com", []kindtest.Case{{Name: "a name of something else", Object: plain, Want: []string{`must be spec.names.plural+"."+spec.group`}}})
}
