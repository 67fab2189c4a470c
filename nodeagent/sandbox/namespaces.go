package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// namespaces of a sandbox that a thread can be moved into. Nil ones are shared with the node.
type namespaces struct {
	net, uts, ipc *os.File
}

func (n namespaces) close() {
	for _, f := range []*os.File{n.net, n.uts, n.ipc} {
		if f != nil {
			f.Close()
		}
	}
}

func openNamespaces(s *Sandbox) (n namespaces, err error) {
	open := func(kind string) *os.File {
		f, openErr := os.Open(s.Namespace(kind))
		err = errors.Join(err, openErr)
		return f
	}
	if !s.Config.HostNetwork {
		n.net, n.uts = open("net"), open("uts")
	}
	if !s.Config.HostIPC {
		n.ipc = open("ipc")
	}
	if err != nil {
		n.close()
	}
	return n, err
}

// hostNamespaces are those of the agent, to come back to.
type hostNamespaces struct{ namespaces }

func openHostNamespaces() (h hostNamespaces, err error) {
	for kind, f := range map[string]**os.File{"net": &h.net, "uts": &h.uts, "ipc": &h.ipc} {
		if *f, err = os.Open("/proc/thread-self/ns/" + kind); err != nil {
			return h, err
		}
	}
	return h, nil
}

// inside runs f on a thread that is in the sandbox's namespaces. A thread that cannot be brought back is given up.
func (h hostNamespaces) inside(n namespaces, f func() error) error {
	done := make(chan error, 1)
	go func() {
		goruntime.LockOSThread()
		err := enter(n)
		if err == nil {
			err = f()
		}
		if back := enter(h.namespaces); back == nil {
			goruntime.UnlockOSThread() // else the thread ends with this goroutine
		}
		done <- err
	}()
	return <-done
}

func enter(n namespaces) error {
	for _, f := range []*os.File{n.net, n.uts, n.ipc} {
		if f == nil {
			continue
		}
		if err := unix.Setns(int(f.Fd()), 0); err != nil {
			return fmt.Errorf("enter %s: %w", f.Name(), err)
		}
	}
	return nil
}

// setSysctls writes the pod's kernel parameters. /proc/sys shows those of the writing thread's namespaces. Only
// parameters that belong to a namespace of the pod may be set, else a pod would change the node.
func setSysctls(config runtime.SandboxConfig) error {
	for name, value := range config.Sysctls {
		key := strings.ReplaceAll(name, ".", "/")
		if strings.Contains(name, "/") { // net/ipv4/conf/eth0.1/forwarding: slashes separate, dots belong to names
			key = name
		}
		if err := ofThePod(key, config); err != nil {
			return fmt.Errorf("sysctl %q: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join("/proc/sys", key), []byte(value), 0); err != nil {
			return fmt.Errorf("set sysctl %q to %q: %w", name, value, errors.Unwrap(err))
		}
	}
	return nil
}

func ofThePod(key string, config runtime.SandboxConfig) error {
	if filepath.Clean(key) != key || strings.HasPrefix(key, "/") || strings.HasPrefix(key, "..") {
		return errors.New("not a name")
	}
	ipc := strings.HasPrefix(key, "kernel/shm") || strings.HasPrefix(key, "kernel/msg") || key == "kernel/sem" || strings.HasPrefix(key, "fs/mqueue/")
	switch {
	case ipc && config.HostIPC:
		return errors.New("not allowed with the node's IPC namespace")
	case ipc:
		return nil
	case strings.HasPrefix(key, "net/") && config.HostNetwork:
		return errors.New("not allowed with the node's network namespace")
	case strings.HasPrefix(key, "net/"):
		return nil
	}
	return errors.New("not in a namespace of the pod")
}

// mountShm makes the memory that the pod's containers share as /dev/shm.
func mountShm(dir string) error {
	if err := os.MkdirAll(dir, 0o1777); err != nil {
		return err
	}
	err := unix.Mount("shm", dir, "tmpfs", unix.MS_NOEXEC|unix.MS_NOSUID|unix.MS_NODEV, "mode=1777,size=65536k")
	if err != nil {
		return &os.PathError{Op: "mount shared memory", Path: dir, Err: err}
	}
	return nil
}

func unmountShm(dir string) error {
	err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "unmount", Path: dir, Err: err}
	}
	return nil
}
