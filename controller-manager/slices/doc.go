// Package slices spreads a set of endpoints over EndpointSlice objects with as few changes as possible: an endpoint stays
// in the slice that it is in, new ones fill what room there is, and a slice is made or deleted only when it must be. Every
// proxy of the cluster reads each slice that changes.
package slices
