// Package endpoints keeps the Endpoints object of each Service that selects pods. EndpointSlices have taken its place for
// proxies; older clients still read this one.
//
// It owns: the Endpoints named like such a Service. It is woken by: Services, pods, and its Endpoints.
// It never touches: Endpoints of Services without a selector, which somebody else writes.
package endpoints
