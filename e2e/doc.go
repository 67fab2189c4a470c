// Package e2e holds the end-to-end tests: what a user does with a cluster, on real containers and machines. They need
// root and the built programs (`make e2e`).
package e2e
