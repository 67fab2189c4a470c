// Package networking holds the rows of address ranges, ingresses and network policies.
package networking
