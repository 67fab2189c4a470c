package openapi

import (
	"encoding/json"
	"fmt"

	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/skiff-project/skiff/apiserver/discovery"
)

// custom describes a resource whose version brings its own definitions.
func (b *pathBuilder) custom(r discovery.Resource) error {
	own, err := r.Version.Schemas.Make(false)
	if err != nil {
		return err
	}
	for name, schema := range own {
		b.defs[name] = schema
	}
	gvk := r.Version.GVK
	b.models[gvk] = r.Version.Schemas.Object
	b.models[gvk.GroupVersion().WithKind(r.Version.ListKind)] = r.Version.Schemas.List
	b.text = true
	b.resource(r)
	b.text = false
	return nil
}

// customV2 are the definitions, in the form of version 2, of all versions that bring their own.
func customV2(groups []discovery.Group) (map[string]json.RawMessage, error) {
	out := map[string]json.RawMessage{}
	for _, g := range groups {
		for _, v := range g.Versions {
			for _, r := range v.Resources {
				if r.Version.Schemas == nil {
					continue
				}
				own, err := r.Version.Schemas.Make(true)
				if err != nil {
					return nil, err
				}
				for name, schema := range own {
					out[name] = schema
				}
			}
		}
	}
	return out, nil
}

// Definitions are compiled-in types and whatever they refer to, for those who build further types of them.
func Definitions(names ...string) (map[string]*spec.Schema, error) {
	all := load()
	wanted := map[string]bool{}
	for _, name := range names {
		wanted[name] = true
	}
	all.reachable(wanted)
	out := map[string]*spec.Schema{}
	for name := range wanted {
		s := &spec.Schema{}
		if err := json.Unmarshal(all[name], s); err != nil {
			return nil, fmt.Errorf("definition of %s: %w", name, err)
		}
		out[name] = s
	}
	return out, nil
}

// TypeMeta are the properties apiVersion and kind, which all objects have.
func TypeMeta() (map[string]spec.Schema, error) {
	const name = metaTypes + "TypeMeta"
	all, err := Definitions(name)
	if err != nil {
		return nil, err
	}
	return all[name].Properties, nil
}
