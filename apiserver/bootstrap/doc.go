// Package bootstrap makes and keeps what a cluster has from its first second: the system namespaces, the default roles
// and bindings, the levels that requests are shared by, the two priority classes, what other servers need to know to
// authenticate (extension-apiserver-authentication), the default range of Service addresses and the Service
// default/kubernetes with the addresses of all API servers that are alive.
//
// Objects are made where they are missing. Those that exist are brought up to date as upstream does it: roles get the
// rules they lack and bindings the subjects, unless an annotation says that somebody else keeps them.
package bootstrap
