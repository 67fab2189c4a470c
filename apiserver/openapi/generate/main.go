//go:build generate

// Command generate writes the OpenAPI definitions of all types, one a line, in the form of OpenAPI v3. See generate.sh.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"sort"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/openapi/generate/defs"
)

func main() {
	if err := write(); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func write() error {
	var names []string
	for name := range defs.GetOpenAPIDefinitions(func(string) spec.Ref { return spec.Ref{} }) {
		names = append(names, name)
	}
	sort.Strings(names)
	gvks := known()
	schemas, err := builder3.BuildOpenAPIDefinitionsForResources(&common.OpenAPIV3Config{
		Info:           &spec.Info{InfoProps: spec.InfoProps{Title: "Kubernetes"}},
		GetDefinitions: defs.GetOpenAPIDefinitions,
		GetDefinitionName: func(name string) (string, spec.Extensions) {
			if list := gvks[name]; len(list) > 0 {
				return name, spec.Extensions{"x-kubernetes-group-version-kind": list}
			}
			return name, nil
		},
	}, names...)
	if err != nil {
		return err
	}
	names = names[:0]
	for name := range schemas {
		names = append(names, name)
	}
	sort.Strings(names)
	var out bytes.Buffer
	out.WriteString("{\n")
	for i, name := range names {
		text, err := json.Marshal(schemas[name])
		if err != nil {
			return err
		}
		// Keys sorted, so that the file changes only where a definition does.
		var plain any
		if err := json.Unmarshal(text, &plain); err != nil {
			return err
		}
		var line bytes.Buffer
		e := json.NewEncoder(&line)
		e.SetEscapeHTML(false)
		if err := e.Encode(plain); err != nil {
			return err
		}
		comma := ","
		if i == len(names)-1 {
			comma = ""
		}
		fmt.Fprintf(&out, "%q:%s%s\n", name, bytes.TrimSpace(line.Bytes()), comma)
	}
	out.WriteString("}\n")
	_, err = os.Stdout.Write(out.Bytes())
	return err
}

// known lists the kinds that the scheme knows under each type's name in OpenAPI.
func known() map[string][]any {
	byName := map[string][]schema.GroupVersionKind{}
	for gvk, t := range kinds.Scheme.AllKnownTypes() {
		named, ok := reflect.New(t).Interface().(interface{ OpenAPIModelName() string })
		if !ok || gvk.Version == runtime.APIVersionInternal {
			continue
		}
		byName[named.OpenAPIModelName()] = append(byName[named.OpenAPIModelName()], gvk)
	}
	// Groups that are spoken to webhooks, and an old version that upstream still names.
	for _, name := range []string{"DeleteOptions", "WatchEvent"} {
		model := "io.k8s.apimachinery.pkg.apis.meta.v1." + name
		for _, gv := range []schema.GroupVersion{{Group: "admission.k8s.io", Version: "v1"}, {Group: "admission.k8s.io", Version: "v1beta1"},
			{Group: "imagepolicy.k8s.io", Version: "v1alpha1"}, {Group: "apiregistration.k8s.io", Version: "v1beta1"}} {
			byName[model] = append(byName[model], gv.WithKind(name))
		}
	}
	out := map[string][]any{}
	for name, list := range byName {
		sort.Slice(list, func(i, j int) bool {
			a, b := list[i], list[j]
			return a.Group < b.Group || a.Group == b.Group && (a.Version < b.Version || a.Version == b.Version && a.Kind < b.Kind)
		})
		for _, gvk := range list {
			out[name] = append(out[name], map[string]any{"group": gvk.Group, "version": gvk.Version, "kind": gvk.Kind})
		}
	}
	return out
}
