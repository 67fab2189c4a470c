// Package disruption says how many pods of a PodDisruptionBudget may be evicted now.
//
// It owns: the status of PodDisruptionBudgets, but for what the eviction endpoint writes into it, and the condition
// DisruptionTarget of pods whose eviction came to nothing.
// It is woken by: budgets, the pods that they select, and the workloads that own those. It never touches: pods' lives.
package disruption
