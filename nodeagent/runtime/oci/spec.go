package oci

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/skiff-project/skiff/nodeagent/images"
	"github.com/skiff-project/skiff/nodeagent/runtime"
	"github.com/skiff-project/skiff/nodeagent/sandbox"
)

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// spec is the OCI configuration of a container.
func (r *Runtime) spec(c *container, s sandbox.Sandbox, root images.Rootfs) (*specs.Spec, error) {
	if len(c.Config.CDI) > 0 {
		return nil, errors.New("devices of the Container Device Interface are not supported by this runtime")
	}
	process, err := r.process(c, s, root)
	if err != nil {
		return nil, err
	}
	namespaces, err := r.namespaces(c, s)
	if err != nil {
		return nil, err
	}
	mounts, err := r.mounts(c, s)
	if err != nil {
		return nil, err
	}
	resources, devices, err := linuxResources(c)
	if err != nil {
		return nil, err
	}
	seccomp, err := seccompProfile(c.Config.Security, process.Capabilities)
	if err != nil {
		return nil, err
	}
	if a := c.Config.Security.AppArmorProfile; a != "" && a != "unconfined" && a != "runtime/default" {
		r.log.Warn("AppArmor profile is not applied by this runtime", "container", c.Config.Name, "profile", a)
	}
	spec := &specs.Spec{
		Version: "1.0.2",
		Process: process,
		Root:    &specs.Root{Path: root.Path, Readonly: c.Config.Security.ReadOnlyRootfs},
		Mounts:  mounts,
		Linux: &specs.Linux{
			Namespaces:        namespaces,
			CgroupsPath:       r.cgroups.Join(c.Group),
			Resources:         resources,
			Devices:           devices,
			Seccomp:           seccomp,
			RootfsPropagation: rootPropagation(c.Config.Mounts),
		},
		Annotations: map[string]string{
			"io.kubernetes.cri.container-type": "container",
			"io.kubernetes.cri.sandbox-id":     s.ID,
		},
	}
	if !c.Config.Security.Privileged && !c.Config.Security.UnmaskedProc {
		spec.Linux.MaskedPaths, spec.Linux.ReadonlyPaths = maskedPaths, readonlyPaths
	}
	return spec, nil
}

func (r *Runtime) process(c *container, s sandbox.Sandbox, root images.Rootfs) (*specs.Process, error) {
	config := c.Config
	args := arguments(config, root)
	if len(args) == 0 {
		return nil, errors.New("no command specified")
	}
	uid, gid := uint32(c.User.UID), uint32(c.User.GID)
	p := &specs.Process{
		Terminal:        config.TTY,
		User:            specs.User{UID: uid, GID: gid},
		Args:            args,
		Cwd:             cmp.Or(config.WorkingDir, root.Config.WorkingDir, "/"),
		Env:             environment(config, s, root),
		NoNewPrivileges: config.Security.NoNewPrivileges,
		Capabilities:    r.capabilities(config.Security),
	}
	for _, g := range c.User.SupplementalGroups {
		p.User.AdditionalGids = append(p.User.AdditionalGids, uint32(g))
	}
	// A lower score than the kernel lets us set would make the start fail.
	adj := max(int(config.Resources.OOMScoreAdj), r.limits.oomFloor)
	p.OOMScoreAdj = &adj
	return p, nil
}

// arguments joins the image's and the container's: a command replaces both of the image's, arguments its command only.
func arguments(config runtime.ContainerConfig, root images.Rootfs) []string {
	switch {
	case len(config.Command) > 0:
		return slices.Concat(config.Command, config.Args)
	case len(config.Args) > 0:
		return slices.Concat(root.Config.Entrypoint, config.Args)
	}
	return slices.Concat(root.Config.Entrypoint, root.Config.Cmd)
}

// environment is the runtime's, then the image's, then the container's; the last of a name stands, in the first's place.
func environment(config runtime.ContainerConfig, s sandbox.Sandbox, root images.Rootfs) []string {
	var list []string
	at := map[string]int{}
	set := func(name, value string) {
		line := name + "=" + value
		if i, ok := at[name]; ok {
			list[i] = line
			return
		}
		at[name] = len(list)
		list = append(list, line)
	}
	name, value, _ := strings.Cut(defaultPath, "=")
	set(name, value)
	if config.TTY {
		set("TERM", "xterm")
	}
	if host := hostname(s); host != "" {
		set("HOSTNAME", host)
	}
	for _, line := range root.Config.Env {
		name, value, _ := strings.Cut(line, "=")
		set(name, value)
	}
	for _, e := range config.Env {
		set(e.Name, e.Value)
	}
	return list
}

