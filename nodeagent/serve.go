package nodeagent

import (
	"context"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/nodeagent/bootstrap"
	"github.com/skiff-project/skiff/nodeagent/server"
)

// serve answers the API server, and whoever else may ask, over HTTPS until ctx ends.
func (a *Agent) serve(ctx context.Context) error {
	pki := filepath.Join(a.cfg.RootDir, "pki")
	s, err := server.New(server.Config{
		NodeName: a.cfg.NodeName, Address: a.cfg.Address, Port: a.cfg.Port, CertFile: a.cfg.CertFile, KeyFile: a.cfg.KeyFile, CertDir: pki, IPs: a.addrs,
		ClientCAFile: a.cfg.ClientCAFile, Client: a.client, Runtime: a.runtime, Images: a.engine.images, Pods: a, Cgroups: a.engine.groups,
		LogRoot: filepath.Dir(a.cfg.LogRoot), Health: a.healthy, Configz: a.configz(), Metrics: a.metrics.registry, Log: a.cfg.Log,
	})
	if err != nil {
		return err
	}
	if a.cfg.ServerTLSBootstrap && a.cfg.CertFile == "" {
		go bootstrap.Serving{CertFile: filepath.Join(pki, "nodeagent.crt"), KeyFile: filepath.Join(pki, "nodeagent.key"), NodeName: a.cfg.NodeName,
			Names: append([]string{a.cfg.NodeName}, a.addrs...), Client: a.client, Log: a.cfg.Log}.KeepSigned(ctx)
	}
	return s.Run(ctx)
}

// Pod returns a pod of this node by name, with its status as the agent last wished it.
func (a *Agent) Pod(namespace, name string) (*corev1.Pod, bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	var found *corev1.Pod
	for _, e := range a.pods {
		// Of two pods of one name the one that is being deleted is the older.
		if e.pod.Namespace == namespace && e.pod.Name == name && (found == nil || found.DeletionTimestamp != nil) {
			found = e.pod
		}
	}
	if found == nil {
		return nil, false
	}
	return a.withStatus(found), true
}

// Pods returns all pods of this node.
func (a *Agent) Pods() []*corev1.Pod {
	a.mu.RLock()
	defer a.mu.RUnlock()
	list := make([]*corev1.Pod, 0, len(a.pods))
	for _, e := range a.pods {
		list = append(list, a.withStatus(e.pod))
	}
	return list
}

func (a *Agent) withStatus(pod *corev1.Pod) *corev1.Pod {
	if s, ok := a.mirrors.Get(pod.UID); ok {
		shown := *pod
		shown.Status = s
		return &shown
	}
	return pod
}

// configz is what /configz shows, under the kubelet's names.
func (a *Agent) configz() any {
	return map[string]any{"kubeletconfig": map[string]any{
		"kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1",
		"address": a.cfg.Address, "port": a.cfg.Port, "healthzPort": a.cfg.HealthPort, "healthzBindAddress": "127.0.0.1",
		"clusterDomain": a.cfg.ClusterDomain, "clusterDNS": a.cfg.ClusterDNS, "maxPods": a.cfg.MaxPods, "staticPodPath": a.cfg.ManifestDir,
		"cgroupDriver": a.cfg.CgroupDriver, "cgroupRoot": a.cfg.CgroupRoot, "registerNode": a.cfg.Register, "resolvConf": a.cfg.ResolvConf,
		"nodeLeaseDurationSeconds": 40, "nodeStatusUpdateFrequency": "10s", "nodeStatusReportFrequency": "5m0s",
		"imageGCHighThresholdPercent": imagesHigh, "imageGCLowThresholdPercent": imagesLow,
		"evictionHard": map[string]string{"memory.available": "100Mi", "nodefs.available": "10%", "nodefs.inodesFree": "5%"},
		"podLogsDir":   a.cfg.LogRoot, "podCIDR": a.cfg.PodCIDRs,
	}}
}
