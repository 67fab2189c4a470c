// Package core holds the rows of the core group: pods, nodes, services and what they are made of.
package core
