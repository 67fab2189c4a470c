// Package server is the API server's front: listeners and TLS, the chain that every request passes before a handler sees
// it, health, metrics, version, and a stop that lets requests end.
//
// The chain, in order: panics are caught; the request gets its audit ID and its meaning (package request); it is counted;
// it gets a deadline unless it is long-running; the caller is authenticated; the audit log opens an entry; impersonation
// is applied; the request waits for its fair share of the server; authorization decides; a handler answers.
package server
