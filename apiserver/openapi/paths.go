package openapi

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/discovery"
	"github.com/skiff-project/skiff/apiserver/kinds"
)

// object is a JSON object.
type object = map[string]any

// pathBuilder makes the paths of one group and version.
type pathBuilder struct {
	defs  definitions
	gv    schema.GroupVersion
	base  string // /apis/apps/v1
	tag   string // apps_v1
	camel string // AppsV1
	text  bool   // custom resources: no protobuf, no strategic merge patch
	paths object
	used  map[string]bool // definitions
	// models are definitions beside the compiled-in ones.
	models map[schema.GroupVersionKind]string
	err    error
}

// operation is one method of one path.
type operation struct {
	method, id, description, action string
	gvk                             schema.GroupVersionKind
	parameters                      []object
	body                            string // a definition; empty for none
	bodyTypes                       []string
	bodyOptional                    bool
	answers                         map[string]string // code to definition; "string" is text
	produces                        []string
}

var (
	allTypes   = []string{"application/json", "application/vnd.kubernetes.protobuf", "application/yaml"}
	watchTypes = []string{"application/json", "application/json;stream=watch", "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf;stream=watch", "application/yaml"}
	patchTypes = []string{"application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"}
	anyType    = []string{"*/*"}
	codes      = map[string]string{"200": "OK", "201": "Created", "202": "Accepted"}
)

func newPaths(defs definitions, gv schema.GroupVersion) *pathBuilder {
	group := strings.Split(strings.TrimSuffix(gv.Group, ".k8s.io"), ".")
	b := &pathBuilder{defs: defs, gv: gv, base: "/apis/" + gv.String(), paths: object{}, used: map[string]bool{}, models: map[schema.GroupVersionKind]string{}}
	if gv.Group == "" {
		b.base, group = "/api/"+gv.Version, []string{"core"}
	}
	b.tag, b.camel = group[0], title(group[0])
	for _, part := range group[1:] {
		b.tag += title(part)
		b.camel += title(part)
	}
	b.tag += "_" + gv.Version
	b.camel += title(gv.Version)
	return b
}

func title(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// root is the list of resources itself.
func (b *pathBuilder) root() {
	b.add(b.base+"/", nil, operation{method: "get", id: "get" + b.camel + "APIResources", description: "get available resources",
		answers: map[string]string{"200": metaTypes + "APIResourceList"}, produces: allTypes})
}

func (b *pathBuilder) resource(r discovery.Resource) {
	k := r.Kind
	one := resourcePaths{pathBuilder: b, k: k, gvk: r.Version.GVK, name: b.model(r.Version.GVK), list: b.model(r.Version.GVK.GroupVersion().WithKind(r.Version.ListKind))}
	one.collection()
	one.item()
	subresources := k.SubresourcesOf(r.Version)
	for _, name := range slices.Sorted(maps.Keys(subresources)) {
		one.subresource(name, subresources[name])
	}
}

func (b *pathBuilder) model(gvk schema.GroupVersionKind) string {
	if name, ok := b.models[gvk]; ok {
		return name
	}
	return modelNames()[gvk]
}

// params are the query parameters that stand for an options type.
func (b *pathBuilder) params(model string, skip ...string) []object {
	fields, err := b.defs.fields(model)
	if err != nil {
		b.err = err
	}
	var out []object
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		f := fields[name]
		kind := f.Type
		if kind == "array" && f.Items != nil {
			kind = f.Items.Type
		}
		if name == "kind" || name == "apiVersion" || kind == "" || kind == "object" || slices.Contains(skip, name) {
			continue
		}
		out = append(out, object{"name": name, "in": "query", "description": f.Description, "schema": object{"type": kind, "uniqueItems": true}})
	}
	return out
}

func pathParam(name, description string) object {
	return object{"name": name, "in": "path", "description": description, "required": true, "schema": object{"type": "string", "uniqueItems": true}}
}

var prettyParam = object{"name": "pretty", "in": "query",
	"description": "If 'true', then the output is pretty printed. Defaults to 'false' unless the user-agent indicates a browser or command-line HTTP tool (curl and wget).",
	"schema":      object{"type": "string", "uniqueItems": true}}

