// Package cgroups keeps the control groups of pods: kubepods, the QoS classes in it, and one group a pod, on cgroup v1,
// hybrid and v2 machines.
//
// Container groups below a pod's are made by the OCI runtime. Beside them, in the pod's group "infra", live the pod's
// pause process and the container monitors: they are charged to the pod and never to the agent, and on v2 a group that
// hands controllers down must hold no process itself.
//
// The files are written directly. On v1 the hierarchies are what /proc/self/mountinfo says, wherever they are mounted; an
// empty v2 hierarchy beside them (hybrid) is left alone.
package cgroups
