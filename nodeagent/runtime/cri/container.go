package cri

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	api "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// CreateContainer implements runtime.Runtime.
func (r *Runtime) CreateContainer(ctx context.Context, config runtime.ContainerConfig) (string, error) {
	resp, err := r.runtime.PodSandboxStatus(ctx, &api.PodSandboxStatusRequest{PodSandboxId: config.SandboxID})
	if err != nil {
		return "", translate(err)
	}
	if resp.Status.State != api.PodSandboxState_SANDBOX_READY {
		return "", fmt.Errorf("create container %s: sandbox %s is not ready", config.Name, config.SandboxID)
	}
	sandbox := keptConfig(resp.Status.Annotations)
	pod, err := r.sandboxConfig(sandbox)
	if err != nil {
		return "", err
	}
	cri, err := containerConfig(config, sandbox)
	if err != nil {
		return "", err
	}
	created, err := r.runtime.CreateContainer(ctx, &api.CreateContainerRequest{PodSandboxId: config.SandboxID, Config: cri, SandboxConfig: pod})
	if err != nil {
		return "", translate(err)
	}
	return created.ContainerId, nil
}

func containerConfig(c runtime.ContainerConfig, sandbox runtime.SandboxConfig) (*api.ContainerConfig, error) {
	labels := maps.Clone(c.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	p := sandbox.Pod
	labels[labelPodName], labels[labelPodNamespace], labels[labelPodUID], labels[labelContainer] = p.Name, p.Namespace, p.UID, c.Name
	out := &api.ContainerConfig{
		Metadata:   &api.ContainerMetadata{Name: c.Name, Attempt: c.Attempt},
		Image:      &api.ImageSpec{Image: c.Image, UserSpecifiedImage: c.ImageRef},
		Command:    c.Command,
		Args:       c.Args,
		WorkingDir: c.WorkingDir,
		Labels:     labels, Annotations: c.Annotations,
		LogPath: c.LogPath,
		Stdin:   c.Stdin, StdinOnce: c.StdinOnce, Tty: c.TTY,
		Linux: &api.LinuxContainerConfig{Resources: resources(c.Resources), SecurityContext: securityContext(c, sandbox)},
	}
	if c.StopSignal != "" {
		out.StopSignal = api.Signal(api.Signal_value[c.StopSignal])
	}
	for _, e := range c.Env {
		out.Envs = append(out.Envs, &api.KeyValue{Key: e.Name, Value: []byte(e.Value)})
	}
	for _, m := range c.Mounts {
		mount := &api.Mount{
			ContainerPath: m.ContainerPath, HostPath: m.HostPath, Readonly: m.ReadOnly, RecursiveReadOnly: m.RecursiveReadOnly,
			Propagation: propagations[m.Propagation], ImageSubPath: m.ImageSubPath,
		}
		if m.Image != "" {
			mount.Image = &api.ImageSpec{Image: m.Image}
		}
		out.Mounts = append(out.Mounts, mount)
	}
	for _, d := range c.Devices {
		out.Devices = append(out.Devices, &api.Device{HostPath: d.HostPath, ContainerPath: d.ContainerPath, Permissions: d.Permissions})
	}
	for _, name := range c.CDI {
		out.CDIDevices = append(out.CDIDevices, &api.CDIDevice{Name: name})
	}
	return out, nil
}

var propagations = map[runtime.Propagation]api.MountPropagation{
	runtime.PropagationHostToPod:     api.MountPropagation_PROPAGATION_HOST_TO_CONTAINER,
	runtime.PropagationBidirectional: api.MountPropagation_PROPAGATION_BIDIRECTIONAL,
}

// The paths that CRI wants to be told; nil would mean none.
var (
	maskedPaths   = []string{"/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

func securityContext(c runtime.ContainerConfig, sandbox runtime.SandboxConfig) *api.LinuxContainerSecurityContext {
	sc := c.Security
	out := &api.LinuxContainerSecurityContext{
		Privileged: sc.Privileged, ReadonlyRootfs: sc.ReadOnlyRootfs, NoNewPrivs: sc.NoNewPrivileges,
		Capabilities:     &api.Capability{AddCapabilities: sc.AddCapabilities, DropCapabilities: sc.DropCapabilities},
		NamespaceOptions: namespaces(sandbox), SelinuxOptions: selinux(sc.SELinux), Seccomp: seccomp(sc.Seccomp), Apparmor: apparmor(sc.AppArmorProfile),
		SupplementalGroups: sc.SupplementalGroups, SupplementalGroupsPolicy: api.SupplementalGroupsPolicy_Merge,
	}
	if sc.SupplementalGroupsStrict {
		out.SupplementalGroupsPolicy = api.SupplementalGroupsPolicy_Strict
	}
	if sc.RunAsUser != nil {
		out.RunAsUser = &api.Int64Value{Value: *sc.RunAsUser}
	}
	if sc.RunAsGroup != nil {
		out.RunAsGroup = &api.Int64Value{Value: *sc.RunAsGroup}
		if sc.RunAsUser == nil {
			out.RunAsUser = &api.Int64Value{} // a group goes only with a user
		}
	}
	if c.TargetContainer != "" {
		out.NamespaceOptions.Pid, out.NamespaceOptions.TargetId = api.NamespaceMode_TARGET, c.TargetContainer
	}
	if !sc.Privileged && !sc.UnmaskedProc {
		out.MaskedPaths, out.ReadonlyPaths = maskedPaths, readonlyPaths
	}
	return out
}

// StartContainer implements runtime.Runtime.
func (r *Runtime) StartContainer(ctx context.Context, id string) error {
	_, err := r.runtime.StartContainer(ctx, &api.StartContainerRequest{ContainerId: id})
	return translate(err)
}

// StopContainer implements runtime.Runtime.
func (r *Runtime) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	seconds := int64((grace + time.Second - 1) / time.Second)
	_, err := r.runtime.StopContainer(ctx, &api.StopContainerRequest{ContainerId: id, Timeout: seconds})
	return gone(err)
}

// RemoveContainer implements runtime.Runtime.
func (r *Runtime) RemoveContainer(ctx context.Context, id string) error {
	if err := r.StopContainer(ctx, id, 0); err != nil {
		return err
	}
	_, err := r.runtime.RemoveContainer(ctx, &api.RemoveContainerRequest{ContainerId: id})
	return gone(err)
}

// Containers implements runtime.Runtime.
func (r *Runtime) Containers(ctx context.Context) ([]runtime.ContainerStatus, error) {
	list, err := r.runtime.ListContainers(ctx, &api.ListContainersRequest{})
	if err != nil {
		return nil, translate(err)
	}
	var out []runtime.ContainerStatus
	for _, item := range list.Containers {
		s, err := r.status(ctx, item.Id, item.PodSandboxId)
		if errors.Is(err, runtime.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b runtime.ContainerStatus) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return out, nil
}

// ContainerStatus implements runtime.Runtime.
func (r *Runtime) ContainerStatus(ctx context.Context, id string) (runtime.ContainerStatus, error) {
	list, err := r.runtime.ListContainers(ctx, &api.ListContainersRequest{Filter: &api.ContainerFilter{Id: id}})
	if err != nil {
		return runtime.ContainerStatus{}, translate(err)
	}
	if len(list.Containers) == 0 {
		return runtime.ContainerStatus{}, fmt.Errorf("container %s: %w", id, runtime.ErrNotFound)
	}
	return r.status(ctx, id, list.Containers[0].PodSandboxId)
}

var states = map[api.ContainerState]runtime.ContainerState{
	api.ContainerState_CONTAINER_CREATED: runtime.Created, api.ContainerState_CONTAINER_RUNNING: runtime.Running,
	api.ContainerState_CONTAINER_EXITED: runtime.Exited, api.ContainerState_CONTAINER_UNKNOWN: runtime.Unknown,
}

func (r *Runtime) status(ctx context.Context, id, sandbox string) (runtime.ContainerStatus, error) {
	resp, err := r.runtime.ContainerStatus(ctx, &api.ContainerStatusRequest{ContainerId: id, Verbose: true})
	if err != nil {
		return runtime.ContainerStatus{}, translate(err)
	}
	s := resp.Status
	out := runtime.ContainerStatus{
		ID: s.Id, SandboxID: sandbox, Name: s.GetMetadata().GetName(), Attempt: s.GetMetadata().GetAttempt(), State: states[s.State],
		Pod:       runtime.Pod{Namespace: s.Labels[labelPodNamespace], Name: s.Labels[labelPodName], UID: s.Labels[labelPodUID]},
		CreatedAt: at(s.CreatedAt), StartedAt: at(s.StartedAt), FinishedAt: at(s.FinishedAt), ExitCode: s.ExitCode, Reason: s.Reason, Message: s.Message,
		Image: s.GetImage().GetUserSpecifiedImage(), ImageID: s.ImageRef, LogPath: s.LogPath, Annotations: s.Annotations,
		Labels: without(s.Labels, labelPodName, labelPodNamespace, labelPodUID, labelContainer),
	}
	if out.Image == "" {
		out.Image = s.GetImage().GetImage()
	}
	if !out.FinishedAt.IsZero() && out.FinishedAt.Before(out.StartedAt) {
		out.FinishedAt = out.StartedAt // containerd notes the start of a short-lived container after its end
	}
	if s.StopSignal != 0 {
		out.StopSignal = s.StopSignal.String()
	}
	if out.State == runtime.Running {
		out.PID = infoPID(resp.Info)
	}
	if u := s.GetUser().GetLinux(); u != nil {
		out.User = &runtime.User{UID: u.Uid, GID: u.Gid, SupplementalGroups: u.SupplementalGroups}
	}
	if l := s.GetResources().GetLinux(); l != nil {
		out.Resource = runtime.Resources{
			CPUShares: l.CpuShares, CPUPeriod: l.CpuPeriod, CPUQuota: l.CpuQuota, MemoryLimit: l.MemoryLimitInBytes, MemorySwapLimit: l.MemorySwapLimitInBytes,
			OOMScoreAdj: l.OomScoreAdj, CpusetCPUs: l.CpusetCpus, CpusetMems: l.CpusetMems, Unified: l.Unified,
		}
	}
	for _, m := range s.Mounts {
		out.Mounts = append(out.Mounts, runtime.Mount{
			HostPath: m.HostPath, ContainerPath: m.ContainerPath, ReadOnly: m.Readonly, RecursiveReadOnly: m.RecursiveReadOnly, Image: m.GetImage().GetImage(), ImageSubPath: m.ImageSubPath,
		})
	}
	return out, nil
}

func without(labels map[string]string, names ...string) map[string]string {
	out := maps.Clone(labels)
	for _, n := range names {
		delete(out, n)
	}
	return out
}

// at turns CRI's nanoseconds into a time; 0 is none.
func at(nanos int64) time.Time {
	if nanos <= 0 {
		return time.Time{}
	}
	return time.Unix(0, nanos)
}

// UpdateResources implements runtime.Runtime.
func (r *Runtime) UpdateResources(ctx context.Context, id string, res runtime.Resources) error {
	_, err := r.runtime.UpdateContainerResources(ctx, &api.UpdateContainerResourcesRequest{ContainerId: id, Linux: resources(res)})
	return translate(err)
}

// ReopenLog implements runtime.Runtime.
func (r *Runtime) ReopenLog(ctx context.Context, id string) error {
	_, err := r.runtime.ReopenContainerLog(ctx, &api.ReopenContainerLogRequest{ContainerId: id})
	return translate(err)
}

func resources(res runtime.Resources) *api.LinuxContainerResources {
	out := &api.LinuxContainerResources{
		CpuPeriod: res.CPUPeriod, CpuQuota: res.CPUQuota, CpuShares: res.CPUShares, MemoryLimitInBytes: res.MemoryLimit, MemorySwapLimitInBytes: res.MemorySwapLimit,
		OomScoreAdj: res.OOMScoreAdj, CpusetCpus: res.CpusetCPUs, CpusetMems: res.CpusetMems, Unified: maps.Clone(res.Unified),
	}
	if out.CpuQuota > 0 && out.CpuPeriod == 0 {
		out.CpuPeriod = 100_000
	}
	if out.MemorySwapLimitInBytes == 0 {
		out.MemorySwapLimitInBytes = out.MemoryLimitInBytes
	}
	for size, limit := range res.HugepageLimits {
		out.HugepageLimits = append(out.HugepageLimits, &api.HugepageLimit{PageSize: size, Limit: limit})
	}
	slices.SortFunc(out.HugepageLimits, func(a, b *api.HugepageLimit) int { return strings.Compare(a.PageSize, b.PageSize) })
	return out
}

func selinux(s *runtime.SELinux) *api.SELinuxOption {
	if s == nil {
		return nil
	}
	return &api.SELinuxOption{User: s.User, Role: s.Role, Type: s.Type, Level: s.Level}
}

func seccomp(s runtime.Seccomp) *api.SecurityProfile {
	switch s.Kind {
	case runtime.SeccompRuntimeDefault:
		return &api.SecurityProfile{ProfileType: api.SecurityProfile_RuntimeDefault}
	case runtime.SeccompLocalhost:
		return &api.SecurityProfile{ProfileType: api.SecurityProfile_Localhost, LocalhostRef: s.LocalhostPath}
	}
	return &api.SecurityProfile{ProfileType: api.SecurityProfile_Unconfined}
}

func apparmor(profile string) *api.SecurityProfile {
	name, local := strings.CutPrefix(profile, "localhost/")
	switch {
	case local:
		return &api.SecurityProfile{ProfileType: api.SecurityProfile_Localhost, LocalhostRef: name}
	case profile == "unconfined":
		return &api.SecurityProfile{ProfileType: api.SecurityProfile_Unconfined}
	case profile == "runtime/default":
		return &api.SecurityProfile{ProfileType: api.SecurityProfile_RuntimeDefault}
	}
	return nil
}
