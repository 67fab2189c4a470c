package machine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// hierarchy is one mounted tree of cgroups: the only one of a v2 host, or one of several.
type hierarchy struct {
	point string
	v2    bool
}

func hierarchies() ([]hierarchy, error) {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var found []hierarchy
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 || !strings.HasPrefix(fields[1], "/sys/fs/cgroup") {
			continue
		}
		h := hierarchy{point: fields[1], v2: fields[2] == "cgroup2"}
		if (h.v2 || fields[2] == "cgroup") && !slices.Contains(found, h) {
			found = append(found, h)
		}
	}
	if len(found) == 0 {
		return nil, errors.New("no cgroup hierarchy is mounted below /sys/fs/cgroup")
	}
	return found, lines.Err()
}

func cgroupOf(cluster string) string { return "skiff-" + cluster }

// enterCgroups makes the machine's cgroup in every hierarchy and moves the process there.
func enterCgroups(cluster, machine string, pid int) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		dir := h.point
		for _, part := range []string{cgroupOf(cluster), machine} {
			if h.v2 {
				giveControllers(dir)
			}
			dir = filepath.Join(dir, part)
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
				return err
			}
			if h.v2 {
				continue // there an empty cpuset means the parent's
			}
			if err := inheritCpuset(dir); err != nil {
				return err
			}
		}
		procs := filepath.Join(dir, "cgroup.procs")
		if err := os.WriteFile(procs, []byte(strconv.Itoa(pid)), 0); err != nil {
			return fmt.Errorf("move init into %s: %w", dir, err)
		}
	}
	return nil
}

// giveControllers lets the children of a v2 cgroup have the controllers that it has. A controller that cannot be had
// (of a threaded parent, or held by a v1 hierarchy) costs only itself.
func giveControllers(dir string) {
	body, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return
	}
	given, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return
	}
	for _, c := range strings.Fields(string(body)) {
		if !slices.Contains(strings.Fields(string(given)), c) {
			_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0)
		}
	}
}

// inheritCpuset fills in what a new v1 cpuset lacks, without which it takes no process.
func inheritCpuset(dir string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		own := filepath.Join(dir, file)
		body, err := os.ReadFile(own)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(strings.TrimSpace(string(body))) > 0 {
			continue
		}
		above, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
		if err != nil {
			return err
		}
		if err := os.WriteFile(own, above, 0); err != nil {
			return err
		}
	}
	return nil
}

// removeCgroups ends whatever still runs in the cgroups below name and removes them.
func removeCgroups(ctx context.Context, name string) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		top := filepath.Join(h.point, name)
		err := until(ctx, func() bool { return removeTree(top) })
		if err != nil {
			return fmt.Errorf("cgroup %s cannot be removed: %w", top, err)
		}
	}
	return nil
}

// removeTree tries once to empty and remove a tree of cgroups, and says whether it is gone.
func removeTree(top string) bool {
	var dirs []string
	_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil // what has vanished meanwhile is what we want
	})
	slices.Reverse(dirs) // children come after their parents in a walk
	for _, dir := range dirs {
		thaw(dir)
		for _, pid := range processesIn(dir) {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		_ = os.Remove(dir)
	}
	_, err := os.Stat(top)
	return errors.Is(err, os.ErrNotExist)
}

// thaw lets killed processes of a frozen cgroup die.
func thaw(dir string) {
	if f := filepath.Join(dir, "freezer.state"); exists(f) {
		_ = os.WriteFile(f, []byte("THAWED"), 0)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// processesIn lists the processes of one cgroup, in the host's numbering.
func processesIn(dir string) []int {
	body, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil
	}
	var pids []int
	for _, f := range strings.Fields(string(body)) {
		if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// processesBelow lists the processes of a cgroup and all its descendants in one hierarchy.
func processesBelow(h hierarchy, name string) []int {
	var pids []int
	_ = filepath.WalkDir(filepath.Join(h.point, name), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			pids = append(pids, processesIn(path)...)
		}
		return nil
	})
	return pids
}
