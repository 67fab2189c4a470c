package podworker

import (
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/nodeagent/podfiles"
	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// logDirectory is where the logs of a pod lie.
func (c *Config) logDirectory(pod *corev1.Pod) string {
	return filepath.Join(c.LogRoot, fmt.Sprintf("%s_%s_%s", pod.Namespace, pod.Name, pod.UID))
}

func (w *Worker) makeSandbox(pod *corev1.Pod, attempt uint32) (runtime.Sandbox, error) {
	hostname, err := podfiles.KernelHostname(pod, w.cfg.Resolver.ClusterDomain)
	if err != nil {
		return runtime.Sandbox{}, err
	}
	dns, problems, err := w.cfg.Resolver.DNS(pod)
	if err != nil {
		return runtime.Sandbox{}, err
	}
	for _, p := range problems {
		w.cfg.Recorder.Event(pod, corev1.EventTypeWarning, p[0], p[1])
	}
	var handler string
	if class := pod.Spec.RuntimeClassName; class != nil && *class != "" {
		if handler, err = w.cfg.Handler(w.ctx, *class); err != nil {
			return runtime.Sandbox{}, fmt.Errorf("failed to get sandbox runtime: %w", err)
		}
	}
	config := runtime.SandboxConfig{
		Pod:          runtime.Pod{Namespace: pod.Namespace, Name: pod.Name, UID: string(pod.UID), Attempt: attempt},
		Hostname:     hostname,
		LogDirectory: w.cfg.logDirectory(pod),
		DNS:          dns,
		PortMappings: portMappings(pod),
		HostNetwork:  pod.Spec.HostNetwork, HostPID: pod.Spec.HostPID, HostIPC: pod.Spec.HostIPC,
		SharePID:     isTrue(pod.Spec.ShareProcessNamespace),
		CgroupParent: CgroupParent(pod), PodResources: podResourceLimits(pod),
		RuntimeHandler: handler,
		Labels:         podLabels(pod), Annotations: pod.Annotations,
	}
	if sc := pod.Spec.SecurityContext; sc != nil {
		config.Seccomp, config.SELinux = seccomp(sc.SeccompProfile, w.cfg.SeccompRoot), selinux(sc.SELinuxOptions)
		for _, s := range sc.Sysctls {
			if config.Sysctls == nil {
				config.Sysctls = map[string]string{}
			}
			config.Sysctls[s.Name] = s.Value
		}
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if s := list[i].SecurityContext; s != nil && isTrue(s.Privileged) {
				config.Privileged = true
			}
		}
	}
	if err := os.MkdirAll(config.LogDirectory, 0o755); err != nil {
		return runtime.Sandbox{}, err
	}
	return w.cfg.Runtime.RunSandbox(w.ctx, config)
}

// portMappings are the host ports of a pod with an address of its own.
func portMappings(pod *corev1.Pod) []runtime.PortMapping {
	if pod.Spec.HostNetwork {
		return nil
	}
	var out []runtime.PortMapping
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for _, p := range list[i].Ports {
				if p.HostPort == 0 {
					continue
				}
				protocol := runtime.Protocol(p.Protocol)
				if protocol == "" {
					protocol = runtime.TCP
				}
				out = append(out, runtime.PortMapping{Protocol: protocol, HostIP: p.HostIP, HostPort: p.HostPort, ContainerPort: p.ContainerPort})
			}
		}
	}
	return out
}
