// Package cri runs containers through a CRI socket: containerd or CRI-O in the place of the native runtime.
//
// It translates, and keeps no state: sandboxes, containers and images are the runtime's. Three things CRI does not give
// are made up for here. Which pod a container belongs to is told by the labels that the kubelet sets, too. Events come
// from GetContainerEvents where the runtime has it, else from comparing lists every second, as the kubelet does.
// Archives cannot be imported over CRI: Import says so and names the runtime's own way.
package cri
