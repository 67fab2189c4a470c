// Package nodeagent runs the pods that are assigned to one node. It takes the kubelet's place.
//
// agent.go is the door. One event loop (loop.go) owns the set of pods: it hears of pods from the API server and from a folder of
// static pods, of containers from the runtime, and gives each pod a worker (package podworker) that does the rest. Nothing
// that takes long is done in the loop. What is beside it: the Node object (package node), images that are removed when the disk
// fills (housekeeping.go), and the HTTPS interface that the API server uses for logs, exec and the like (package server).
//
// The agent may be killed at any moment. Containers run on without it, and a new agent finds all it needs: pods in the API,
// containers in the runtime, volumes in the mount table.
package nodeagent
