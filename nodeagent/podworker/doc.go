// Package podworker walks one pod through its life on this node: volumes and sandbox, init containers, containers, restarts,
// the end.
//
// One goroutine owns a pod (Worker.run). It looks at what is (observe), works out what is missing by a pure function
// (plan.go, Decide), does the first steps towards it, reports a status, and sleeps until something happens: a new
// specification, the end of a container, a probe's verdict, a changed ConfigMap, a timer. Whatever takes long (a pull, a hook, a
// grace period) runs on a goroutine of its own, is given what it needs, and hands back a function that the owner then runs; so
// no step needs a lock, the worker always listens, and no pod waits for another.
//
// What must outlive the agent is kept with the containers themselves, as labels and annotations (names.go): a new worker
// that finds containers of its pod goes on where the old one stopped, and touches nothing that is as wanted.
package podworker
