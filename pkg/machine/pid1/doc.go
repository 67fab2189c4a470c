// Package pid1 is the first process of a machine.
//
// It runs twice. Enter runs in the namespaces that the host made, waits until the host has put it into the machine's
// cgroups and wired its network, takes a cgroup namespace, puts the root file system together and executes itself again.
// Run is what is then PID 1: it starts components, restarts with back-off those that end, reaps what has lost its parent,
// and obeys requests (package control).
//
// Two executions are needed because a Go process has many threads, and a thread that takes a new cgroup namespace takes
// it for itself alone; executing leaves that one thread.
//
// Containers, and the monitors that hold them, are no components: their monitors' parent is PID 1, and the death of the
// node agent that started them changes nothing for them.
package pid1
