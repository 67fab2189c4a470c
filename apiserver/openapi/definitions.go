package openapi

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

//go:embed definitions.json
var embedded []byte

// definitions are all types by name, as text: they are copied into documents, and hardly ever looked into.
type definitions map[string]json.RawMessage

// load cuts the file into its lines. It is done anew for each document: the lines point into the program's own file and
// are forgotten with the document.
func load() definitions {
	out := make(definitions, 1024)
	for line := range bytes.Lines(embedded) {
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte(","))
		name, schema, ok := bytes.Cut(line, []byte(`":`))
		if !ok {
			continue // the braces
		}
		out[string(name[1:])] = schema
	}
	return out
}

const (
	v3Ref     = "#/components/schemas/"
	metaTypes = "io.k8s.apimachinery.pkg.apis.meta.v1."
)

// reachable adds what schemas refer to, and what that refers to, and so on.
func (d definitions) reachable(names map[string]bool) {
	var todo []string
	for name := range names {
		todo = append(todo, name)
	}
	for len(todo) > 0 {
		name := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		rest := string(d[name])
		for {
			_, after, ok := strings.Cut(rest, v3Ref)
			if !ok {
				break
			}
			ref, after, _ := strings.Cut(after, `"`)
			if !names[ref] {
				names[ref] = true
				todo = append(todo, ref)
			}
			rest = after
		}
	}
}

// property is what a parameter needs to know of a field.
type property struct {
	Description string    `json:"description"`
	Type        string    `json:"type"`
	Items       *property `json:"items"`
}

// fields are the plain fields of an options type, which the API takes as query parameters.
func (d definitions) fields(name string) (map[string]property, error) {
	var parsed struct {
		Properties map[string]property `json:"properties"`
	}
	if err := json.Unmarshal(d[name], &parsed); err != nil {
		return nil, fmt.Errorf("definition of %s: %w", name, err)
	}
	return parsed.Properties, nil
}

// modelNames are the names of types by kind.
var modelNames = sync.OnceValue(func() map[schema.GroupVersionKind]string {
	out := map[schema.GroupVersionKind]string{}
	for name, text := range load() {
		if !bytes.Contains(text, []byte(`"x-kubernetes-group-version-kind"`)) {
			continue
		}
		for _, gvk := range kindsOf(text) {
			out[gvk] = name
		}
	}
	return out
})

type gvkExtension struct {
	Group   string `json:"group"`
	Kind    string `json:"kind"`
	Version string `json:"version"`
}

func kindsOf(text json.RawMessage) []schema.GroupVersionKind {
	var parsed struct {
		Kinds []gvkExtension `json:"x-kubernetes-group-version-kind"`
	}
	if json.Unmarshal(text, &parsed) != nil {
		return nil
	}
	var out []schema.GroupVersionKind
	for _, k := range parsed.Kinds {
		out = append(out, schema.GroupVersionKind{Group: k.Group, Version: k.Version, Kind: k.Kind})
	}
	return out
}

// narrowed is a definition as a document of one group shows it: types that belong to all groups (DeleteOptions) name
// the core group and this one.
func narrowed(text json.RawMessage, gv schema.GroupVersion) json.RawMessage {
	if bytes.Count(text, []byte(`"version":`)) < 8 {
		return text
	}
	var whole map[string]json.RawMessage
	if json.Unmarshal(text, &whole) != nil {
		return text
	}
	var list []gvkExtension
	for _, k := range kindsOf(text) {
		if k.Group == "" || k.GroupVersion() == gv {
			list = append(list, gvkExtension{k.Group, k.Kind, k.Version})
		}
	}
	list = slices.Compact(list)
	whole["x-kubernetes-group-version-kind"], _ = json.Marshal(list) // plain strings
	out, err := json.Marshal(whole)
	if err != nil {
		return text
	}
	return out
}