func hostname(s sandbox.Sandbox) string {
	if s.Config.HostNetwork || s.Config.Hostname == "" {
		host, _ := os.Hostname()
		return host
	}
	return s.Config.Hostname
}

func (r *Runtime) namespaces(c *container, s sandbox.Sandbox) ([]specs.LinuxNamespace, error) {
	list := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	join := func(kind specs.LinuxNamespaceType, file string) {
		list = append(list, specs.LinuxNamespace{Type: kind, Path: s.Namespace(file)})
	}
	switch {
	case c.Config.TargetContainer != "":
		target, err := r.get(c.Config.TargetContainer)
		if err != nil {
			return nil, err
		}
		process, err := target.running()
		if err != nil {
			return nil, err
		}
		list = append(list, specs.LinuxNamespace{Type: specs.PIDNamespace, Path: fmt.Sprintf("/proc/%d/ns/pid", process.PID)})
	case s.Config.SharePID:
		join(specs.PIDNamespace, "pid")
	case !s.Config.HostPID:
		list = append(list, specs.LinuxNamespace{Type: specs.PIDNamespace})
	}
	if !s.Config.HostNetwork {
		join(specs.NetworkNamespace, "net")
		join(specs.UTSNamespace, "uts")
	}
	if !s.Config.HostIPC {
		join(specs.IPCNamespace, "ipc")
	}
	// On v1 the runtime shows a container its own groups anyway.
	if r.cgroups.Unified() && !c.Config.Security.Privileged {
		list = append(list, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	return list, nil
}

// mounts are the usual ones and the container's own, which win where they meet, parents before what is in them.
func (r *Runtime) mounts(c *container, s sandbox.Sandbox) ([]specs.Mount, error) {
	access := "ro"
	if c.Config.Security.Privileged {
		access = "rw"
	}
	shm := specs.Mount{Destination: "/dev/shm", Type: "bind", Source: r.sandboxes.Shm(s.ID), Options: []string{"rbind", "rprivate", "rw", "nosuid", "nodev", "noexec"}}
	if s.Config.HostIPC {
		shm.Source = "/dev/shm"
	}
	mqueue := specs.Mount{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}}
	list := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		mqueue,
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", access}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", access}},
		shm,
	}
	own := make(map[string]bool, len(c.Config.Mounts))
	for _, m := range c.Config.Mounts {
		own[path.Clean("/"+m.ContainerPath)] = true
	}
	list = slices.DeleteFunc(list, func(m specs.Mount) bool { return own[m.Destination] })
	for _, m := range c.Config.Mounts {
		mount, err := bind(m)
		if err != nil {
			return nil, err
		}
		list = append(list, mount)
	}
	depth := func(m specs.Mount) int { return strings.Count(path.Clean("/"+m.Destination), "/") }
	slices.SortStableFunc(list, func(a, b specs.Mount) int { return depth(a) - depth(b) })
	return list, nil
}

func bind(m runtime.Mount) (specs.Mount, error) {
	if _, err := os.Stat(m.HostPath); err != nil {
		return specs.Mount{}, fmt.Errorf("mount %s: %w", m.ContainerPath, err)
	}
	// The OCI runtime follows no link in the source; resolve it here.
	source, err := filepath.EvalSymlinks(m.HostPath)
	if err != nil {
		return specs.Mount{}, fmt.Errorf("mount %s: %w", m.ContainerPath, err)
	}
	options := []string{"rbind"}
	switch m.Propagation {
	case runtime.PropagationHostToPod:
		options = append(options, "rslave")
	case runtime.PropagationBidirectional:
		options = append(options, "rshared")
	default:
		options = append(options, "rprivate")
	}
	switch {
	case m.RecursiveReadOnly:
		options = append(options, "rro")
	case m.ReadOnly:
		options = append(options, "ro")
	default:
		options = append(options, "rw")
	}
	if m.NoExec {
		options = append(options, "noexec")
	}
	return specs.Mount{Destination: path.Clean("/" + m.ContainerPath), Type: "bind", Source: source, Options: options}, nil
}

// rootPropagation must let through what the mounts ask for.
func rootPropagation(mounts []runtime.Mount) string {
	out := ""
	for _, m := range mounts {
		switch m.Propagation {
		case runtime.PropagationBidirectional:
			return "rshared"
		case runtime.PropagationHostToPod:
			out = "rslave"
		}
	}
	return out
}
