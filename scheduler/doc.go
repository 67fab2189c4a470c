// Package scheduler gives every pod without a node a node.
//
// One goroutine, the loop (loop.go), owns the queue, the table of nodes and the classes; informers and binders send it
// messages. A decision (decide.go) is one pass over the table. Pods of one template are one class (class.go): what was
// found out about a node for one of them holds for the others until the node changes, so that a thousand replicas cost
// little more than one. Bindings run in parallel (bind.go); the loop goes on as if they had succeeded and takes the pod
// back if one has not.
package scheduler
