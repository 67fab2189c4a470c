// Package nodes is what one scheduling decision reads: every node with what runs on it and what is free, in a flat table
// whose rows are numbered. A row's Gen grows whenever something changes that a rule could read, so that a verdict about a
// node can be kept until the node changes; the table's Layout grows when nodes come, go or change place in the topology.
//
// The table has one owner, the scheduler's loop, and takes no locks.
package nodes
