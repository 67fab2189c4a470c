// Package node holds the row of RuntimeClasses.
package node
