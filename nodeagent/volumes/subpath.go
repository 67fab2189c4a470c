package volumes

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// beneath opens what a path below root means, never leaving root: neither by "..", nor by a link, nor by one that somebody
// puts there at this moment. It answers a handle that may only be mounted or looked at.
func beneath(root int, path string, flags uint64) (int, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC | flags, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS}
	for {
		fd, err := unix.Openat2(root, path, &how)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue // something was renamed meanwhile
		}
		return fd, err
	}
}

// makeDirs makes the folders of a path below root that are missing, with the permissions of root.
func makeDirs(root int, path string) error {
	var info unix.Stat_t
	if err := unix.Fstat(root, &info); err != nil {
		return err
	}
	mode := info.Mode & 0o7777
	at, err := unix.Openat(root, ".", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { unix.Close(at) }()
	done := "."
	for _, part := range strings.Split(filepath.Clean(path), "/") {
		err := unix.Mkdirat(at, part, mode)
		made := err == nil
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("make %s: %w", part, err)
		}
		done = filepath.Join(done, part)
		next, err := beneath(root, done, unix.O_DIRECTORY)
		if err != nil {
			return fmt.Errorf("open %s: %w", done, err)
		}
		unix.Close(at)
		at = next
		if made {
			// Past the umask, and with the volume's group.
			self := "/proc/self/fd/" + strconv.Itoa(at)
			if err := os.Chmod(self, os.FileMode(mode&0o777)|setgid(mode)); err != nil {
				return err
			}
			if err := os.Chown(self, -1, int(info.Gid)); err != nil {
				return err
			}
		}
	}
	return nil
}

func setgid(mode uint32) os.FileMode {
	if mode&unix.S_ISGID != 0 {
		return os.ModeSetgid
	}
	return 0
}

// bindSubPath pins what a subPath means now by a bind mount of its own, so that nothing the pod does later can change what its
// container was given. It answers the path of that mount.
func (p *Pod) bindSubPath(volume, root, sub, container string, index int) (string, error) {
	rootFD, err := unix.Open(root, unix.O_PATH|unix.O_CLOEXEC|unix.O_DIRECTORY, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(rootFD)
	sub = filepath.Clean(sub)
	fd, err := beneath(rootFD, sub, 0)
	if errors.Is(err, unix.ENOENT) {
		if err := makeDirs(rootFD, sub); err != nil {
			return "", err
		}
		fd, err = beneath(rootFD, sub, 0)
	}
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var info unix.Stat_t
	if err := unix.Fstat(fd, &info); err != nil {
		return "", err
	}
	target := filepath.Join(p.dir, "volume-subpaths", volume, container, strconv.Itoa(index))
	if err := p.clearSubPath(target); err != nil {
		return "", err
	}
	if err := makeMountPoint(target, info.Mode&unix.S_IFMT == unix.S_IFDIR); err != nil {
		return "", err
	}
	if err := unix.Mount("/proc/self/fd/"+strconv.Itoa(fd), target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return "", fmt.Errorf("bind: %w", err)
	}
	return target, nil
}

// clearSubPath takes away what an earlier attempt of the same container was given.
func (p *Pod) clearSubPath(target string) error {
	if _, err := os.Lstat(target); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := unmountAll(target); err != nil {
		return err
	}
	return os.Remove(target)
}

func makeMountPoint(path string, dir bool) error {
	if dir {
		return os.MkdirAll(path, 0o750)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o640)
	if err != nil {
		return err
	}
	return f.Close()
}
