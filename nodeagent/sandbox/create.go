package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/nodeagent/cgroups"
	"github.com/skiff-project/skiff/nodeagent/network"
	"github.com/skiff-project/skiff/nodeagent/process"
	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// Create makes a sandbox. On error nothing is left of it.
func (m *Manager) Create(ctx context.Context, config runtime.SandboxConfig) (Sandbox, error) {
	if config.UserNamespace != nil {
		return Sandbox{}, errors.New("pods with their own user namespace are not supported by this runtime")
	}
	if config.CgroupParent == "" {
		config.CgroupParent = cgroups.PodGroup("BestEffort", config.Pod.UID)
	}
	s := &Sandbox{ID: NewID(), Config: config, CreatedAt: time.Now()}
	if err := os.MkdirAll(filepath.Join(m.dir, s.ID), 0o711); err != nil {
		return Sandbox{}, err
	}
	m.mu.Lock()
	m.all[s.ID] = s
	// Written before anything is made: what a crash leaves half made is removed by the next agent.
	err := m.save(s)
	m.mu.Unlock()
	if err == nil {
		err = m.build(ctx, s)
	}
	if err != nil {
		if cleanErr := m.Remove(context.WithoutCancel(ctx), s.ID); cleanErr != nil {
			m.log.Warn("sandbox that failed to start cannot be removed", "sandbox", s.ID, "error", cleanErr)
		}
		return Sandbox{}, fmt.Errorf("sandbox of pod %s/%s: %w", config.Pod.Namespace, config.Pod.Name, err)
	}
	m.watch(s)
	return m.Get(s.ID)
}

// monitors is the memory that pause and the containers' monitors may take beside what the pod's limit leaves to containers.
const monitors = 16 << 20

// WithMonitors are the limits of a pod's control group. Pause and the monitors live in it too: a container at its own limit
// must not leave them without memory, or the kernel ends a monitor in its stead.
func WithMonitors(res runtime.Resources) runtime.Resources {
	if res.MemoryLimit > 0 {
		res.MemoryLimit += monitors
		if res.MemorySwapLimit > 0 {
			res.MemorySwapLimit += monitors
		}
	}
	return res
}

func (m *Manager) build(ctx context.Context, s *Sandbox) error {
	config := &s.Config
	if config.LogDirectory != "" {
		if err := os.MkdirAll(config.LogDirectory, 0o755); err != nil {
			return err
		}
	}
	if err := m.config.Cgroups.Create(config.CgroupParent, WithMonitors(config.PodResources)); err != nil {
		return err
	}
	proc, err := m.startPause(s)
	if err != nil {
		return fmt.Errorf("start pause: %w", err)
	}
	m.mu.Lock()
	s.Process = proc
	m.mu.Unlock()
	if err := m.furnish(ctx, s); err != nil {
		return err
	}
	if !config.HostIPC {
		if err := mountShm(m.Shm(s.ID)); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s.Ready = true
	return m.save(s)
}

// startPause starts the process in its new namespaces and in the pod's control group.
func (m *Manager) startPause(s *Sandbox) (process.ID, error) {
	group := filepath.Join(s.Config.CgroupParent, cgroups.Infra)
	cmd := exec.Command(m.config.PauseProgram)
	cmd.Args = []string{"pause"}
	cmd.Dir = "/"
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: cloneFlags(s.Config)}
	dir, err := m.config.Cgroups.OpenInfra(group)
	if err != nil {
		return process.ID{}, err
	}
	if dir != nil {
		defer dir.Close()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	}
	if err := cmd.Start(); err != nil {
		return process.ID{}, err
	}
	id, err := process.Of(cmd.Process.Pid)
	if err == nil && dir == nil {
		err = m.config.Cgroups.Add(group, id.PID)
	}
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return process.ID{}, err
	}
	protect(id.PID)
	// From here on it is watched by its pidfd; a Wait would keep a thread.
	return id, cmd.Process.Release()
}

func cloneFlags(config runtime.SandboxConfig) uintptr {
	var flags uintptr
	if !config.HostNetwork {
		flags |= unix.CLONE_NEWNET | unix.CLONE_NEWUTS
	}
	if !config.HostIPC {
		flags |= unix.CLONE_NEWIPC
	}
	if config.SharePID {
		flags |= unix.CLONE_NEWPID
	}
	return flags
}

// protect makes the kernel's choice of what to kill for memory fall on anything but pause, if that is allowed.
func protect(pid int) {
	os.WriteFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", []byte("-998"), 0)
}

// furnish sets up the inside: host name, sysctls, network.
func (m *Manager) furnish(ctx context.Context, s *Sandbox) error {
	ns, err := openNamespaces(s)
	if err != nil {
		return err
	}
	defer ns.close()
	inside := func(f func() error) error { return m.host.inside(ns, f) }
	prepare := func() error {
		if !s.Config.HostNetwork && s.Config.Hostname != "" {
			if err := unix.Sethostname([]byte(s.Config.Hostname)); err != nil {
				return fmt.Errorf("set host name %q: %w", s.Config.Hostname, err)
			}
		}
		return setSysctls(s.Config)
	}
	if s.Config.HostNetwork {
		return inside(prepare)
	}
	addrs, err := m.config.Network.Attach(s.ID, ns.net, func(configure func() error) error {
		return inside(func() error { return errors.Join(configure(), prepare()) })
	})
	if err != nil {
		return err
	}
	m.mu.Lock()
	s.Addrs = addrs
	m.mu.Unlock()
	return m.config.Network.MapPorts(ctx, s.ID, addrs, s.Config.PortMappings)
}

// IPs of the sandbox as strings.
func (s Sandbox) IPs() []string {
	list := make([]string, 0, len(s.Addrs))
	for _, a := range s.Addrs {
		list = append(list, a.String())
	}
	return list
}

var _ Network = (*network.Network)(nil)

// Inside runs f on a thread in the sandbox's network, UTS and IPC namespaces.
func (m *Manager) Inside(id string, f func() error) error {
	s, err := m.Get(id)
	if err != nil {
		return err
	}
	ns, err := openNamespaces(&s)
	if err != nil {
		return err
	}
	defer ns.close()
	if err := m.Check(id); err != nil {
		return err // the process ended, and its id may be someone else's by now
	}
	return m.host.inside(ns, f)
}
