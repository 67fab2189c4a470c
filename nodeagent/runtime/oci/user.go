package oci

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/nodeagent/images"
	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// resolveUser finds who the first process runs as. The image's passwd and group files are read as a stranger's: inside
// the image's root, whatever links they are, and no more of them than a bound.
func resolveUser(root images.Rootfs, sc runtime.SecurityContext) (runtime.User, error) {
	name, groupName, hasGroup := strings.Cut(root.Config.User, ":")
	if sc.RunAsUser != nil {
		name, groupName, hasGroup = strconv.FormatInt(*sc.RunAsUser, 10), "", false
	}
	entry, err := passwdEntry(root.Path, name)
	if err != nil {
		return runtime.User{}, err
	}
	u := runtime.User{UID: entry.uid, GID: entry.gid}
	if hasGroup && groupName != "" {
		if u.GID, err = groupID(root.Path, groupName); err != nil {
			return u, err
		}
	}
	if sc.RunAsGroup != nil {
		u.GID = *sc.RunAsGroup
	}
	groups := []int64{u.GID}
	if !sc.SupplementalGroupsStrict && entry.name != "" {
		groups = append(groups, memberships(root.Path, entry.name)...)
	}
	for _, g := range append(groups, sc.SupplementalGroups...) {
		if !slices.Contains(u.SupplementalGroups, g) {
			u.SupplementalGroups = append(u.SupplementalGroups, g)
		}
	}
	return u, nil
}

type passwd struct {
	name     string // empty when not in the file
	uid, gid int64
}

func passwdEntry(root, user string) (passwd, error) {
	if user == "" {
		user = "0"
	}
	id, numErr := strconv.ParseInt(user, 10, 64)
	found := passwd{uid: id}
	ok := numErr == nil
	err := eachLine(root, "etc/passwd", func(f []string) bool {
		if len(f) < 4 {
			return true
		}
		uid, err1 := strconv.ParseInt(f[2], 10, 64)
		gid, err2 := strconv.ParseInt(f[3], 10, 64)
		if err1 != nil || err2 != nil || (f[0] != user && !(numErr == nil && uid == id)) {
			return true
		}
		found, ok = passwd{f[0], uid, gid}, true
		return false
	})
	if err != nil || !ok {
		return passwd{}, fmt.Errorf("unable to find user %s: no matching entries in passwd file", user)
	}
	return found, nil
}

func groupID(root, group string) (int64, error) {
	if id, err := strconv.ParseInt(group, 10, 64); err == nil {
		return id, nil
	}
	id := int64(-1)
	eachLine(root, "etc/group", func(f []string) bool {
		if len(f) >= 3 && f[0] == group {
			if n, err := strconv.ParseInt(f[2], 10, 64); err == nil {
				id = n
				return false
			}
		}
		return true
	})
	if id < 0 {
		return 0, fmt.Errorf("unable to find group %s: no matching entries in group file", group)
	}
	return id, nil
}

func memberships(root, user string) []int64 {
	var list []int64
	eachLine(root, "etc/group", func(f []string) bool {
		if len(f) >= 4 && slices.Contains(strings.Split(f[3], ","), user) {
			if id, err := strconv.ParseInt(f[2], 10, 64); err == nil {
				list = append(list, id)
			}
		}
		return true
	})
	return list
}

// eachLine calls f with the fields of each line of a file in the image until f returns false. A file that is not there
// has no lines.
func eachLine(root, path string, f func([]string) bool) error {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, path, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return nil
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > 10<<20 {
		return nil
	}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line != "" && line[0] != '#' && !f(strings.Split(line, ":")) {
			break
		}
	}
	return nil
}
