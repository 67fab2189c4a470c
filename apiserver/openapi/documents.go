package openapi

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/discovery"
)

// info heads every document.
var info = object{"title": "Kubernetes", "version": "1.37"}

var bearer = object{"type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header"}

// v3 is the document of one group and version.
func v3(gv schema.GroupVersion, resources []discovery.Resource) ([]byte, error) {
	defs := load()
	b := newPaths(defs, gv)
	b.root()
	for _, r := range resources {
		switch {
		case r.Version.Schemas != nil:
			if err := b.custom(r); err != nil {
				return nil, err
			}
		case b.model(r.Version.GVK) != "":
			b.resource(r)
		}
	}
	if b.err != nil {
		return nil, b.err
	}
	return assemble(b, gv)
}

// simple is a document of a path that serves no objects.
func simple(path, tag, id, description, model string, types []string) ([]byte, error) {
	b := newPaths(load(), schema.GroupVersion{})
	b.tag = tag
	b.add(path, nil, operation{method: "get", id: id, description: description, answers: map[string]string{"200": model}, produces: types})
	return assemble(b, schema.GroupVersion{})
}

func assemble(b *pathBuilder, gv schema.GroupVersion) ([]byte, error) {
	b.defs.reachable(b.used)
	schemas := make(map[string]json.RawMessage, len(b.used))
	for name := range b.used {
		text, ok := b.defs[name]
		if !ok {
			return nil, fmt.Errorf("OpenAPI of %s refers to %s, which is not defined", gv, name)
		}
		schemas[name] = narrowed(text, gv)
	}
	components := object{"securitySchemes": object{"BearerToken": bearer}}
	if len(schemas) > 0 {
		components["schemas"] = schemas
	}
	return json.Marshal(object{"openapi": "3.0.0", "info": info, "paths": b.paths, "components": components})
}
