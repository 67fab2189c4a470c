// Package flowcontrol holds the rows of the kinds that say which requests wait when there are many.
package flowcontrol
