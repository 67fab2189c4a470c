package images

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	whiteoutPrefix = ".wh."
	opaqueMarker   = ".wh..wh..opq"
	overlayOpaque  = "trusted.overlay.opaque"
	xattrRecord    = "SCHILY.xattr."
)

// unpackTar writes a layer into an empty folder, in the form overlayfs wants: whiteouts become 0/0 character devices,
// opaque markers an attribute. Parents are the folders of the layers below, topmost first.
//
// Names come from strangers. Every one is resolved by the kernel with the folder as its root (RESOLVE_IN_ROOT), and all
// work is done by names without slashes relative to the folder found, so no symbolic link leads outside.
func unpackTar(archive io.Reader, root string, parents []string) (size, inodes int64, err error) {
	u := &unpacker{parents: parents, cached: -1}
	if u.root, err = unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return 0, 0, fmt.Errorf("open %s: %w", root, err)
	}
	defer unix.Close(u.root)
	defer u.dropCached()
	if err := u.inherit(root, ""); err != nil {
		return 0, 0, err
	}
	in := tar.NewReader(archive)
	for {
		h, err := in.Next()
		if err == io.EOF {
			return u.size, u.inodes, u.finish()
		}
		if err != nil {
			return 0, 0, err
		}
		if err := u.entry(h, in); err != nil {
			return 0, 0, fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

type unpacker struct {
	root    int
	parents []string
	size    int64
	inodes  int64

	// The folder of the last entry: archives list a folder's files one after the other.
	cached     int
	cachedName string

	// Times of folders are set last, for putting files into them changes them.
	times []folderTime
}

type folderTime struct {
	name  string
	mtime time.Time
}

func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	if name == "" {
		if h.Typeflag != tar.TypeDir {
			return nil
		}
		u.times = append(u.times, folderTime{"", h.ModTime})
		return u.attributes(u.root, ".", h)
	}
	switch h.Typeflag {
	case tar.TypeXGlobalHeader, tar.TypeGNUSparse + 1: // headers that are no files
		return nil
	}
	dirName, base := path.Split(name)
	dir, err := u.folder(strings.TrimSuffix(dirName, "/"))
	if err != nil {
		return err
	}
	if strings.HasPrefix(base, whiteoutPrefix) {
		return u.whiteout(dir, base)
	}
	u.inodes++
	if h.Typeflag == tar.TypeDir {
		return u.dir(dir, base, name, h)
	}
	if err := u.remove(dir, base, name); err != nil {
		return err
	}
	mode := uint32(h.Mode) & 0o7777
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		return u.file(dir, base, h, content)
	case tar.TypeLink:
		return u.link(dir, base, h)
	case tar.TypeSymlink:
		if err := unix.Symlinkat(h.Linkname, dir, base); err != nil {
			return err
		}
	case tar.TypeFifo:
		if err := unix.Mknodat(dir, base, unix.S_IFIFO|mode, 0); err != nil {
			return err
		}
	case tar.TypeChar, tar.TypeBlock:
		kind := uint32(unix.S_IFCHR)
		if h.Typeflag == tar.TypeBlock {
			kind = unix.S_IFBLK
		}
		err := unix.Mknodat(dir, base, kind|mode, int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))))
		if errors.Is(err, unix.EPERM) {
			return nil // a user namespace makes no devices; the runtime brings the ones that matter
		}
		if err != nil {
			return err
		}
	default:
		return fmt.Errorf("unknown type %q", h.Typeflag)
	}
	return u.attributes(dir, base, h)
}

// folder opens a folder of the layer and makes it where the archive left it out.
func (u *unpacker) folder(name string) (int, error) {
	if u.cached >= 0 && u.cachedName == name {
		return u.cached, nil
	}
	fd, err := u.open(name)
	if errors.Is(err, unix.ENOENT) {
		if err := u.makeFolder(name); err != nil {
			return -1, err
		}
		fd, err = u.open(name)
	}
	if err != nil {
		return -1, err
	}
	u.dropCached()
	u.cached, u.cachedName = fd, name
	return fd, nil
}

func (u *unpacker) dropCached() {
	if u.cached >= 0 {
		unix.Close(u.cached)
		u.cached = -1
	}
}

func (u *unpacker) open(name string) (int, error) {
	if name == "" {
		name = "."
	}
	return openIn(u.root, name, unix.O_PATH|unix.O_DIRECTORY)
}

