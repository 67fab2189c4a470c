// Package score says how good a place for a pod a node is: one file an idea, with upstream's names, weights and formulas,
// so that pods end up where users of Kubernetes expect them. Scores are from 0 to 100.
//
// Resource scores and image locality depend on one node alone and are kept until it changes. The others are raw numbers
// that only mean something beside those of the other feasible nodes; Normalize and NormalizeReverse bring them to 0..100.
package score
