package volumes

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// mountOnce mounts a file system unless something is mounted there already.
func mountOnce(path, kind, options string) error {
	if mounted, err := isMountPoint(path); err != nil || mounted {
		return err
	}
	if err := unix.Mount(kind, path, kind, 0, options); err != nil {
		return fmt.Errorf("mount %s (%s): %w", kind, options, err)
	}
	return nil
}

func isMountPoint(path string) (bool, error) {
	mounted, err := mountinfo.Mounted(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return mounted, err
}

// unmountAll takes away every mount at dir and below it, the innermost first, and makes sure that none is left: only then may what
// lies there be removed, since removing reaches through mounts into somebody's data.
func unmountAll(dir string) error {
	for range 3 {
		mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
		if err != nil {
			return fmt.Errorf("read mounts: %w", err)
		}
		if len(mounts) == 0 {
			return nil
		}
		slices.SortStableFunc(mounts, func(a, b *mountinfo.Info) int { return strings.Compare(b.Mountpoint, a.Mountpoint) })
		for _, m := range mounts {
			if err := unmount(m.Mountpoint); err != nil {
				return fmt.Errorf("unmount %s: %w", m.Mountpoint, err)
			}
		}
	}
	return fmt.Errorf("something is still mounted below %s", dir)
}

// unmount is lazy where it has to be: a container that is just being torn down may still hold a reference; what matters is that
// no name leads there any more.
func unmount(path string) error {
	err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EBUSY) {
		err = unix.Unmount(path, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil // it is gone already
	}
	return err
}
