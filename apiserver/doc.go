// Package apiserver is the door of the API server: it joins storage, watch cache, registry, routes, authentication,
// authorization, admission and the front (package server) into one process, on an etcd that runs inside it or elsewhere.
//
// The order of a start: files and addresses, so that a mistake in a flag ends the process before anything exists; etcd;
// the cache; the kinds; then all together, with listeners open from the first moment. Requests that arrive before the
// cache is loaded wait for it; /readyz says when everything has been made that a cluster begins with.
package apiserver
