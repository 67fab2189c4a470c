// Package eviction watches what this machine must not run out of: memory, disk and process ids. Short of one of them, the node
// says so (conditions, from which the control plane makes taints) and ends the pods that use most beyond what they asked for.
// The thresholds are the kubelet's hard ones; Rank and the choice of the signal are pure.
package eviction

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Config of a Manager.
type Config struct {
	DataDir string // on the file system that pods use
}

const (
	memoryFloor = 100 << 20 // bytes available
	diskFloor   = 10        // percent free
	inodeFloor  = 5         // percent free
	pidFloor    = 2         // percent of the kernel's limit

	// linger is how long a condition stays after the shortage has passed, so that it does not flap.
	linger = 5 * time.Minute
)

// Signal is what was measured.
type Signal struct {
	MemoryAvailable, MemoryTotal int64
	DiskAvailable, DiskTotal     uint64
	InodesFree, Inodes           uint64
	PIDs, MaxPIDs                int64
}

// Short says which conditions a measurement means.
func (s Signal) Short() map[corev1.NodeConditionType]bool {
	return map[corev1.NodeConditionType]bool{
		corev1.NodeMemoryPressure: s.MemoryTotal > 0 && s.MemoryAvailable < memoryFloor,
		corev1.NodeDiskPressure: s.DiskTotal > 0 && s.DiskAvailable < s.DiskTotal/100*diskFloor ||
			s.Inodes > 0 && s.InodesFree < s.Inodes/100*inodeFloor,
		corev1.NodePIDPressure: s.MaxPIDs > 0 && (s.MaxPIDs-s.PIDs)*100 < s.MaxPIDs*pidFloor,
	}
}

// Manager remembers shortages.
type Manager struct {
	cfg Config

	mu   sync.Mutex
	last map[corev1.NodeConditionType]time.Time // when it was short last
}

// New returns a manager.
func New(cfg Config) *Manager {
	return &Manager{cfg: cfg, last: map[corev1.NodeConditionType]time.Time{}}
}

// Pressure is what the node's conditions shall say.
func (m *Manager) Pressure() map[corev1.NodeConditionType]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[corev1.NodeConditionType]bool{}
	for t, at := range m.last {
		out[t] = time.Since(at) < linger
	}
	return out
}

// Look measures, and answers what is short now.
func (m *Manager) Look() (Signal, map[corev1.NodeConditionType]bool, error) {
	s, err := measure(m.cfg.DataDir)
	if err != nil {
		return s, nil, err
	}
	short := s.Short()
	m.mu.Lock()
	defer m.mu.Unlock()
	for t, is := range short {
		if is {
			m.last[t] = time.Now()
		}
	}
	return s, short, nil
}

func measure(dir string) (Signal, error) {
	var s Signal
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return s, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		kib, _ := strconv.ParseInt(fields[1], 10, 64)
		switch fields[0] {
		case "MemTotal:":
			s.MemoryTotal = kib << 10
		case "MemAvailable:":
			s.MemoryAvailable = kib << 10
		}
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return s, fmt.Errorf("room in %s: %w", dir, err)
	}
	// What is kept for root, or for others by a quota, is no part of what can be filled: a disk may never have 15 % of its
	// blocks to give.
	s.DiskAvailable, s.DiskTotal = fs.Bavail*uint64(fs.Bsize), (fs.Blocks-fs.Bfree+fs.Bavail)*uint64(fs.Bsize)
	s.InodesFree, s.Inodes = fs.Ffree, fs.Files
	s.MaxPIDs = readInt("/proc/sys/kernel/pid_max")
	// The fourth field of loadavg is RUNNING/ALL.
	if data, err := os.ReadFile("/proc/loadavg"); err == nil {
		if fields := strings.Fields(string(data)); len(fields) > 3 {
			_, all, _ := strings.Cut(fields[3], "/")
			s.PIDs, _ = strconv.ParseInt(all, 10, 64)
		}
	}
	return s, nil
}

func readInt(path string) int64 {
	data, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	return n
}

// Usage is a pod with what it uses of the resource that is short.
type Usage struct {
	Pod     *corev1.Pod
	Used    int64
	Request int64
}

// Rank puts the pod to end first in front: one that uses more than it asked for, of lower priority, and the more the sooner.
// Pods without which the node or the cluster does not work are left out.
func Rank(pods []Usage) []Usage {
	var out []Usage
	for _, u := range pods {
		if !critical(u.Pod) {
			out = append(out, u)
		}
	}
	slices.SortStableFunc(out, func(a, b Usage) int {
		return cmp.Or(compareBool(a.Used > a.Request, b.Used > b.Request), cmp.Compare(priority(a.Pod), priority(b.Pod)),
			cmp.Compare(b.Used-b.Request, a.Used-a.Request))
	})
	return out
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func critical(p *corev1.Pod) bool {
	return priority(p) >= 2_000_000_000 || p.Annotations["kubernetes.io/config.source"] == "file"
}

func priority(p *corev1.Pod) int32 {
	if p.Spec.Priority == nil {
		return 0
	}
	return *p.Spec.Priority
}

// Message says why a pod was ended, in the kubelet's words.
func Message(name corev1.ResourceName, u Usage, threshold, available int64) string {
	m := fmt.Sprintf("The node was low on resource: %s. Threshold quantity: %s, available: %s. ", name, quantity(threshold), quantity(available))
	if u.Used > u.Request {
		m += fmt.Sprintf("Container usage of %s was %s, request is %s, has larger consumption of %s. ", name, quantity(u.Used), quantity(u.Request), name)
	}
	return m
}

func quantity(bytes int64) string {
	return resource.NewQuantity(bytes>>10<<10, resource.BinarySI).String()
}
