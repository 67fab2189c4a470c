package machine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"

	"golang.org/x/sys/unix"
)

// Host says where on this host clusters live. Its zero value is not useful; see DefaultHost.
type Host struct {
	// RunDir holds what is gone after a reboot: sockets and state. Paths of sockets are limited to some 100 bytes, so it
	// should be short.
	RunDir string
	// DataRoot holds a folder for each cluster.
	DataRoot string
	// Init is the program machine-init.
	Init string
}

// DefaultHost is where clusters live unless told otherwise.
func DefaultHost() Host {
	return Host{RunDir: "/run/skiff", DataRoot: "/var/lib/skiff/clusters", Init: siblingInit()}
}

func siblingInit() string {
	self, err := os.Executable()
	if err != nil {
		return "machine-init"
	}
	return filepath.Join(filepath.Dir(self), "machine-init")
}

// What a caller of Open and Create may ask about an error.
var (
	ErrNotFound = errors.New("no such cluster")
	ErrExists   = errors.New("cluster exists already")
)

var validName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,28}[a-z0-9])?$`)

// CheckName refuses names that would not do as part of a path, a host name and a cgroup.
func CheckName(name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("%q is no name for a cluster: at most 30 lower case letters, digits and inner dashes", name)
	}
	return nil
}

// Names lists the clusters of this host, whole or not.
func (h Host) Names() ([]string, error) {
	entries, err := os.ReadDir(h.RunDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	sort.Strings(names)
	return names, err
}

// lock holds back every other skiff that is about to create or destroy a cluster, until the file is closed. The folder
// itself is what is locked, since a lock file would have to stay behind.
func (h Host) lock() (*os.File, error) {
	for {
		if err := os.MkdirAll(h.RunDir, 0o755); err != nil {
			return nil, err
		}
		f, err := lockFolder(h.RunDir, unix.LOCK_EX)
		if err != nil {
			return nil, err
		}
		// The last one to leave removes the folder; then what was locked is not what others will find.
		held, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, err
		}
		if there, err := os.Stat(h.RunDir); err == nil && os.SameFile(held, there) {
			return f, nil
		}
		f.Close()
	}
}

func lockFolder(path string, how int) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, &os.PathError{Op: "lock", Path: path, Err: err}
	}
	return f, nil
}
