package cri

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	api "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// Labels by which the kubelet marks what it makes: other tools on the node know pods by them.
const (
	labelPodName      = "io.kubernetes.pod.name"
	labelPodNamespace = "io.kubernetes.pod.namespace"
	labelPodUID       = "io.kubernetes.pod.uid"
	labelContainer    = "io.kubernetes.container.name"
)

// annotationConfig keeps the configuration that a sandbox was made from: CreateContainer must show it to the runtime
// again, and after a restart the agent has it no more.
const annotationConfig = "skiff.io/sandbox"

// RunSandbox implements runtime.Runtime.
func (r *Runtime) RunSandbox(ctx context.Context, config runtime.SandboxConfig) (runtime.Sandbox, error) {
	cri, err := r.sandboxConfig(config)
	if err != nil {
		return runtime.Sandbox{}, err
	}
	if config.CgroupParent != "" {
		if err := r.groups.Create(config.CgroupParent, config.PodResources); err != nil {
			return runtime.Sandbox{}, err
		}
	}
	created, err := r.runtime.RunPodSandbox(ctx, &api.RunPodSandboxRequest{Config: cri, RuntimeHandler: config.RuntimeHandler})
	if err != nil {
		return runtime.Sandbox{}, translate(err)
	}
	return r.Sandbox(ctx, created.PodSandboxId)
}

