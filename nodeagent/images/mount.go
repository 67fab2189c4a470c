package images

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Rootfs is a mounted image.
type Rootfs struct {
	Path   string
	ID     string
	Config v1.Config
}

// MountRootfs mounts an image with a writable layer of its own below dir: dir/upper, dir/work and the result at
// dir/rootfs. The caller unmounts it with UnmountRootfs.
func (s *Store) MountRootfs(ref, dir string) (Rootfs, error) {
	r, release, err := s.use(ref)
	if err != nil {
		return Rootfs{}, err
	}
	defer release()
	lower, err := s.lower(r)
	if err != nil {
		return Rootfs{}, err
	}
	upper, work, target := filepath.Join(dir, "upper"), filepath.Join(dir, "work"), filepath.Join(dir, "rootfs")
	for _, d := range []string{upper, work, target} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return Rootfs{}, err
		}
	}
	// What is seen as / has the owner and mode of the topmost layer's root, and that is now the writable one.
	var st unix.Stat_t
	if err := unix.Stat(lower[0], &st); err != nil {
		return Rootfs{}, err
	}
	if err := errors.Join(unix.Chown(upper, int(st.Uid), int(st.Gid)), unix.Chmod(upper, st.Mode&0o7777)); err != nil {
		return Rootfs{}, err
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", strings.Join(lower, ":"), upper, work)
	// volatile: the writable layer does not outlive the boot, so flushing it to disk at every fsync buys nothing.
	err = mountOverlay(target, options+",volatile", 0)
	if errors.Is(err, unix.EINVAL) {
		err = mountOverlay(target, options, 0)
	}
	if err != nil {
		return Rootfs{}, err
	}
	return Rootfs{Path: target, ID: r.ID, Config: r.Config}, nil
}

// MountImage mounts an image read-only at target, for image volumes. The caller unmounts it.
func (s *Store) MountImage(ref, target string) error {
	r, release, err := s.use(ref)
	if err != nil {
		return err
	}
	defer release()
	lower, err := s.lower(r)
	if err != nil {
		return err
	}
	if len(lower) == 1 {
		lower = append(lower, s.layers.empty())
	}
	return mountOverlay(target, "lowerdir="+strings.Join(lower, ":"), unix.MS_RDONLY|unix.MS_NODEV|unix.MS_NOSUID)
}

func (s *Store) lower(r *record) ([]string, error) {
	lower, err := s.layers.folders(r.Chain)
	if len(lower) == 0 {
		lower = []string{s.layers.empty()}
	}
	return lower, err
}

func mountOverlay(target, options string, flags uintptr) error {
	if len(options) >= os.Getpagesize() {
		return fmt.Errorf("mount image at %s: too many layers for one mount", target)
	}
	if err := unix.Mount("overlay", target, "overlay", flags, options); err != nil {
		return &os.PathError{Op: "mount overlay", Path: target, Err: err}
	}
	return nil
}

// UnmountRootfs takes back MountRootfs, with the writable layer. What is not mounted is no error.
func UnmountRootfs(dir string) error {
	err := unix.Unmount(filepath.Join(dir, "rootfs"), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount root file system %s: %w", dir, err)
	}
	return errors.Join(os.RemoveAll(filepath.Join(dir, "upper")), os.RemoveAll(filepath.Join(dir, "work")), os.RemoveAll(filepath.Join(dir, "rootfs")))
}
