//go:build cri

package main

import (
	"log/slog"

	"github.com/skiff-project/skiff/nodeagent"
	"github.com/skiff-project/skiff/nodeagent/cgroups"
	"github.com/skiff-project/skiff/nodeagent/runtime"
	"github.com/skiff-project/skiff/nodeagent/runtime/cri"
)

// useCRI lets the agent connect to a CRI runtime. This is nodeagent-cri, the program that the plain one runs in its place
// when --container-runtime-endpoint is given.
func useCRI(c *nodeagent.Config) error {
	c.OpenCRI = func(endpoint string, groups *cgroups.Manager, log *slog.Logger) (runtime.Runtime, runtime.Images, func(), error) {
		r, images, err := cri.New(cri.Config{Endpoint: endpoint, Cgroups: groups, Log: log})
		if err != nil {
			return nil, nil, nil, err
		}
		return r, images, func() { r.Close() }, nil
	}
	return nil
}
