// Package endpointslicemirroring copies Endpoints that somebody wrote by hand, for a Service without a selector, into
// EndpointSlices: proxies read nothing else.
//
// It owns: slices labelled as managed by endpointslicemirroring-controller.k8s.io.
// It is woken by: Endpoints, Services, and its slices. It never touches: Endpoints, and slices of others.
package endpointslicemirroring
