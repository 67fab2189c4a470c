// Package discovery tells clients what is served: /api, /apis, their groups and versions, each as a list of its own and
// all at once (aggregated discovery). Everything is computed from the table of kinds.
package discovery
