// Package runtime says what the node agent asks of a container runtime.
//
// The shape is CRI's (sandboxes that hold the namespaces and the address, containers inside them), so that containerd
// or CRI-O can take the place of the native implementation, but it is plain Go: no protobuf, no RPC, streams are
// io.Reader and io.Writer, and what happened is told by a channel instead of being polled for.
//
// Two implementations live below: oci (runc, crun under conmon; the default) and cri (any CRI socket). One test suite,
// runtimetest, is run by both.
//
// State belongs to the runtime, not to the agent: after the agent was killed, Sandboxes and Containers list what runs
// and what has ended, with the same ids, and nothing that ran was touched.
package runtime
