package oci_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/nodeagent/runtime"
	"github.com/skiff-project/skiff/nodeagent/runtime/runtimetest"
	"github.com/skiff-project/skiff/nodeagent/runtime/runtimetest/native"
)

func TestContract(t *testing.T) { contract(t, "runc") }

// Crun refuses machines of both control group versions, so the newer one is hidden in the tests' mount namespace.
func TestContractWithCrun(t *testing.T) {
	if err := unix.Unmount("/sys/fs/cgroup/unified", unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		t.Fatal(err)
	}
	contract(t, "crun")
}

func contract(t *testing.T, command string) {
	n := native.New(t)
	n.Command = command
	image := n.Load(t, "busybox:1", v1.Config{Cmd: []string{"sh"}})
	before := leftovers(t, n)
	r := n.Runtime(t)
	runtimetest.Run(t, runtimetest.Env{
		Runtime: r, Image: image, Logs: filepath.Join(n.Root, "logs"),
		Restart: func(t *testing.T) runtime.Runtime { return n.Runtime(t) },
	})
	if after := leftovers(t, n); after != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
	}
}

// leftovers lists what a pod could leave on a node.
func leftovers(t *testing.T, n *native.Node) string {
	t.Helper()
	var b strings.Builder
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, n.Root) {
			b.WriteString(line)
		}
	}
	for _, dir := range []string{"sandboxes", "containers", "exits", "run", "network/ipam", "network/ports"} {
		entries, _ := os.ReadDir(filepath.Join(n.Root, dir))
		for _, e := range entries {
			fmt.Fprintln(&b, dir, e.Name())
		}
	}
	links, err := exec.Command("ip", "-o", "link").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(links)) {
		if strings.Contains(line, " sk") && !strings.Contains(line, "skiff0") {
			b.WriteString(line)
		}
	}
	if pods, _ := n.Cgroups.Groups("/kubepods/burstable"); len(pods) > 0 {
		fmt.Fprintln(&b, "groups", pods)
	}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		cmdline, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if strings.Contains(string(cmdline), "conmon") || strings.HasPrefix(string(cmdline), "pause") {
			fmt.Fprintln(&b, "process", e.Name(), string(cmdline))
		}
	}
	return b.String()
}
