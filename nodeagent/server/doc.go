// Package server is the node agent's HTTPS interface: what the API server, and whoever it lets, asks a node for.
//
//	/containerLogs/NS/POD/CONTAINER            logs.go, read from the files by package containerlog
//	/exec, /attach/NS/POD[/UID]/CONTAINER      exec.go; SPDY by k8s.io/cri-streaming, WebSocket (v5 to v1, base64) by websocket.go
//	/portForward/NS/POD[/UID]                  portforward.go; SPDY, SPDY tunnelled in WebSocket, plain WebSocket
//	/run/NS/POD[/UID]/CONTAINER                exec without streams
//	/pods, /runningpods/, /configz, /healthz, /logs/
//	/stats/summary, /metrics, /metrics/resource, /metrics/cadvisor
//	/images                                    ours: GET lists, POST loads an archive and tells its progress
//
// Paths, parameters, answers and what permission each needs are the kubelet's, since the API server and metrics
// collectors know no other. Who asks is told by a client certificate or by a TokenReview; whether he may, by a
// SubjectAccessReview for the node's subresource that belongs to the path (auth.go).
package server
