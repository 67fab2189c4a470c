// Package h2spec holds apiserver/h2 against h2spec, the field's conformance suite of HTTP/2 (RFC 9113's predecessors 7540 and
// 7541). It is a module of its own so that Skiff does not depend on the suite.
package h2spec
