// Package pause holds the program that keeps a sandbox's namespaces alive.
//
// It does two things: it ignores SIGCHLD, which makes the kernel reap the orphans of a shared PID namespace at once, and
// it sleeps. Two hundred bytes of machine code are enough for that, so that is what it is: a process of it has four
// pages, where the smallest Go program has a hundred times as much, on every pod of every node. The bytes are made
// here, instruction by instruction; cmd/pause is the same in Go, for other processors.
package pause
