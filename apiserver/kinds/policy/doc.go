// Package policy holds the row of PodDisruptionBudgets.
package policy
