// Package nodeproxy answers connections into the cluster: logs, exec, attach and port-forward go to the agent of the
// pod's node, as this server's own client; proxy requests go to a node's agent, a pod, or a pod behind a Service.
//
// Connections that switch protocols (SPDY, WebSocket) are passed on as they are, byte by byte: whoever is at the other
// end negotiates the sub-protocol with the client.
package nodeproxy
