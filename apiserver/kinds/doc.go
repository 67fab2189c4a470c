// Package kinds is the table of kinds: one row says all that the API server knows about one kind, and everything else
// (routes, storage, discovery, OpenAPI, tables, RBAC names, namespace clean-up) is computed from the rows.
//
// A row is written with the kind's own Go type (Row, Define) and used without it (Kind). The Go type is the GA type of
// k8s.io/api: there are no internal versions. Where a kind is served or stored in a second version, the row names it
// with a pair of conversions.
//
// Sub-packages, one per API group, hold the rows; package all lists them. Rows do no I/O: a peculiarity that needs other
// objects (a Service's address, a pod's binding) is a hook that is given a Store.
package kinds
