// Package storage holds the rows of storage classes and of what CSI drivers say about themselves.
package storage