func byName(a, b object) int {
	return cmp.Or(strings.Compare(a["name"].(string), b["name"].(string)), strings.Compare(a["in"].(string), b["in"].(string)))
}

// add puts the operations of one path in. common are parameters of all of them. What all have is said once.
func (b *pathBuilder) add(path string, common []object, ops ...operation) {
	if len(ops) == 0 {
		return
	}
	item := object{}
	shared := slices.Clone(common)
	if len(ops) == 1 {
		shared = append(shared, ops[0].parameters...)
		ops[0].parameters = nil
	}
	if len(shared) > 0 {
		slices.SortStableFunc(shared, byName)
		item["parameters"] = shared
	}
	for _, op := range ops {
		item[op.method] = b.operation(op)
	}
	b.paths[path] = item
}

func (b *pathBuilder) operation(op operation) object {
	out := object{"tags": []string{b.tag}, "description": op.description, "operationId": op.id}
	if len(op.parameters) > 0 {
		slices.SortStableFunc(op.parameters, byName)
		out["parameters"] = op.parameters
	}
	if op.body != "" {
		body := object{"content": b.content(op.bodyTypes, op.body)}
		if !op.bodyOptional {
			body["required"] = true
		}
		out["requestBody"] = body
	}
	responses := object{"401": object{"description": "Unauthorized"}}
	for code, model := range op.answers {
		answer := object{"description": codes[code]}
		if model != "" {
			answer["content"] = b.content(op.produces, model)
		}
		responses[code] = answer
	}
	out["responses"] = responses
	if op.action != "" {
		out["x-kubernetes-action"] = op.action
		out["x-kubernetes-group-version-kind"] = object{"group": op.gvk.Group, "version": op.gvk.Version, "kind": op.gvk.Kind}
	}
	return out
}

func (b *pathBuilder) content(types []string, model string) object {
	schema := object{"type": "string"}
	if model != "string" {
		b.used[model] = true
		schema = object{"$ref": v3Ref + model}
	}
	out := object{}
	for _, t := range types {
		if b.text && (strings.Contains(t, "protobuf") || t == "application/strategic-merge-patch+json") {
			continue
		}
		out[t] = object{"schema": schema}
	}
	return out
}

// resourcePaths makes the paths of one resource.
type resourcePaths struct {
	*pathBuilder
	k          *kinds.Kind
	gvk        schema.GroupVersionKind
	name, list string
}

func (r *resourcePaths) can(verb string) bool { return slices.Contains(r.k.Verbs, verb) }

func (r *resourcePaths) namespaced() bool { return r.k.Scope == kinds.Namespaced }

// id is an operation's name: verb, version, kind and what is special about it.
func (r *resourcePaths) id(verb, suffix string) string {
	middle := ""
	if r.namespaced() {
		middle = "Namespaced"
	}
	return verb + r.camel + middle + r.gvk.Kind + suffix
}

func (r *resourcePaths) within() (path string, params []object) {
	if r.namespaced() {
		return r.base + "/namespaces/{namespace}/" + r.k.Resource, []object{pathParam("namespace", "object name and auth scope, such as for teams and projects")}
	}
	return r.base + "/" + r.k.Resource, nil
}

func (r *resourcePaths) listParams() []object { return r.params(metaTypes + "ListOptions") }