func (r *Runtime) sandboxConfig(c runtime.SandboxConfig) (*api.PodSandboxConfig, error) {
	kept, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	labels := maps.Clone(c.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[labelPodName], labels[labelPodNamespace], labels[labelPodUID] = c.Pod.Name, c.Pod.Namespace, c.Pod.UID
	annotations := maps.Clone(c.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[annotationConfig] = string(kept)
	out := &api.PodSandboxConfig{
		Metadata:     &api.PodSandboxMetadata{Name: c.Pod.Name, Namespace: c.Pod.Namespace, Uid: c.Pod.UID, Attempt: c.Pod.Attempt},
		Hostname:     c.Hostname,
		LogDirectory: c.LogDirectory,
		DnsConfig:    &api.DNSConfig{Servers: c.DNS.Servers, Searches: c.DNS.Searches, Options: c.DNS.Options},
		Labels:       labels,
		Annotations:  annotations,
		Linux: &api.LinuxPodSandboxConfig{
			Sysctls:   c.Sysctls,
			Resources: resources(c.PodResources),
			SecurityContext: &api.LinuxSandboxSecurityContext{
				NamespaceOptions: namespaces(c), SelinuxOptions: selinux(c.SELinux), Privileged: c.Privileged, Seccomp: seccomp(c.Seccomp),
			},
		},
	}
	if c.CgroupParent != "" {
		out.Linux.CgroupParent = r.groups.Join(c.CgroupParent)
	}
	if c.HostNetwork {
		out.Hostname = ""
	}
	for _, p := range c.PortMappings {
		out.PortMappings = append(out.PortMappings, &api.PortMapping{
			Protocol: api.Protocol(api.Protocol_value[string(p.Protocol)]), HostIp: p.HostIP, HostPort: p.HostPort, ContainerPort: p.ContainerPort,
		})
	}
	return out, nil
}

func namespaces(c runtime.SandboxConfig) *api.NamespaceOption {
	o := &api.NamespaceOption{Network: api.NamespaceMode_POD, Pid: api.NamespaceMode_CONTAINER, Ipc: api.NamespaceMode_POD}
	if c.HostNetwork {
		o.Network = api.NamespaceMode_NODE
	}
	if c.HostIPC {
		o.Ipc = api.NamespaceMode_NODE
	}
	if c.SharePID {
		o.Pid = api.NamespaceMode_POD
	}
	if c.HostPID {
		o.Pid = api.NamespaceMode_NODE
	}
	if u := c.UserNamespace; u != nil {
		ids := []*api.IDMapping{{HostId: u.HostID, ContainerId: 0, Length: u.Length}}
		o.UsernsOptions = &api.UserNamespace{Mode: api.NamespaceMode_POD, Uids: ids, Gids: ids}
	}
	return o
}

// StopSandbox implements runtime.Runtime.
func (r *Runtime) StopSandbox(ctx context.Context, id string) error {
	_, err := r.runtime.StopPodSandbox(ctx, &api.StopPodSandboxRequest{PodSandboxId: id})
	return gone(err)
}

// RemoveSandbox implements runtime.Runtime.
func (r *Runtime) RemoveSandbox(ctx context.Context, id string) error {
	s, err := r.Sandbox(ctx, id)
	if errors.Is(err, runtime.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := r.StopSandbox(ctx, id); err != nil {
		return err
	}
	if _, err := r.runtime.RemovePodSandbox(ctx, &api.RemovePodSandboxRequest{PodSandboxId: id}); gone(err) != nil {
		return gone(err)
	}
	if s.CgroupParent == "" {
		return nil
	}
	// A pod that got a new sandbox still needs its group.
	all, err := r.runtime.ListPodSandbox(ctx, &api.ListPodSandboxRequest{Filter: &api.PodSandboxFilter{LabelSelector: map[string]string{labelPodUID: s.Pod.UID}}})
	if err != nil {
		return translate(err)
	}
	if len(all.Items) > 0 {
		return nil
	}
	return r.groups.Remove(ctx, s.CgroupParent)
}

// Sandboxes implements runtime.Runtime.
func (r *Runtime) Sandboxes(ctx context.Context) ([]runtime.Sandbox, error) {
	list, err := r.runtime.ListPodSandbox(ctx, &api.ListPodSandboxRequest{})
	if err != nil {
		return nil, translate(err)
	}
	var out []runtime.Sandbox
	for _, item := range list.Items {
		// The list lacks the addresses.
		s, err := r.Sandbox(ctx, item.Id)
		if errors.Is(err, runtime.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b runtime.Sandbox) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return out, nil
}

// Sandbox implements runtime.Runtime.
func (r *Runtime) Sandbox(ctx context.Context, id string) (runtime.Sandbox, error) {
	resp, err := r.runtime.PodSandboxStatus(ctx, &api.PodSandboxStatusRequest{PodSandboxId: id, Verbose: true})
	if err != nil {
		return runtime.Sandbox{}, translate(err)
	}
	s := resp.Status
	config := keptConfig(s.Annotations)
	out := runtime.Sandbox{
		ID: s.Id, State: runtime.SandboxNotReady, CreatedAt: time.Unix(0, s.CreatedAt), RuntimeHandler: s.RuntimeHandler,
		Pod:         runtime.Pod{Namespace: s.GetMetadata().GetNamespace(), Name: s.GetMetadata().GetName(), UID: s.GetMetadata().GetUid(), Attempt: s.GetMetadata().GetAttempt()},
		HostNetwork: s.GetLinux().GetNamespaces().GetOptions().GetNetwork() == api.NamespaceMode_NODE, CgroupParent: config.CgroupParent, LogDirectory: config.LogDirectory,
		Labels: config.Labels, Annotations: config.Annotations,
	}
	if s.State == api.PodSandboxState_SANDBOX_READY {
		out.State = runtime.SandboxReady
		out.PID = infoPID(resp.Info)
	}
	if ip := s.GetNetwork().GetIp(); ip != "" && !out.HostNetwork {
		out.IPs = append(out.IPs, ip)
		for _, more := range s.Network.AdditionalIps {
			out.IPs = append(out.IPs, more.Ip)
		}
	}
	return out, nil
}

// keptConfig is empty for sandboxes that others made.
func keptConfig(annotations map[string]string) runtime.SandboxConfig {
	var c runtime.SandboxConfig
	if text := annotations[annotationConfig]; text != "" {
		json.Unmarshal([]byte(text), &c)
	}
	return c
}

// infoPID reads the process id out of the runtime's verbose answer, which containerd and CRI-O fill alike.
func infoPID(info map[string]string) int {
	var v struct{ PID int }
	json.NewDecoder(strings.NewReader(info["info"])).Decode(&v)
	return v.PID
}

// UpdatePodResources implements runtime.Runtime. The pod's group is the agent's own; the runtime is not asked.
func (r *Runtime) UpdatePodResources(ctx context.Context, id string, res runtime.Resources) error {
	s, err := r.Sandbox(ctx, id)
	if err != nil {
		return err
	}
	return r.groups.Update(s.CgroupParent, res)
}
