// Command pause keeps a pod's namespaces alive on processors for which the node agent has no built-in program
// (nodeagent/sandbox/pause says why it has one). It ignores SIGCHLD, so that the kernel reaps orphans, and sleeps.
package main

import (
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

func main() {
	debug.SetGCPercent(-1)
	signal.Ignore(syscall.SIGCHLD)
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGINT, syscall.SIGTERM)
	<-end
}
