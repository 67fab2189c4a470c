package pid1

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/pkg/machine/control"
)

// buildRoot puts the machine's root file system together on spec.Root and moves the process there.
//
// The host's file systems lie at the bottom and are only read: each disk of it is the lower layer of an overlay whose
// upper layer is the machine's own. So a hostPath volume, a log or a package's state is the machine's, and is gone with
// it. The folders of spec.Binds are the exception, among them the one below which pods' files live, since an overlay
// cannot hold the upper layer of another.
func buildRoot(spec *control.Spec) error {
	// Slave first, so that nothing mounted here shows on the host. Shared again at the end, as on any host: volumes with
	// mount propagation and CSI drivers need it.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	mounts, err := mountTable()
	if err != nil {
		return err
	}
	// Opened before anything is covered: a bind may come from below /tmp or /run.
	sources, err := openSources(spec.Binds)
	if err != nil {
		return err
	}
	defer func() {
		for _, s := range sources {
			unix.Close(s)
		}
	}()
	if err := layer("/", spec.Root, filepath.Join(spec.Overlay, "root")); err != nil {
		return fmt.Errorf("root file system: %w", err)
	}
	for i, m := range carried(mounts) {
		target := spec.Root + m.point
		if overlaid[m.fstype] {
			if layer(m.point, target, filepath.Join(spec.Overlay, fmt.Sprintf("mount%d", i))) == nil {
				continue
			}
		}
		// A folder that the host cannot show twice is one that the machine does not see; no component needs it.
		_ = unix.Mount(m.point, target, "", unix.MS_BIND, "")
	}
	if err := kernelFiles(spec.Root, mounts); err != nil {
		return err
	}
	for i, b := range spec.Binds {
		if err := bind(sources[i], b, spec.Root); err != nil {
			return err
		}
	}
	if err := pivot(spec.Root); err != nil {
		return err
	}
	for _, f := range spec.Files {
		if err := writeFile(f); err != nil {
			return err
		}
	}
	return os.MkdirAll(spec.Logs, 0o755)
}

// overlaid are the kinds of file system that can be the lower layer of an overlay and hold files worth protecting.
var overlaid = map[string]bool{"ext2": true, "ext3": true, "ext4": true, "xfs": true, "btrfs": true, "f2fs": true, "zfs": true, "tmpfs": true, "rootfs": true}

// layer shows the folder lower at target with an upper layer, below work, that takes all writing.
func layer(lower, target, work string) error {
	upper, scratch := filepath.Join(work, "upper"), filepath.Join(work, "work")
	for _, d := range []string{upper, scratch} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	// The new root of the tree looks as the old one: /tmp's sticky bit, say, or a root folder that others may not read.
	if st, err := os.Stat(lower); err == nil {
		if err := os.Chmod(upper, st.Mode()); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", escape(lower), escape(upper), escape(scratch))
	return unix.Mount("overlay", target, "overlay", 0, options)
}

// escape protects what overlay's option parser takes for separators.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `:`, `\:`, `,`, `\,`).Replace(path)
}

// carried picks the mounts of the host that a machine sees too, parents first.
func carried(mounts []mountPoint) []mountPoint {
	seen, picked := map[string]bool{}, []mountPoint(nil)
	for _, m := range mounts {
		switch top, _, _ := strings.Cut(m.point[1:], "/"); top {
		case "", "proc", "sys", "dev", "run", "tmp":
			continue // the root itself, and what the machine has its own of
		}
		switch m.fstype {
		case "overlay", "nsfs", "autofs", "proc", "sysfs", "cgroup", "cgroup2", "fuse.lxcfs":
			continue // containers and namespaces of somebody else
		}
		if strings.HasPrefix(m.point, "/var/run/") || seen[m.point] {
			continue
		}
		seen[m.point] = true
		picked = append(picked, m)
	}
	sort.SliceStable(picked, func(i, j int) bool { return len(picked[i].point) < len(picked[j].point) })
	return picked
}

// kernelFiles mounts what the kernel shows of itself, in the machine's namespaces, and the machine's scratch folders.
func kernelFiles(root string, mounts []mountPoint) error {
	const plain = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	for _, m := range []struct {
		kind, target string
		flags        uintptr
		options      string
	}{
		{"proc", "/proc", plain, ""},
		{"sysfs", "/sys", plain, ""},
		{"tmpfs", "/run", unix.MS_NOSUID | unix.MS_NODEV, "mode=755"},
	} {
		if err := os.MkdirAll(root+m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, root+m.target, m.kind, m.flags, m.options); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	if err := os.Mkdir(root+"/run/lock", 0o1777); err != nil {
		return err
	}
	if err := os.MkdirAll(root+"/dev", 0o755); err != nil {
		return err
	}
	if err := unix.Mount("/dev", root+"/dev", "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mount /dev: %w", err)
	}
	if err := os.MkdirAll(root+"/dev/shm", 0o1777); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", root+"/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
		return fmt.Errorf("mount /dev/shm: %w", err)
	}
	return mountCgroups(root, mounts)
}

// pivot makes root the process's root and lets go of the host's.
func pivot(root string) error {
	if err := os.Chdir(root); err != nil {
		return err
	}
	// The old root comes to lie over the new one and is detached from there: no folder for it is needed.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("let go of the host's root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share mounts within the machine: %w", err)
	}
	return nil
}

// writeFile replaces what stands at f.Path, which on many hosts is a link into /run.
func writeFile(f control.File) error {
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
		return err
	}
	if err := os.Remove(f.Path); err != nil && !os.IsNotExist(err) {
		return err
	}
	mode := os.FileMode(f.Mode)
	if mode == 0 {
		mode = 0o644
	}
	return os.WriteFile(f.Path, []byte(f.Content), mode)
}
