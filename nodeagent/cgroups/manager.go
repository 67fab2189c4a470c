package cgroups

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// Infra is the group inside a pod's group for what serves the pod: pause and the container monitors.
const Infra = "infra"

// Manager makes, limits and removes groups. Groups are named by their path below the mount points: /kubepods/podUID.
type Manager struct {
	h    hierarchies
	root string
	log  *slog.Logger
}

// New finds out what the machine has. Root is the group below which everything is made (--cgroup-root).
func New(root string, log *slog.Logger) (*Manager, error) {
	if log == nil {
		log = slog.Default()
	}
	h, err := detect()
	if err != nil {
		return nil, err
	}
	return &Manager{h: h, root: filepath.Join("/", root), log: log}, nil
}

// Unified says whether the machine is on cgroup v2.
func (m *Manager) Unified() bool { return m.h.unified != "" }

// Hybrid says whether controllers of cgroup v2 are there beside those of v1.
func (m *Manager) Hybrid() bool {
	if m.h.hybrid == "" {
		return false
	}
	controllers, err := os.ReadFile(filepath.Join(m.h.hybrid, "cgroup.controllers"))
	return err == nil && len(bytes.TrimSpace(controllers)) > 0
}

// Join names a group below the root, for runtimes that want the full path.
func (m *Manager) Join(group string) string { return filepath.Join(m.root, group) }

// Create makes a group, with those above it, and sets its limits. A group that exists is limited anew.
func (m *Manager) Create(group string, res runtime.Resources) error {
	group = m.Join(group)
	if m.Unified() {
		if err := m.createUnified(group); err != nil {
			return fmt.Errorf("create control group %s: %w", group, err)
		}
	} else {
		for _, controller := range []string{"cpu", "cpuacct", "memory", "pids", "hugetlb"} {
			if dir := m.h.file(controller, group, ""); dir != "" {
				if err := os.MkdirAll(dir, 0o755); err != nil {
					return fmt.Errorf("create control group: %w", err)
				}
			}
		}
	}
	return m.limit(group, res)
}

// createUnified makes the group and hands the controllers down to it from every group above.
func (m *Manager) createUnified(group string) error {
	dir := m.h.unified
	for _, part := range strings.Split(strings.Trim(group, "/"), "/") {
		m.handDown(dir)
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	m.handDown(dir)
	return nil
}

func (m *Manager) handDown(dir string) {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return
	}
	enabled, _ := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	for _, controller := range strings.Fields(string(data)) {
		if slices.Contains(strings.Fields(string(enabled)), controller) {
			continue
		}
		// One by one: a controller that cannot be handed down must not keep back the others.
		if err := write(filepath.Join(dir, "cgroup.subtree_control"), "+"+controller); err != nil {
			m.log.Debug("controller stays where it is", "controller", controller, "group", dir, "error", err)
		}
	}
}

// Update sets the limits of a group that exists.
func (m *Manager) Update(group string, res runtime.Resources) error {
	return m.limit(m.Join(group), res)
}

// Add moves a process into a group below a pod's, which is made when missing.
func (m *Manager) Add(group string, pid int) error {
	group = m.Join(group)
	if m.Unified() {
		dir := filepath.Join(m.h.unified, group)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		return write(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid))
	}
	done := map[string]bool{}
	for _, controller := range []string{"cpu", "cpuacct", "memory", "pids"} {
		dir := m.h.file(controller, group, "")
		if dir == "" || done[m.h.v1[controller]] {
			continue
		}
		done[m.h.v1[controller]] = true
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := write(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid)); err != nil {
			return fmt.Errorf("move process %d to %s: %w", pid, dir, err)
		}
	}
	return nil
}

// OpenInfra opens the v2 folder of a group for starting processes right in it; nil on v1.
func (m *Manager) OpenInfra(group string) (*os.File, error) {
	if !m.Unified() {
		return nil, nil
	}
	dir := filepath.Join(m.h.unified, m.Join(group))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return os.Open(dir)
}

// Pids of a group and all below it.
func (m *Manager) Pids(group string) []int {
	seen := map[int]bool{}
	for _, controller := range []string{"memory", "pids", "cpu", "freezer"} {
		top := m.h.file(controller, m.Join(group), "")
		if top == "" {
			continue
		}
		filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.IsDir() {
				return nil
			}
			data, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
			for _, f := range strings.Fields(string(data)) {
				if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
					seen[pid] = true
				}
			}
			return nil
		})
	}
	pids := make([]int, 0, len(seen))
	for pid := range seen {
		pids = append(pids, pid)
	}
	slices.Sort(pids)
	return pids
}

// Kill ends every process in a group and below it. It does not wait.
func (m *Manager) Kill(group string) {
	if m.Unified() {
		if write(filepath.Join(m.h.unified, m.Join(group), "cgroup.kill"), "1") == nil {
			return
		}
	}
	for _, pid := range m.Pids(group) {
		unix.Kill(pid, unix.SIGKILL)
	}
}

// Exists says whether the group is there.
func (m *Manager) Exists(group string) bool {
	_, err := os.Stat(m.h.file("memory", m.Join(group), ""))
	return err == nil
}

// Remove kills what is left in a group and removes it with all below, in every hierarchy. What is gone is no error.
func (m *Manager) Remove(ctx context.Context, group string) error {
	if filepath.Clean("/"+group) == "/" {
		return errors.New("the root control group is not for removal")
	}
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	pause := time.Millisecond
	for {
		m.Kill(group)
		err := m.tryRemove(group)
		if err == nil {
			return nil
		}
		// The kernel says when a v2 group is empty, but v1 says nothing: the end of a killed process is waited for by
		// trying again.
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove control group %s: %w", group, err)
		case <-deadline.C:
			return fmt.Errorf("remove control group %s: %w", group, err)
		case <-time.After(pause):
			pause = min(2*pause, 100*time.Millisecond)
		}
	}
}

func (m *Manager) tryRemove(group string) error {
	var failed error
	for _, mount := range m.h.mountPoints() {
		if err := removeTree(filepath.Join(mount, m.Join(group))); err != nil {
			failed = err
		}
	}
	return failed
}

// removeTree removes the groups inside first. Their files go with them.
func removeTree(dir string) error {
	err := unix.Rmdir(dir)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	entries, readErr := os.ReadDir(dir)
	if errors.Is(readErr, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}

// Groups lists the names directly below a group, from the memory hierarchy.
func (m *Manager) Groups(group string) ([]string, error) {
	entries, err := os.ReadDir(m.h.file("memory", m.Join(group), ""))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, err
}
