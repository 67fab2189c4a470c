// Package sandbox makes and keeps what the containers of a pod share: namespaces, address, /dev/shm and control group.
//
// The namespaces are held by one pause process, started by the agent directly in new ones. It is put into the pod's
// control group and belongs to no session of the agent, so it goes on when the agent dies; the next agent finds it by
// what sandboxes/ID/sandbox.json says: id and start time of the process, address, configuration.
//
// The namespaces are not pinned by mounts. Containers join /proc/PID/ns; whoever does so checks afterwards, before any
// code of the container runs, that the process is still the same (Check), so that a reused process id cannot lead a
// container into a stranger's namespaces. That spares a mount for every pod, which every container would copy.
package sandbox
