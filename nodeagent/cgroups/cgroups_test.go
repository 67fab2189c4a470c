package cgroups

import (
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

func TestMountsTellTheHierarchies(t *testing.T) {
	for _, c := range []struct {
		name, mounts string
		unified      string
		v1           map[string]string
	}{
		{"v2", "30 20 0:26 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n", "/sys/fs/cgroup", nil},
		{"hybrid", `35 34 0:31 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
36 34 0:32 / /sys/fs/cgroup/memory rw shared:3 - cgroup cgroup rw,memory
37 34 0:33 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
38 34 0:34 / /sys/fs/cgroup/unified rw - cgroup2 cgroup rw
`, "/sys/fs/cgroup/unified", map[string]string{"cpu": "/sys/fs/cgroup/cpu,cpuacct", "cpuacct": "/sys/fs/cgroup/cpu,cpuacct", "memory": "/sys/fs/cgroup/memory", "name=systemd": "/sys/fs/cgroup/systemd"}},
		{"a bind of a part counts only where there is nothing better", `36 34 0:32 /kubepods/x /mnt/a rw - cgroup cgroup rw,memory
37 34 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
38 34 0:33 /docker/y /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
`, "", map[string]string{"memory": "/sys/fs/cgroup/memory", "cpu": "/sys/fs/cgroup/cpu"}},
	} {
		h, err := parseMounts(strings.NewReader(c.mounts))
		if err != nil {
			t.Fatal(err)
		}
		if h.unified != c.unified || fmt.Sprint(h.v1) != fmt.Sprint(c.v1) && len(h.v1)+len(c.v1) > 0 {
			t.Errorf("%s: %+v", c.name, h)
		}
	}
}

func TestNumbersOfTheKubelet(t *testing.T) {
	for milli, want := range map[int64]int64{0: 2, 1: 2, 100: 102, 1000: 1024, 1_000_000_000: 262144} {
		if got := SharesFromMilliCPU(milli); got != want {
			t.Errorf("SharesFromMilliCPU(%d) = %d, want %d", milli, got, want)
		}
	}
	for milli, want := range map[int64]int64{0: 0, 1: 1000, 250: 25000, 2000: 200000} {
		if got := QuotaFromMilliCPU(milli); got != want {
			t.Errorf("QuotaFromMilliCPU(%d) = %d, want %d", milli, got, want)
		}
	}
	for shares, want := range map[int64]int64{0: 1, 2: 1, 1024: 39, 262144: 10000} {
		if got := Weight(shares); got != want {
			t.Errorf("Weight(%d) = %d, want %d", shares, got, want)
		}
	}
	for class, want := range map[string]string{"Guaranteed": "/kubepods/podu", "Burstable": "/kubepods/burstable/podu", "BestEffort": "/kubepods/besteffort/podu"} {
		if got := PodGroup(class, "u"); got != want {
			t.Errorf("PodGroup(%s) = %s", class, got)
		}
	}
}

func TestAGroupFromItsMakingToItsRemoval(t *testing.T) {
	m, err := New("/", slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	top := fmt.Sprintf("/skifftest-%d", time.Now().UnixNano())
	group := top + "/burstable/podx"
	ctx := context.Background()
	t.Cleanup(func() {
		if err := m.Remove(ctx, top); err != nil {
			t.Error(err)
		}
		if m.Exists(top) {
			t.Error("the group stays")
		}
	})
	if err := m.Create(group, runtime.Resources{CPUShares: 512, CPUQuota: 50_000, MemoryLimit: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	limits := m.Limits(group)
	if limits.CPUQuota != 50_000 || limits.CPUPeriod != 100_000 || limits.MemoryLimit != 64<<20 || limits.CPUShares < 490 || limits.CPUShares > 520 {
		t.Errorf("limits = %+v", limits)
	}
	if err := m.Update(group, runtime.Resources{CPUShares: 2}); err != nil {
		t.Fatal(err)
	}
	if limits := m.Limits(group); limits.CPUQuota != 0 || limits.MemoryLimit != 0 {
		t.Errorf("without limits: %+v", limits)
	}

	cmd := exec.Command("sh", "-c", "trap '' TERM; read go; head -c 4000000 /dev/zero | tail -c 1; echo; while :; do sleep 100; done")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go cmd.Wait()
	if err := m.Add(group+"/"+Infra, cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write([]byte("go\n")); err != nil { // so that its work is the group's
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if pids := m.Pids(group); !slices.Contains(pids, cmd.Process.Pid) {
		t.Errorf("processes %v, want %d among them", pids, cmd.Process.Pid)
	}
	s, err := m.Stats(group)
	if err != nil || s.CPUNanos == 0 || s.MemoryUsage == 0 || s.Pids == 0 {
		t.Errorf("stats = %+v, %v", s, err)
	}
	if names, err := m.Groups(group); err != nil || !slices.Equal(names, []string{Infra}) {
		t.Errorf("groups = %v, %v", names, err)
	}
	if err := m.Remove(ctx, group); err != nil { // kills what is in it
		t.Fatal(err)
	}
	if m.Exists(group) {
		t.Error("a removed group is there")
	}
	if err := m.Remove(ctx, group); err != nil {
		t.Errorf("once more: %v", err)
	}
	if err := m.Remove(ctx, "/"); err == nil {
		t.Error("the root group was removed")
	}
}
