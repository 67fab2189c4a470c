// Package client connects a component to the API server: which server and as whom (kubeconfig, or the service account of
// the pod that it runs in), in which format (protobuf), and how much of an answer it keeps in memory.
package client
