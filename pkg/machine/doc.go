// Package machine makes the machines that a cluster of `skiff up` runs on: each a set of Linux namespaces (network,
// mount, PID, UTS, IPC, cgroup) with an address on the cluster's own bridge, its own iptables, its own files over the
// host's, its own part of every cgroup hierarchy, and a small init (package pid1) as PID 1.
//
// It is the one place that asks anything of the host, and the one that gives it back. What a cluster takes is this:
//
//   - the folder RunDir/NAME, with the control sockets and state.json, written before anything else is made;
//   - the folder DataRoot/NAME, locked by the inits for as long as they live;
//   - the cgroup skiff-NAME in each hierarchy;
//   - the processes below the inits, and with them all namespaces and mounts: no namespace is bound to a file, so none
//     can outlive its processes. The bridge lies in a network namespace (the LAN) that every init holds open;
//   - with egress only: an interface and three iptables rules of the host.
//
// Destroy finds all of that by name. It does not matter how far Create and Add came, nor how often Destroy is called.
//
// The host has no route into a cluster. Its API is reached because the listening socket is opened on the host and handed
// to the machine's init, which keeps it while API servers come and go.
//
// The package knows nothing of Kubernetes.
package machine
