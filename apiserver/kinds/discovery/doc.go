// Package discovery holds the row of EndpointSlices.
package discovery
