package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/skiff-project/skiff/nodeagent"
	"github.com/skiff-project/skiff/nodeagent/bootstrap"
	"github.com/skiff-project/skiff/pkg/client"
)

// options are the flags as they are given.
type options struct {
	api            client.Config
	bootstrapFile  string
	config         nodeagent.Config
	taints         []string
	systemReserved map[string]string
	kubeReserved   map[string]string
	mirrors        []string
	verbosity      int
}

func (o *options) addFlags(f *pflag.FlagSet) {
	host, _ := os.Hostname() // without one the flag has to be given, which New says
	o.api.Component = "nodeagent"
	o.api.AddFlags(f)
	c := &o.config
	f.StringVar(&o.bootstrapFile, "bootstrap-kubeconfig", "", "kubeconfig with a bootstrap token; the node's own is requested with it and written to --kubeconfig")
	f.StringVar(&c.NodeName, "hostname-override", strings.ToLower(host), "name of the node")
	f.StringSliceVar(&c.NodeIPs, "node-ip", nil, "addresses of the node; empty: the one that faces the API server")
	f.StringVar(&c.RootDir, "root-dir", "/var/lib/skiff/nodeagent", "folder for images, sandboxes and the volumes of pods")
	f.StringVar(&c.LogRoot, "pod-logs-dir", "/var/log/pods", "folder for the logs of containers")
	f.StringSliceVar(&c.ClusterDNS, "cluster-dns", []string{"10.96.0.10"}, "addresses of the cluster's DNS")
	f.StringVar(&c.ClusterDomain, "cluster-domain", "cluster.local", "domain of the cluster")
	f.StringVar(&c.ResolvConf, "resolv-conf", "/etc/resolv.conf", "the node's resolver configuration, for pods that use it")
	f.StringSliceVar(&c.ClusterCIDRs, "cluster-cidr", []string{"10.244.0.0/16"}, "pod ranges of the whole cluster")
	f.BoolVar(&c.Masquerade, "masquerade", true, "let pods reach what lies outside of the cluster under the node's address")
	f.StringSliceVar(&c.PodCIDRs, "pod-cidr", nil, "pod range of this node; empty: as the Node object says")
	f.StringVar(&c.Address, "address", "0.0.0.0", "address of the HTTPS interface")
	f.IntVar(&c.Port, "port", 10250, "port of the HTTPS interface")
	f.IntVar(&c.HealthPort, "healthz-port", 10248, "port of /healthz on the loopback address; 0 turns it off")
	f.StringVar(&c.ClientCAFile, "client-ca-file", "", "authority of the client certificates that the HTTPS interface accepts")
	f.StringVar(&c.CertFile, "tls-cert-file", "", "certificate of the HTTPS interface; made when empty")
	f.StringVar(&c.KeyFile, "tls-private-key-file", "", "key of the HTTPS interface")
	f.BoolVar(&c.ServerTLSBootstrap, "server-tls-bootstrap", false, "have the cluster sign the certificate of the HTTPS interface")
	f.StringVar(&c.CgroupRoot, "cgroup-root", "/", "control group below which those of pods are made")
	f.StringVar(&c.CgroupDriver, "cgroup-driver", "cgroupfs", "how control groups are made")
	f.StringVar(&c.ContainerRuntime, "container-runtime", "", "OCI runtime: a path or a name on PATH (default: crun where it is installed and works, else runc)")
	f.StringToStringVar(&c.RuntimeHandlers, "runtime-handlers", nil, "further OCI runtimes, by the handler of a RuntimeClass: NAME=COMMAND,...")
	f.StringVar(&c.RuntimeEndpoint, "container-runtime-endpoint", "", "socket of a CRI runtime; empty: the native one")
	f.StringVar(&c.Conmon, "conmon", "conmon", "container monitor: a path or a name on PATH")
	f.StringVar(&c.PauseBinary, "pause-binary", "", "program of a pod's infra container; empty: the built-in one")
	f.StringVar(&c.ImageBundleDir, "image-bundle-dir", "", "folder with archives of images, loaded at the start")
	f.StringSliceVar(&c.PlainHTTP, "registry-plain-http", nil, "registries that are spoken to without TLS")
	f.StringArrayVar(&o.mirrors, "registry-mirror", nil, "registry that is asked before another, as REGISTRY=MIRROR, or *=MIRROR before any; may be repeated")
	f.DurationVar(&c.PullDeadline, "image-pull-progress-deadline", 0, "a pull that makes no progress for so long is given up; 0: the store's own limit")
	f.StringVar(&c.ManifestDir, "pod-manifest-path", "", "folder with the manifests of static pods")
	f.IntVar(&c.MaxPods, "max-pods", 110, "pods at most")
	f.StringToStringVar(&c.Labels, "node-labels", nil, "labels that the node registers with")
	f.StringSliceVar(&o.taints, "register-with-taints", nil, "taints that the node registers with: KEY=VALUE:EFFECT,...")
	f.BoolVar(&c.Register, "register-node", true, "create the Node object")
	f.StringToStringVar(&o.systemReserved, "system-reserved", nil, "resources kept from pods for the system: cpu=100m,memory=200Mi")
	f.StringToStringVar(&o.kubeReserved, "kube-reserved", nil, "resources kept from pods for this agent and its like")
	f.DurationVar(&c.MaxRestartDelay, "max-container-restart-period", 0, "longest back-off of a container that keeps failing; 0: 5 minutes")
	f.IntVarP(&o.verbosity, "v", "v", 0, "verbosity of the log: 4 and more is debugging")
}

func (o *options) load(ctx context.Context) (nodeagent.Config, error) {
	c := o.config
	if err := useCRI(&c); err != nil {
		return c, err
	}
	level := slog.LevelInfo
	if o.verbosity >= 4 {
		level = slog.LevelDebug
	}
	c.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	slog.SetDefault(c.Log)
	var err error
	if c.Taints, err = nodeagent.ParseTaints(o.taints); err != nil {
		return c, fmt.Errorf("--register-with-taints: %w", err)
	}
	if c.RegistryMirrors, err = parseMirrors(o.mirrors); err != nil {
		return c, err
	}
	if c.Reserved, err = nodeagent.ParseResources(o.systemReserved); err != nil {
		return c, fmt.Errorf("--system-reserved: %w", err)
	}
	more, err := nodeagent.ParseResources(o.kubeReserved)
	if err != nil {
		return c, fmt.Errorf("--kube-reserved: %w", err)
	}
	for name, q := range more {
		sum := c.Reserved[name]
		sum.Add(q)
		c.Reserved[name] = sum
	}
	if o.bootstrapFile != "" {
		if err := bootstrap.Ensure(ctx, bootstrap.Config{Bootstrap: o.bootstrapFile, Kubeconfig: o.api.Kubeconfig, NodeName: c.NodeName, Log: c.Log}); err != nil {
			return c, err
		}
	}
	c.API, err = client.Load(o.api)
	return c, err
}

// parseMirrors reads REGISTRY=MIRROR; a registry's mirrors keep the order that they are given in.
func parseMirrors(flags []string) (map[string][]string, error) {
	mirrors := map[string][]string{}
	for _, f := range flags {
		registry, mirror, ok := strings.Cut(f, "=")
		if !ok || registry == "" || mirror == "" || strings.Contains(mirror, "/") {
			return nil, fmt.Errorf("--registry-mirror=%s: must be REGISTRY=MIRROR, both host or host:port", f)
		}
		mirrors[registry] = append(mirrors[registry], mirror)
	}
	return mirrors, nil
}
