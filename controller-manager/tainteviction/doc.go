// Package tainteviction ends pods on nodes with NoExecute taints that they do not tolerate, at once or after as many
// seconds as they tolerate them for.
//
// It owns: nothing; it deletes pods. It is woken by: nodes whose taints change, and pods that are bound or whose
// tolerations change. It never touches: taints.
package tainteviction