func (r *resourcePaths) collection() {
	path, params := r.within()
	params = append(params, prettyParam)
	listed := "list objects of kind " + r.gvk.Kind
	if r.can("watch") {
		listed = "list or watch objects of kind " + r.gvk.Kind
	}
	var ops []operation
	if r.can("list") {
		ops = append(ops, operation{method: "get", id: r.id("list", ""), description: listed, action: "list", gvk: r.gvk, parameters: r.listParams(),
			answers: map[string]string{"200": r.list}, produces: watchTypes})
	}
	if r.can("create") {
		ops = append(ops, operation{method: "post", id: r.id("create", ""), description: "create " + article(r.gvk.Kind), action: "post", gvk: r.gvk,
			parameters: r.params(metaTypes + "CreateOptions"), body: r.name, bodyTypes: anyType,
			answers: map[string]string{"200": r.name, "201": r.name, "202": r.name}, produces: allTypes})
	}
	if r.can("deletecollection") {
		id := "delete" + r.camel + "Collection" + strings.TrimPrefix(r.id("", ""), r.camel)
		ops = append(ops, operation{method: "delete", id: id, description: "delete collection of " + r.gvk.Kind, action: "deletecollection", gvk: r.gvk,
			parameters: append(r.params(metaTypes+"DeleteOptions"), r.params(metaTypes+"ListOptions", "allowWatchBookmarks", "watch")...),
			body:       metaTypes + "DeleteOptions", bodyTypes: anyType, bodyOptional: true, answers: map[string]string{"200": metaTypes + "Status"}, produces: allTypes})
	}
	r.add(path, params, ops...)
	if r.namespaced() && r.can("list") {
		r.add(r.base+"/"+r.k.Resource, []object{prettyParam}, operation{method: "get", id: "list" + r.camel + r.gvk.Kind + "ForAllNamespaces", description: listed,
			action: "list", gvk: r.gvk, parameters: r.listParams(), answers: map[string]string{"200": r.list}, produces: watchTypes})
	}
	if r.can("watch") {
		r.oldWatches(strings.TrimPrefix(path, r.base), params)
	}
}

// oldWatches are the paths by which one watched before there was a parameter.
func (r *resourcePaths) oldWatches(path string, params []object) {
	event := func(id, action, text string) operation {
		return operation{method: "get", id: id, description: text + " deprecated: use the 'watch' parameter with a list operation instead", action: action, gvk: r.gvk,
			answers: map[string]string{"200": metaTypes + "WatchEvent"}, produces: watchTypes, parameters: r.listParams()}
	}
	changes := "watch individual changes to a list of " + r.gvk.Kind + "."
	list := event(r.id("watch", "List"), "watchlist", changes)
	list.description += "."
	r.add(r.base+"/watch"+path, params, list)
	one := event(r.id("watch", ""), "watch", "watch changes to an object of kind "+r.gvk.Kind+".")
	one.description += ", filtered to a single item with the 'fieldSelector' parameter."
	r.add(r.base+"/watch"+path+"/{name}", append(slices.Clone(params), r.nameParam(r.gvk.Kind)), one)
	if r.namespaced() {
		all := event("watch"+r.camel+r.gvk.Kind+"ListForAllNamespaces", "watchlist", changes)
		all.description += "."
		r.add(r.base+"/watch/"+r.k.Resource, []object{prettyParam}, all)
	}
}

func (r *resourcePaths) nameParam(kind string) object { return pathParam("name", "name of the "+kind) }

// article is "a Pod", "an Event", and plain "Endpoints", which are many.
func article(kind string) string {
	if strings.HasSuffix(kind, "s") && !strings.HasSuffix(kind, "ss") {
		return kind
	}
	if strings.ContainsAny(kind[:1], "AEIOU") {
		return "an " + kind
	}
	return "a " + kind
}

func (r *resourcePaths) item() {
	path, params := r.within()
	params = append(params, r.nameParam(r.gvk.Kind), prettyParam)
	var ops []operation
	if r.can("get") {
		ops = append(ops, operation{method: "get", id: r.id("read", ""), description: "read the specified " + r.gvk.Kind, action: "get", gvk: r.gvk,
			answers: map[string]string{"200": r.name}, produces: allTypes})
	}
	if r.can("update") {
		ops = append(ops, r.put("", r.gvk, r.name))
	}
	if r.can("delete") {
		answer := metaTypes + "Status"
		if r.k.ReturnDeleted {
			answer = r.name
		}
		ops = append(ops, operation{method: "delete", id: r.id("delete", ""), description: "delete " + article(r.gvk.Kind), action: "delete", gvk: r.gvk,
			parameters: r.params(metaTypes + "DeleteOptions"), body: metaTypes + "DeleteOptions", bodyTypes: anyType, bodyOptional: true,
			answers: map[string]string{"200": answer, "202": answer}, produces: allTypes})
	}
	if r.can("patch") {
		ops = append(ops, r.patch("", r.gvk, r.name))
	}
	r.add(path+"/{name}", params, ops...)
}

