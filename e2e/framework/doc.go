// Package framework starts clusters of the built binaries and drives them as a user does: by command lines of skiff and
// of upstream's kubectl. Faults are made from outside, by acting on machines.
//
// Clusters are costly, so tests share one where they can (Shared); each works in a namespace of its own. What a test needs
// for itself it starts with Up. Every cluster ends with its test or, the shared one, with the test binary.
package framework
