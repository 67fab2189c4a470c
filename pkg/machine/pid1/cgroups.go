package pid1

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mountPoint is a line of the mount table.
type mountPoint struct {
	point, fstype string
	super         string // the file system's own options; for cgroup v1 they name the hierarchy
}

func mountTable() ([]mountPoint, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var table []mountPoint
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		own, super, ok := strings.Cut(lines.Text(), " - ")
		fields, rest := strings.Fields(own), strings.Fields(super)
		if !ok || len(fields) < 5 || len(rest) < 3 {
			return nil, fmt.Errorf("mount table: %q", lines.Text())
		}
		table = append(table, mountPoint{point: unescape(fields[4]), fstype: rest[0], super: rest[2]})
	}
	return table, lines.Err()
}

// unescape undoes the kernel's octal escapes of blanks in mount points.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

const cgroupTop = "/sys/fs/cgroup"

// mountCgroups shows the host's hierarchies, v1 or v2, from the machine's own cgroup downwards. A v2 hierarchy beside those of v1 is
// left out: nothing in a machine needs it, and crun takes no container where it has controllers.
func mountCgroups(root string, mounts []mountPoint) error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	top := root + cgroupTop
	onTop := ""
	var below []mountPoint
	seen := map[string]bool{}
	for _, m := range mounts {
		switch {
		case m.point == cgroupTop:
			onTop = m.fstype
		case m.fstype == "cgroup" && filepath.Dir(m.point) == cgroupTop && !seen[m.point]:
			seen[m.point] = true
			below = append(below, m)
		}
	}
	if onTop == "cgroup2" {
		if err := unix.Mount("cgroup2", top, "cgroup2", flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", cgroupTop, err)
		}
		return delegate(top)
	}
	if err := unix.Mount("tmpfs", top, "tmpfs", flags, "mode=755"); err != nil {
		return fmt.Errorf("mount %s: %w", cgroupTop, err)
	}
	for _, m := range below {
		target := root + m.point
		if err := os.Mkdir(target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("cgroup", target, m.fstype, flags, hierarchy(m)); err != nil {
			return fmt.Errorf("mount %s: %w", m.point, err)
		}
		// Where controllers share a hierarchy (cpu,cpuacct) each is looked for under its own name.
		if names := strings.Split(filepath.Base(m.point), ","); len(names) > 1 {
			for _, name := range names {
				if err := os.Symlink(filepath.Base(m.point), filepath.Join(top, name)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// hierarchy is the mount option that names a v1 hierarchy: its controllers, or a name for one without any.
func hierarchy(m mountPoint) string {
	var keep []string
	named := false
	for _, o := range strings.Split(m.super, ",") {
		switch {
		case strings.HasPrefix(o, "name="):
			named = true
			keep = append(keep, o)
		case o == "rw", o == "ro", o == "xattr", o == "clone_children", o == "noprefix", strings.HasPrefix(o, "release_agent="):
		default:
			keep = append(keep, o)
		}
	}
	if named {
		keep = append([]string{"none"}, keep...)
	}
	return strings.Join(keep, ",")
}

// delegate makes the machine's v2 cgroup one that may have children with controllers: such a cgroup can hold no process
// itself, so the init, and with it every component, moves into a child.
func delegate(top string) error {
	system := filepath.Join(top, "system")
	if err := os.MkdirAll(system, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(system, "cgroup.procs"), []byte("0"), 0); err != nil {
		return fmt.Errorf("move init into its own cgroup: %w", err)
	}
	controllers, err := os.ReadFile(filepath.Join(top, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, c := range strings.Fields(string(controllers)) {
		// One by one: a controller that cannot be had here (cpuset of a threaded parent, say) costs only itself.
		_ = os.WriteFile(filepath.Join(top, "cgroup.subtree_control"), []byte("+"+c), 0)
	}
	return nil
}
