// Package extensions makes rows of the table of kinds at run time: one for every CustomResourceDefinition that is
// accepted. From then on a custom resource is served like any other kind, by the same routes, registry and cache; this
// package only fills in what the compiled-in kinds have in Go: what an object may say (version.go, validate.go), how one
// version becomes another (convert.go, webhook.go), columns, scale, selectable fields and OpenAPI.
//
// # Versions
//
// Objects are unstructured. The version that is stored is the hub, if it is served. As with upstream, each version is a
// type of its own: what a client sends is pruned, defaulted and validated by the schema of the version that it speaks,
// and what comes from etcd by the schema of the version that it was stored in. Only then is it converted.
//
// # Following the definitions
//
// Controller (controller.go) watches the definitions in every API server and writes their conditions: names are accepted
// where no other definition of the group has them (conditions.go). A row is served here before the definition says that
// it is established; other servers may be a moment behind, which is why a request for an unknown resource looks for its
// definition once more (CatchUp). A definition that is deleted stays until its objects are gone (cleanup.go).
//
// Nothing is compiled before it is used: a server without custom resources has no CEL environment and no schemas.
package extensions
