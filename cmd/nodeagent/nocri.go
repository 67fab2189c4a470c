//go:build !cri

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/skiff-project/skiff/nodeagent"
)

// useCRI goes on as nodeagent-cri, this program's sibling with gRPC in it, when a CRI runtime is wanted. gRPC's use of
// reflection keeps the linker from leaving out what is not used, of the Kubernetes API above all, which makes a program
// twice as large and costs it 18 MB of memory: too much for every node, for the few that use it.
func useCRI(c *nodeagent.Config) error {
	if c.RuntimeEndpoint == "" {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("--container-runtime-endpoint: %w", err)
	}
	sibling := filepath.Join(filepath.Dir(self), "nodeagent-cri")
	return fmt.Errorf("--container-runtime-endpoint needs %s: %w", sibling, syscall.Exec(sibling, os.Args, os.Environ()))
}
