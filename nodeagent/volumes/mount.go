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

// unmountBelow takes away every mount at dir and below it, the innermost first.
func unmountBelow(dir string) error {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return fmt.Errorf("read mounts: %w", err)
	}
	slices.SortStableFunc(mounts, func(a, b *mountinfo.Info) int { return strings.Compare(b.Mountpoint, a.Mountpoint) })
	var errs []error
	for _, m := range mounts {
		// A container that is just being torn down may still hold a reference; what matters is that no name leads there any more.
		if err := unix.Unmount(m.Mountpoint, unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			if err := unix.Unmount(m.Mountpoint, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
				errs = append(errs, fmt.Errorf("unmount %s: %w", m.Mountpoint, err))
			}
		}
	}
	return errors.Join(errs...)
}
