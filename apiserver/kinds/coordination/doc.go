// Package coordination holds the row of Leases.
package coordination
