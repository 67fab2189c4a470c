// Package scheduling holds the row of PriorityClasses.
package scheduling
