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

// Take looks at the host. Only what a cluster of machines could leave is in it: of processes, those of our programs and
// of container monitors; of cgroups, those whose name is ours.
func Take(t testing.TB) Snapshot {
	t.Helper()
	s := Snapshot{
		"process":   processes(t),
		"mount":     mounts(t),
		"interface": names(t, "/sys/class/net"),
		"cgroup":    cgroups(),
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
func Same(t testing.TB, before Snapshot) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		diff := before.compare(Take(t))
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

// programs are the names of processes that belong to clusters.
var programs = []string{
	"machine-init", "apiserver", "controller-manager", "controller-manag", "scheduler", "nodeagent", "proxy", "conmon", "pause", "coredns",
}

func processes(t testing.TB) []string {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		comm, err := os.ReadFile(filepath.Join("/proc", e.Name(), "comm"))
		if err != nil {
			continue // it ended
		}
		name := strings.TrimSpace(string(comm))
		// Processes of other tests on this host come and go: what counts are those of the namespaces of this one's
		// clusters, which its cgroups tell.
		cgroup, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cgroup"))
		if err == nil && slices.Contains(programs, name) && strings.Contains(string(cgroup), "/skiff-"+prefix()) {
			found = append(found, e.Name()+" "+name)
		}
	}
	return found
}

// prefix is what names of clusters of this process begin with.
func prefix() string { return "t" + strconv.Itoa(os.Getpid()) }

func mounts(t testing.TB) []string {
	var keep []string
	for _, line := range file(t, "/proc/self/mounts") {
		if strings.Contains(line, "skiff") || strings.Contains(line, os.TempDir()) {
			keep = append(keep, line)
		}
	}
	return keep
}

func cgroups() []string {
	var found []string
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), "skiff-"+prefix()) {
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
