package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/skiff-project/skiff/pkg/machine"
	"github.com/skiff-project/skiff/pkg/machine/control"
)

// socket is containerd's.
const socket = "/run/containerd/containerd.sock"

// PauseImage is the image of upstream's infra container; its program is Skiff's.
const PauseImage = "registry.k8s.io/pause:3.10.2"

// files are the configuration of upstream's programs, and what of the host the machine sees.
func (l *Lab) files() ([]control.File, []control.Bind, error) {
	conf := func(name, text string) control.File {
		return control.File{Path: filepath.Join(filesDir, name), Content: undent(text)}
	}
	files := []control.File{
		conf("containerd.toml", fmt.Sprintf(`
			version = 3
			root = '%[1]s/containerd'
			state = '/run/containerd/state'
			[grpc]
			address = '%[2]s'
			[plugins.'io.containerd.cri.v1.images'.pinned_images]
			sandbox = '%[3]s'
			[plugins.'io.containerd.cri.v1.runtime']
			restrict_oom_score_adj = true
			[plugins.'io.containerd.cri.v1.runtime'.cni]
			bin_dirs = ['/usr/lib/cni']
			conf_dir = '%[4]s/cni'
			[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
			runtime_type = 'io.containerd.runc.v2'
			runtime_path = '%[5]s/containerd-shim-runc-v2'
			[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
			BinaryName = 'runc'
			SystemdCgroup = false
			`, machine.DataDir, socket, PauseImage, filesDir, peersDir)),
		conf("cni/10-lab.conflist", `
			{"cniVersion": "0.4.0", "name": "lab", "plugins": [
			{"type": "ptp", "ipMasq": false, "mtu": 1500, "ipam": {"type": "host-local",
			 "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
			{"type": "portmap", "snat": true, "capabilities": {"portMappings": true}}]}
			`),
		conf("kubelet.yaml", fmt.Sprintf(`
			apiVersion: kubelet.config.k8s.io/v1beta1
			kind: KubeletConfiguration
			authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: %[1]s/ca.crt}}
			authorization: {mode: Webhook}
			tlsCertFile: %[1]s/node-%[2]s.crt
			tlsPrivateKeyFile: %[1]s/node-%[2]s.key
			cgroupDriver: cgroupfs
			failSwapOn: false
			failCgroupV1: false
			containerRuntimeEndpoint: unix://%[3]s
			clusterDomain: %[4]s
			clusterDNS: [%[5]s]
			resolvConf: /etc/resolv.conf
			maxPods: 110
			serializeImagePulls: false
			imageGCHighThresholdPercent: 100
			evictionHard: {memory.available: 100Mi, nodefs.available: 1%%, imagefs.available: 1%%}
			`, pkiDir, Node, socket, domain, dnsIP)),
		conf("proxy.yaml", fmt.Sprintf(`
			apiVersion: kubeproxy.config.k8s.io/v1alpha1
			kind: KubeProxyConfiguration
			clientConnection: {kubeconfig: %s/proxy.conf}
			mode: iptables
			clusterCIDR: %s
			conntrack: {maxPerCore: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
			hostnameOverride: %s
			`, pkiDir, podRange, Node)),
	}
	binds := []control.Bind{
		{Source: l.config.Bin, Target: binDir, ReadOnly: true},
		{Source: l.pki.Dir, Target: pkiDir},
	}
	if _, err := os.Stat(l.config.Peers); err == nil {
		binds = append(binds, control.Bind{Source: l.config.Peers, Target: peersDir, ReadOnly: true})
	}
	tunables, err := l.tunables()
	return files, append(binds, tunables...), err
}

// tunables shows the kubelet the values of the kernel that it would otherwise set: they are the whole host's, and a lab
// leaves the host as it is.
func (l *Lab) tunables() ([]control.Bind, error) {
	if l.config.Parts.Agent != Upstream {
		return nil, nil
	}
	dir := filepath.Join(l.cluster.Data(), "tunables")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var binds []control.Bind
	for _, t := range []struct{ path, value string }{
		{"vm/overcommit_memory", "1"}, {"vm/panic_on_oom", "0"}, {"kernel/panic", "10"}, {"kernel/panic_on_oops", "1"},
		{"kernel/keys/root_maxkeys", "1000000"}, {"kernel/keys/root_maxbytes", "25000000"},
	} {
		source := filepath.Join(dir, strings.ReplaceAll(t.path, "/", "."))
		if err := os.WriteFile(source, []byte(t.value+"\n"), 0o644); err != nil {
			return nil, err
		}
		binds = append(binds, control.Bind{Source: source, Target: "/proc/sys/" + t.path})
	}
	return binds, nil
}

// undent takes the tabs away that indent a text in this file.
func undent(text string) string {
	var out strings.Builder
	for line := range strings.Lines(strings.TrimPrefix(text, "\n")) {
		out.WriteString(strings.TrimLeft(line, "\t"))
	}
	return out.String()
}