func of(sub string) string {
	if sub == "" {
		return ""
	}
	return sub + " of "
}

func (r *resourcePaths) put(sub string, gvk schema.GroupVersionKind, model string) operation {
	return operation{method: "put", id: r.id("replace", title(sub)), description: "replace " + of(sub) + "the specified " + r.gvk.Kind, action: "put", gvk: gvk,
		parameters: r.params(metaTypes + "UpdateOptions"), body: model, bodyTypes: anyType,
		answers: map[string]string{"200": model, "201": model}, produces: allTypes}
}

func (r *resourcePaths) patch(sub string, gvk schema.GroupVersionKind, model string) operation {
	return operation{method: "patch", id: r.id("patch", title(sub)), description: "partially update " + of(sub) + "the specified " + r.gvk.Kind, action: "patch", gvk: gvk,
		parameters: r.params(metaTypes + "PatchOptions"), body: metaTypes + "Patch", bodyTypes: patchTypes,
		answers: map[string]string{"200": model, "201": model}, produces: allTypes}
}

func (r *resourcePaths) subresource(name string, s *kinds.Subresource) {
	if s.Connect != "" {
		r.connect(name, s)
		return
	}
	gvk := s.GVK
	if gvk.GroupVersion() == r.k.GVK.GroupVersion() && gvk.Kind == r.k.GVK.Kind {
		gvk = r.gvk // in the version of the path
	}
	model := r.model(gvk)
	path, params := r.within()
	params = append(params, r.nameParam(gvk.Kind), prettyParam)
	var ops []operation
	for _, verb := range s.Verbs {
		switch verb {
		case "get":
			ops = append(ops, operation{method: "get", id: r.id("read", title(name)), description: "read " + name + " of the specified " + r.gvk.Kind, action: "get", gvk: gvk,
				answers: map[string]string{"200": model}, produces: allTypes})
		case "update":
			ops = append(ops, r.put(name, gvk, model))
		case "patch":
			ops = append(ops, r.patch(name, gvk, model))
		case "create":
			ops = append(ops, operation{method: "post", id: r.id("create", title(name)), description: "create " + name + " of " + article(r.gvk.Kind), action: "post", gvk: gvk,
				parameters: r.params(metaTypes + "CreateOptions"), body: model, bodyTypes: anyType,
				answers: map[string]string{"200": model, "201": model, "202": model}, produces: allTypes})
		}
	}
	r.add(path+"/{name}/"+name, params, ops...)
}

// connect describes what cannot be described: logs and connections.
func (r *resourcePaths) connect(name string, s *kinds.Subresource) {
	path, params := r.within()
	path += "/{name}/" + name
	if name == "log" {
		params = append(params, r.nameParam(r.gvk.Kind), prettyParam)
		r.add(path, append(params, r.params("io.k8s.api.core.v1.PodLogOptions")...), operation{method: "get", id: r.id("read", "Log"),
			description: "read log of the specified " + r.gvk.Kind, action: "get", gvk: r.gvk, answers: map[string]string{"200": "string"}, produces: append(slices.Clone(allTypes), "text/plain")})
		return
	}
	params = append(append(params, r.nameParam(s.GVK.Kind)), r.params("io.k8s.api.core.v1."+s.GVK.Kind)...)
	methods := []string{"get", "post"}
	if name == "proxy" {
		methods = []string{"get", "put", "post", "delete", "options", "head", "patch"}
	}
	ops := func(suffix string) (out []operation) {
		for _, m := range methods {
			id := "connect" + r.camel + title(m) + strings.TrimPrefix(r.id("", title(name)+suffix), r.camel)
			out = append(out, operation{method: m, id: id, description: fmt.Sprintf("connect %s requests to %s of %s", strings.ToUpper(m), name, r.gvk.Kind),
				action: "connect", gvk: s.GVK, answers: map[string]string{"200": "string"}, produces: anyType})
		}
		return out
	}
	r.add(path, params, ops("")...)
	if name == "proxy" {
		r.add(path+"/{path}", append(slices.Clone(params), pathParam("path", "path to the resource")), ops("WithPath")...)
	}
}
