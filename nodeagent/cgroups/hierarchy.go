package cgroups

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// hierarchies are the mounted control group file systems.
type hierarchies struct {
	unified string            // mount point of v2 when it has the controllers, else empty
	v1      map[string]string // controller (or name=systemd) to mount point
	// hybrid is the mount point of a v2 that has no controllers beside a v1 that has them. OCI runtimes make groups there too.
	hybrid string
}

func detect() (hierarchies, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return hierarchies{}, err
	}
	defer f.Close()
	h, err := parseMounts(f)
	if err != nil {
		return h, err
	}
	if len(h.v1) == 0 && h.unified == "" {
		return h, errors.New("no control group file system is mounted")
	}
	if len(h.v1) > 0 && !usable(h.v1) {
		return h, errors.New("the control group file systems lack the controllers cpu and memory")
	}
	if usable(h.v1) {
		h.hybrid, h.unified = h.unified, ""
	}
	return h, nil
}

func usable(v1 map[string]string) bool { return v1["cpu"] != "" && v1["memory"] != "" }

// parseMounts reads mountinfo: "... - FSTYPE SOURCE SUPEROPTIONS", the fifth field being the mount point. A file system
// mounted twice counts where it is seen from its root; as a bind of a part of it only where there is nothing better.
func parseMounts(r io.Reader) (hierarchies, error) {
	h := hierarchies{v1: map[string]string{}}
	whole := map[string]bool{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields, tail := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(tail) < 3 {
			continue
		}
		isWhole := fields[3] == "/"
		switch tail[0] {
		case "cgroup2":
			if h.unified == "" || fields[4] == "/sys/fs/cgroup" {
				h.unified = fields[4]
			}
		case "cgroup":
			for _, option := range strings.Split(tail[2], ",") {
				if isController(option) && (h.v1[option] == "" || isWhole && !whole[option]) {
					h.v1[option], whole[option] = fields[4], isWhole
				}
			}
		}
	}
	return h, lines.Err()
}

var controllers = []string{"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "hugetlb", "net_cls", "net_prio", "perf_event", "rdma", "misc"}

func isController(option string) bool {
	return slices.Contains(controllers, option) || strings.HasPrefix(option, "name=")
}

// mountPoints of all hierarchies, each once.
func (h hierarchies) mountPoints() []string {
	if h.unified != "" {
		return []string{h.unified}
	}
	var list []string
	for _, mount := range h.v1 {
		if !slices.Contains(list, mount) {
			list = append(list, mount)
		}
	}
	if h.hybrid != "" {
		list = append(list, h.hybrid)
	}
	slices.Sort(list)
	return list
}

// file of a group in the hierarchy of a controller; empty when there is none.
func (h hierarchies) file(controller, group, name string) string {
	mount := h.unified
	if mount == "" {
		if mount = h.v1[controller]; mount == "" {
			return ""
		}
	}
	return filepath.Join(mount, group, name)
}

func write(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(value); err != nil {
		return fmt.Errorf("write %q: %w", value, err)
	}
	return nil
}
