// Package backends knows which pods stand behind a Service, and under which address and port: what the controllers of
// Endpoints and of EndpointSlices agree on.
package backends