// openIn resolves name as if root were /.
func openIn(root int, name string, flags uint64) (int, error) {
	return unix.Openat2(root, name, &unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
}

func (u *unpacker) makeFolder(name string) error {
	dirName, base := path.Split(name)
	dirName = strings.TrimSuffix(dirName, "/")
	dir, err := u.open(dirName)
	if errors.Is(err, unix.ENOENT) && dirName != "" {
		if err = u.makeFolder(dirName); err == nil {
			dir, err = u.open(dirName)
		}
	}
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := unix.Mkdirat(dir, base, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	u.inodes++
	return u.inherit(procPath(dir, base), name)
}

// inherit gives a folder that the archive does not describe the owner and mode it has in the layers below.
func (u *unpacker) inherit(path, name string) error {
	for _, parent := range u.parents {
		var st unix.Stat_t
		if err := statIn(parent, name, &st); err != nil {
			continue
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return nil
		}
		if err := unix.Lchown(path, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
		return unix.Chmod(path, st.Mode&0o7777)
	}
	return nil
}

func statIn(root, name string, st *unix.Stat_t) error {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if name == "" {
		name = "."
	}
	fd, err := openIn(dir, name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fstat(fd, st)
}

func (u *unpacker) whiteout(dir int, base string) error {
	if base == opaqueMarker {
		return setxattr(dir, ".", overlayOpaque, []byte("y"))
	}
	if strings.HasPrefix(base, whiteoutPrefix+whiteoutPrefix) {
		return nil // aufs' own files
	}
	base = strings.TrimPrefix(base, whiteoutPrefix)
	if base == "" || base == "." || base == ".." {
		return fmt.Errorf("whiteout of nothing")
	}
	// A file of the same layer wins over its whiteout, in either order.
	err := unix.Mknodat(dir, base, unix.S_IFCHR, 0)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	u.inodes++
	return err
}

func (u *unpacker) dir(dir int, base, name string, h *tar.Header) error {
	err := unix.Mkdirat(dir, base, 0o755)
	if errors.Is(err, unix.EEXIST) {
		var st unix.Stat_t
		if err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		err = nil
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if err = unix.Unlinkat(dir, base, 0); err == nil {
				err = unix.Mkdirat(dir, base, 0o755)
			}
		}
	}
	if err != nil {
		return err
	}
	u.times = append(u.times, folderTime{name, h.ModTime})
	return u.attributes(dir, base, h)
}

// remove makes room for an entry that comes twice.
func (u *unpacker) remove(dir int, base, name string) error {
	err := unix.Unlinkat(dir, base, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) {
		return err
	}
	u.dropCachedBelow(name)
	return os.RemoveAll(procPath(dir, base))
}

func (u *unpacker) dropCachedBelow(name string) {
	if strings.HasPrefix(u.cachedName+"/", name+"/") {
		u.dropCached()
	}
}

func (u *unpacker) file(dir int, base string, h *tar.Header, content io.Reader) error {
	fd, err := unix.Openat(dir, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), base)
	defer f.Close()
	n, err := io.Copy(f, content)
	if err != nil {
		return err
	}
	u.size += n
	return u.attributes(dir, base, h)
}

// link makes a hard link. Its target may be in a layer below, where builders put links across layers: then the file is
// copied up, as overlayfs itself would do.
func (u *unpacker) link(dir int, base string, h *tar.Header) error {
	target := strings.TrimPrefix(path.Clean("/"+h.Linkname), "/")
	targetDir, targetBase := path.Split(target)
	from, err := u.open(strings.TrimSuffix(targetDir, "/"))
	if err == nil {
		defer unix.Close(from)
		err = unix.Linkat(from, targetBase, dir, base, 0)
	}
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	for _, parent := range u.parents {
		done, err := u.copyUp(parent, target, dir, base)
		if done || err != nil {
			return err
		}
	}
	return fmt.Errorf("link to %s, which is nowhere: %w", h.Linkname, unix.ENOENT)
}

func (u *unpacker) copyUp(parent, name string, dir int, base string) (bool, error) {
	root, err := unix.Open(parent, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(root)
	// O_NONBLOCK: opening a fifo must not wait for a writer.
	fd, err := openIn(root, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	in := os.NewFile(uintptr(fd), name)
	defer in.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return false, fmt.Errorf("link to %s, which is no file", name)
	}
	h := &tar.Header{Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid), ModTime: time.Unix(st.Mtim.Unix())}
	return true, u.file(dir, base, h, in)
}

// attributes sets owner, mode, extended attributes and time of a fresh entry. The order matters: changing the owner
// clears setuid and file capabilities.
func (u *unpacker) attributes(dir int, base string, h *tar.Header) error {
	if err := unix.Fchownat(dir, base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set owner: %w", err)
	}
	if h.Typeflag != tar.TypeSymlink {
		if err := unix.Fchmodat(dir, base, uint32(h.Mode)&0o7777, 0); err != nil {
			return fmt.Errorf("set mode: %w", err)
		}
	}
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, xattrRecord)
		if !ok || strings.HasPrefix(name, "trusted.overlay.") {
			continue // an image must not reach into overlayfs' own bookkeeping
		}
		err := setxattr(dir, base, name, []byte(value))
		if err != nil && name == "security.capability" {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	mtime := h.ModTime
	if mtime.Before(time.Unix(0, 0)) {
		mtime = time.Unix(0, 0)
	}
	ts := unix.NsecToTimespec(mtime.UnixNano())
	return unix.UtimesNanoAt(dir, base, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

func (u *unpacker) finish() error {
	for i := len(u.times) - 1; i >= 0; i-- {
		t := u.times[i]
		fd, err := u.open(t.name)
		if err != nil {
			continue // replaced by a later entry
		}
		ts := unix.NsecToTimespec(t.mtime.UnixNano())
		err = unix.UtimesNanoAt(fd, ".", []unix.Timespec{ts, ts}, 0)
		unix.Close(fd)
		if err != nil {
			return err
		}
	}
	return nil
}

// procPath names a file relative to an open folder for system calls that take no folder.
func procPath(dir int, base string) string {
	return filepath.Join(fmt.Sprintf("/proc/self/fd/%d", dir), base)
}

func setxattr(dir int, base, name string, value []byte) error {
	// A trailing "." would be cleaned away by Join and leave the link in /proc itself.
	return unix.Lsetxattr(fmt.Sprintf("/proc/self/fd/%d/%s", dir, base), name, value, 0)
}
