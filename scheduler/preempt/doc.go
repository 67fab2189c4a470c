// Package preempt finds the pods that have to go so that a more important one can run: for each node the fewest and least
// important that make room, then the node where that hurts least. The order in which "least" is decided is upstream's:
// disruption budgets broken, the highest priority among the victims, the sum of their priorities, their number, and how
// long the most important of them has run.
package preempt
