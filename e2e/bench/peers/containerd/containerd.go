//go:build peers

// Package containerd pins the runtime under upstream's kubelet. It needs older versions of what Kubernetes' own programs
// use, so its module is its own.
package containerd

import (
	_ "github.com/containerd/containerd/v2/cmd/containerd"
	_ "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"
	_ "github.com/containerd/containerd/v2/cmd/ctr"
)
