// Package endpointslice keeps the EndpointSlices of each Service that selects pods: per address family and set of ports,
// with readiness, node, zone and, where the Service asks for it, hints on whose traffic an endpoint is for.
//
// It owns: slices labelled as managed by endpointslice-controller.k8s.io.
// It is woken by: Services, pods, its slices, and nodes that change their zone.
// It never touches: slices of others, such as those mirrored from Endpoints or written by hand.
package endpointslice
