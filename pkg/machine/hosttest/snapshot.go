// Package hosttest tells what a test left on its host: processes, mounts, namespaces, interfaces, routes, cgroups and
// packet filter rules.
package hosttest

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Snapshot is a host's state as sets of lines.
type Snapshot map[string][]string

// Take looks at the host. Other tests may run clusters of their own on it meanwhile, so of processes, mounts and cgroups
// only those are in it that belong to clusters whose names begin with prefix. Without egress a cluster adds no interface,
// route, switch or rule at all, so of these all are in it.
func Take(t testing.TB, prefix string) Snapshot {
	t.Helper()
	s := Snapshot{
		"process":   processes(t, prefix),
		"mount":     mounts(t, prefix),
		"interface": names(t, "/sys/class/net"),
		"cgroup":    cgroups(prefix),
		"route":     output(t, "ip", "-4", "route", "show", "table", "all"),
		"switch":    file(t, "/proc/sys/net/ipv4/ip_forward"),
	}
	for _, table := range []string{"nat", "filter", "mangle"} {
		for _, line := range output(t, "iptables", "-t", table, "-S") {
			if strings.HasPrefix(line, "-A") {
				s["rule"] = append(s["rule"], table+" "+line)
			}
		}
	}
	return s
}

// Same fails the test if the host holds more or less than before, once the kernel has had time to tidy up.
func Same(t testing.TB, prefix string, before Snapshot) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		diff := before.compare(Take(t, prefix))
		if len(diff) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("the host is not as it was:\n%s", strings.Join(diff, "\n"))
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (before Snapshot) compare(after Snapshot) []string {
	var diff []string
	for kind := range after {
		for _, line := range after[kind] {
			if !slices.Contains(before[kind], line) {
				diff = append(diff, "+ "+kind+" "+line)
			}
		}
		for _, line := range before[kind] {
			if !slices.Contains(after[kind], line) {
				diff = append(diff, "- "+kind+" "+line)
			}
		}
	}
	slices.Sort(diff)
	return diff
}

func processes(t testing.TB, prefix string) []string {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		cgroup, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cgroup"))
		if err != nil || !strings.Contains(string(cgroup), "/skiff-"+prefix) {
			continue
		}
		comm, err := os.ReadFile(filepath.Join("/proc", e.Name(), "comm"))
		if err == nil {
			found = append(found, e.Name()+" "+strings.TrimSpace(string(comm)))
		}
	}
	return found
}

func mounts(t testing.TB, prefix string) []string {
	var keep []string
	for _, line := range file(t, "/proc/self/mounts") {
		if strings.Contains(line, prefix) {
			keep = append(keep, line)
		}
	}
	return keep
}

func cgroups(prefix string) []string {
	var found []string
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), "skiff-"+prefix) {
			found = append(found, path)
		}
		return nil
	})
	return found
}

func names(t testing.TB, dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func file(t testing.TB, path string) []string {
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(body)), "\n")
}

func output(t testing.TB, name string, args ...string) []string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		t.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}
