// Package runtimetest holds what every container runtime must do, as tests that each implementation runs on real
// containers, and what such tests need: namespaces of their own and images made of the machine's busybox.
package runtimetest
