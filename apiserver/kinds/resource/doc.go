// Package resource holds the rows of the kinds that hand out devices: classes, slices, claims and taints.
package resource
