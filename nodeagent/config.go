package nodeagent

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"

	"github.com/skiff-project/skiff/nodeagent/cgroups"
	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// Config of an Agent. Names follow the kubelet's flags.
type Config struct {
	// API reaches the API server with the node's own identity.
	API      *rest.Config
	NodeName string
	// NodeIPs are the addresses of the node; found out when empty.
	NodeIPs []string
	// RootDir holds images, sandboxes, and the volumes of pods.
	RootDir string
	// LogRoot and LinkRoot are where the logs of containers, and links to them by container name, lie.
	LogRoot, LinkRoot string

	ClusterDNS    []string
	ClusterDomain string
	ResolvConf    string
	// ClusterCIDRs are the pod ranges of the whole cluster.
	ClusterCIDRs []string
	// Masquerade lets pods reach addresses outside of the cluster under the node's own.
	Masquerade bool
	// PodCIDRs of this node; taken from the Node object when empty.
	PodCIDRs []string

	// Address, Port and the files of the HTTPS interface. HealthPort serves /healthz to this machine without TLS; 0: not at all.
	Address            string
	Port               int
	HealthPort         int
	ClientCAFile       string
	CertFile, KeyFile  string
	ServerTLSBootstrap bool

	CgroupRoot   string
	CgroupDriver string

	// ContainerRuntime is the OCI runtime command, crun or runc when empty; RuntimeHandlers are others, by the handler of a RuntimeClass.
	ContainerRuntime string
	RuntimeHandlers  map[string]string
	// RuntimeEndpoint is the socket of a CRI runtime that takes the native one's place. OpenCRI connects to it; it is handed
	// in, because gRPC in the program would cost every agent 18 MB, used or not.
	RuntimeEndpoint string
	OpenCRI         func(endpoint string, groups *cgroups.Manager, log *slog.Logger) (runtime.Runtime, runtime.Images, func(), error)
	Conmon          string
	PauseBinary     string
	ImageBundleDir  string
	PlainHTTP       []string
	// RegistryMirrors maps a registry's host, or * for all, to those that are asked before it.
	RegistryMirrors map[string][]string
	PullDeadline    time.Duration

	// ManifestDir is the folder of static pods.
	ManifestDir string
	MaxPods     int
	Labels      map[string]string
	Taints      []corev1.Taint
	Register    bool
	Reserved    corev1.ResourceList
	// MaxRestartDelay bounds the back-off of failing containers.
	MaxRestartDelay time.Duration
	SeccompRoot     string

	Log *slog.Logger
}

// setDefaults fills in what was left out, and says what is wrong with what was not.
func (c *Config) setDefaults() error {
	def := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	def(&c.RootDir, "/var/lib/skiff/nodeagent")
	def(&c.LogRoot, "/var/log/pods")
	def(&c.LinkRoot, "/var/log/containers")
	def(&c.ClusterDomain, "cluster.local")
	def(&c.Address, "0.0.0.0")
	def(&c.CgroupRoot, "/")
	def(&c.CgroupDriver, "cgroupfs")
	def(&c.Conmon, "conmon")
	if c.MaxPods == 0 {
		c.MaxPods = 110
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	def(&c.SeccompRoot, filepath.Join(c.RootDir, "seccomp"))
	switch {
	case c.API == nil:
		return errors.New("no API server to talk to: give --kubeconfig")
	case c.RuntimeEndpoint != "" && c.OpenCRI == nil:
		return errors.New("--container-runtime-endpoint: this program was built without CRI")
	case c.CgroupDriver != "cgroupfs":
		return fmt.Errorf("--cgroup-driver=%s: only cgroupfs is supported", c.CgroupDriver)
	}
	if errs := validation.IsDNS1123Subdomain(c.NodeName); len(errs) > 0 {
		return fmt.Errorf("--hostname-override: %q is no node name: %s", c.NodeName, strings.Join(errs, ", "))
	}
	for _, ip := range c.ClusterDNS {
		if net.ParseIP(ip) == nil {
			return fmt.Errorf("--cluster-dns: %q is no IP address", ip)
		}
	}
	return nil
}

// ParseResources reads a list like cpu=100m,memory=200Mi.
func ParseResources(list map[string]string) (corev1.ResourceList, error) {
	out := corev1.ResourceList{}
	for name, value := range list {
		q, err := resource.ParseQuantity(value)
		if err != nil {
			return nil, fmt.Errorf("%s=%s: %w", name, value, err)
		}
		out[corev1.ResourceName(name)] = q
	}
	return out, nil
}

// ParseTaints reads a list like key=value:NoSchedule.
func ParseTaints(list []string) ([]corev1.Taint, error) {
	var out []corev1.Taint
	for _, s := range list {
		pair, effect, ok := strings.Cut(s, ":")
		switch corev1.TaintEffect(effect) {
		case corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute:
		default:
			ok = false
		}
		if !ok {
			return nil, fmt.Errorf("%q is no taint: want KEY[=VALUE]:EFFECT", s)
		}
		key, value, _ := strings.Cut(pair, "=")
		out = append(out, corev1.Taint{Key: key, Value: value, Effect: corev1.TaintEffect(effect)})
	}
	return out, nil
}
