// Package clients holds tests with other people's programs: what they link (client-go's informers, dynamic, metadata and
// apply clients, leader election; a controller-runtime manager) runs unchanged against the API server. It is a module of
// its own, so that controller-runtime stays out of Skiff's.
package clients
