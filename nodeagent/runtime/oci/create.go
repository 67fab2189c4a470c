package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/nodeagent/images"
	"github.com/skiff-project/skiff/nodeagent/runtime"
	"github.com/skiff-project/skiff/nodeagent/sandbox"
)

// CreateContainer implements runtime.Runtime: root file system, user, OCI bundle and record.
func (r *Runtime) CreateContainer(ctx context.Context, config runtime.ContainerConfig) (id string, err error) {
	s, err := r.sandboxes.Get(config.SandboxID)
	if err != nil {
		return "", err
	}
	if !s.Ready {
		return "", fmt.Errorf("create container %s: sandbox %s is not ready", config.Name, s.ID)
	}
	command, err := r.handler(s.Config.RuntimeHandler)
	if err != nil {
		return "", err
	}
	c := &container{
		ID: sandbox.NewID(), Config: config, Pod: s.Config.Pod, Command: command,
		State: runtime.Created, CreatedAt: time.Now(), done: make(chan struct{}),
	}
	c.Group = filepath.Join(s.Config.CgroupParent, c.ID)
	if config.LogPath != "" {
		c.LogPath = filepath.Join(s.Config.LogDirectory, config.LogPath)
	}
	if err := os.MkdirAll(r.dir(c.ID), 0o711); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("create container %s: %w", config.Name, errors.Join(err, r.erase(context.WithoutCancel(ctx), c)))
		}
	}()
	if err := r.prepare(ctx, c, s); err != nil {
		return "", err
	}
	c.mu.Lock()
	err = r.save(c)
	c.mu.Unlock()
	if err != nil {
		return "", err
	}
	r.mu.Lock()
	r.all[c.ID] = c
	r.mu.Unlock()
	r.publish(runtime.ContainerCreated, c)
	return c.ID, nil
}

func (r *Runtime) prepare(ctx context.Context, c *container, s sandbox.Sandbox) error {
	image, err := r.images.Status(ctx, c.Config.Image)
	if err != nil {
		return err
	}
	c.ImageID = image.StatusID()
	root, err := r.images.MountRootfs(image.ID, r.dir(c.ID))
	if err != nil {
		return err
	}
	if c.StopSignal, err = stopSignal(c.Config.StopSignal, root.Config.StopSignal); err != nil {
		return err
	}
	if c.User, err = resolveUser(root, c.Config.Security); err != nil {
		return err
	}
	if err := r.mountImages(c); err != nil {
		return err
	}
	spec, err := r.spec(c, s, root)
	if err != nil {
		return err
	}
	if c.LogPath != "" {
		if err := os.MkdirAll(filepath.Dir(c.LogPath), 0o755); err != nil {
			return err
		}
	}
	return r.writeSpec(c, spec)
}

func (r *Runtime) writeSpec(c *container, spec *specs.Spec) error {
	data, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	return os.WriteFile(r.file(c.ID, "config.json"), data, 0o600)
}

// mountImages mounts the image volumes of a container and puts the paths into its mounts.
func (r *Runtime) mountImages(c *container) error {
	mounts := append([]runtime.Mount(nil), c.Config.Mounts...)
	for i := range mounts {
		m := &mounts[i]
		if m.Image == "" {
			continue
		}
		target := filepath.Join(r.dir(c.ID), "images", strconv.Itoa(i))
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		if err := r.images.MountImage(m.Image, target); err != nil {
			return err
		}
		c.ImageMounts = append(c.ImageMounts, target)
		path, err := inside(target, m.ImageSubPath)
		if err != nil {
			return fmt.Errorf("mount image volume: %w", err)
		}
		m.HostPath, m.ReadOnly = path, true
	}
	c.Config.Mounts = mounts
	return nil
}

// inside resolves a path as if root were / and returns where that is.
func inside(root, path string) (string, error) {
	if path == "" {
		return root, nil
	}
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return "", &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	return os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
}

// stopSignal reads SIGTERM, TERM or 15; the container's own wish goes before the image's.
func stopSignal(wish, image string) (int, error) {
	name := wish
	if name == "" {
		name = image
	}
	if name == "" {
		return int(unix.SIGTERM), nil
	}
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n <= 64 {
		return n, nil
	}
	full := strings.ToUpper(name)
	if !strings.HasPrefix(full, "SIG") {
		full = "SIG" + full
	}
	if n := unix.SignalNum(full); n != 0 {
		return int(n), nil
	}
	if n, ok := realtimeSignal(full); ok {
		return n, nil
	}
	return 0, fmt.Errorf("unknown stop signal %q", name)
}

// realtimeSignal reads SIGRTMIN+n and SIGRTMAX-n.
func realtimeSignal(name string) (int, bool) {
	base, offset, sign := 34, strings.TrimPrefix(name, "SIGRTMIN"), "+"
	if strings.HasPrefix(name, "SIGRTMAX") {
		base, offset, sign = 64, strings.TrimPrefix(name, "SIGRTMAX"), "-"
	} else if !strings.HasPrefix(name, "SIGRTMIN") {
		return 0, false
	}
	if offset == "" {
		return base, true
	}
	n, err := strconv.Atoi(strings.TrimPrefix(offset, sign))
	if err != nil || !strings.HasPrefix(offset, sign) || n < 0 || n > 30 {
		return 0, false
	}
	if sign == "-" {
		n = -n
	}
	return base + n, true
}

// RemoveContainer implements runtime.Runtime.
func (r *Runtime) RemoveContainer(ctx context.Context, id string) error {
	c, err := r.get(id)
	if err != nil {
		return nil
	}
	c.lifecycle.Lock()
	defer c.lifecycle.Unlock()
	if err := r.StopContainer(ctx, id, 0); err != nil {
		return err
	}
	c.mu.Lock()
	c.removed = true
	c.mu.Unlock()
	if err := r.erase(ctx, c); err != nil {
		return fmt.Errorf("remove container %s: %w", c.Config.Name, err)
	}
	r.mu.Lock()
	_, there := r.all[id]
	delete(r.all, id)
	r.mu.Unlock()
	if there {
		r.publish(runtime.ContainerRemoved, c)
	}
	return nil
}

// erase takes away everything that a container has on the node except its log. The record goes last, so that an erasure
// that was interrupted is gone on with.
func (r *Runtime) erase(ctx context.Context, c *container) error {
	if c.Group != "" {
		if err := r.cgroups.Remove(ctx, c.Group); err != nil {
			return err
		}
	}
	if err := r.forgetState(ctx, c); err != nil {
		return err
	}
	for _, target := range c.ImageMounts {
		if err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return &os.PathError{Op: "unmount", Path: target, Err: err}
		}
	}
	if err := images.UnmountRootfs(r.dir(c.ID)); err != nil {
		return err
	}
	if err := os.Remove(r.exitFile(c.ID)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.RemoveAll(r.dir(c.ID))
}

// forgetState removes what the OCI runtime keeps about a container.
func (r *Runtime) forgetState(ctx context.Context, c *container) error {
	state := filepath.Join(r.runRoot(), c.ID)
	if _, err := os.Stat(state); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if c.Command == "" || known(c.Command) {
		return os.RemoveAll(state)
	}
	return r.invoke(ctx, c.Command, "delete", "--force", c.ID)
}
