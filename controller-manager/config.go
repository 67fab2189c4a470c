package controllermanager

import (
	"time"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"

	"github.com/skiff-project/skiff/pkg/client"
	"github.com/skiff-project/skiff/pkg/health"
	"github.com/skiff-project/skiff/pkg/leader"
)

// Config is what the process is told. The fields have upstream's names and defaults.
type Config struct {
	Client client.Config
	// REST, if set, is used instead of what Client names.
	REST   *rest.Config
	Leader leader.Config
	Health health.Config

	// Controllers to run: names, "*" for all that are on by default, "-name" to leave one out.
	Controllers []string
	// ServiceAccounts lets each controller act as its own service account instead of as the process.
	ServiceAccounts bool

	ClusterCIDR                             string
	ServiceCIDR                             string
	NodeCIDRMaskSize                        int
	NodeCIDRMaskSizeV6                      int
	AllocateNodeCIDRs                       bool
	NodeGracePeriod, NodeStartupGracePeriod time.Duration
	NodeMonitorPeriod                       time.Duration
	NodeEvictionRate                        float32
	SecondEvictionRate                      float32
	LargeCluster                            int
	UnhealthyZone                           float32
	SigningCert                             string
	SigningKey                              string
	SigningDuration                         time.Duration
	RootCA                                  string
	ServiceAccountKey                       string
	TerminatedPods                          int
	ClusterName                             string
}

// Defaults are upstream's, but for the service accounts: each controller acts as its own.
func Defaults() Config {
	return Config{
		Client:           client.Config{Component: "kube-controller-manager"},
		Leader:           leader.Defaults("kube-controller-manager"),
		Health:           health.Config{BindAddress: "127.0.0.1", Port: 10257, Component: "kube-controller-manager"},
		Controllers:      []string{"*"},
		ServiceAccounts:  true,
		ClusterCIDR:      "10.244.0.0/16",
		ServiceCIDR:      "10.96.0.0/16",
		NodeCIDRMaskSize: 24, NodeCIDRMaskSizeV6: 64,
		AllocateNodeCIDRs: true,
		NodeGracePeriod:   40 * time.Second, NodeStartupGracePeriod: time.Minute, NodeMonitorPeriod: 5 * time.Second,
		NodeEvictionRate: 0.1, SecondEvictionRate: 0.01, LargeCluster: 50, UnhealthyZone: 0.55,
		SigningDuration: 365 * 24 * time.Hour,
		TerminatedPods:  12500,
		ClusterName:     "kubernetes",
	}
}

// AddFlags declares upstream's flags.
func (c *Config) AddFlags(flags *pflag.FlagSet) {
	c.Client.AddFlags(flags)
	c.Leader.AddFlags(flags)
	c.Health.AddFlags(flags)
	flags.StringSliceVar(&c.Controllers, "controllers", c.Controllers, "controllers to run: names, * for all that are on by default, -name to leave one out")
	flags.BoolVar(&c.ServiceAccounts, "use-service-account-credentials", c.ServiceAccounts, "let each controller act as its own service account")
	flags.StringVar(&c.ClusterCIDR, "cluster-cidr", c.ClusterCIDR, "address ranges of pods, comma separated")
	flags.StringVar(&c.ServiceCIDR, "service-cluster-ip-range", c.ServiceCIDR, "address ranges of services, comma separated")
	flags.IntVar(&c.NodeCIDRMaskSize, "node-cidr-mask-size", c.NodeCIDRMaskSize, "mask size of a node's IPv4 range")
	flags.IntVar(&c.NodeCIDRMaskSize, "node-cidr-mask-size-ipv4", c.NodeCIDRMaskSize, "mask size of a node's IPv4 range")
	flags.IntVar(&c.NodeCIDRMaskSizeV6, "node-cidr-mask-size-ipv6", c.NodeCIDRMaskSizeV6, "mask size of a node's IPv6 range")
	flags.BoolVar(&c.AllocateNodeCIDRs, "allocate-node-cidrs", c.AllocateNodeCIDRs, "give each node a range of pod addresses")
	flags.DurationVar(&c.NodeGracePeriod, "node-monitor-grace-period", c.NodeGracePeriod, "how long a node may be silent before it counts as unreachable")
	flags.DurationVar(&c.NodeStartupGracePeriod, "node-startup-grace-period", c.NodeStartupGracePeriod, "the same for a node that has never said anything")
	flags.DurationVar(&c.NodeMonitorPeriod, "node-monitor-period", c.NodeMonitorPeriod, "accepted for start scripts of upstream; nodes are watched, not looked at from time to time")
	flags.Float32Var(&c.NodeEvictionRate, "node-eviction-rate", c.NodeEvictionRate, "nodes a second whose pods are evicted, in a healthy zone")
	flags.Float32Var(&c.SecondEvictionRate, "secondary-node-eviction-rate", c.SecondEvictionRate, "nodes a second whose pods are evicted, in an unhealthy zone")
	flags.IntVar(&c.LargeCluster, "large-cluster-size-threshold", c.LargeCluster, "nodes from which on an unhealthy zone is evicted slowly; in smaller ones not at all")
	flags.Float32Var(&c.UnhealthyZone, "unhealthy-zone-threshold", c.UnhealthyZone, "share of nodes not ready from which on a zone is unhealthy")
	flags.StringVar(&c.SigningCert, "cluster-signing-cert-file", c.SigningCert, "certificate of the authority that signs certificate requests")
	flags.StringVar(&c.SigningKey, "cluster-signing-key-file", c.SigningKey, "key of the authority that signs certificate requests")
	flags.DurationVar(&c.SigningDuration, "cluster-signing-duration", c.SigningDuration, "longest life of a signed certificate")
	flags.StringVar(&c.RootCA, "root-ca-file", c.RootCA, "certificate authority that is published in every namespace")
	flags.StringVar(&c.ServiceAccountKey, "service-account-private-key-file", c.ServiceAccountKey, "key that signs tokens in secrets of service accounts")
	flags.IntVar(&c.TerminatedPods, "terminated-pod-gc-threshold", c.TerminatedPods, "ended pods that are kept; 0 or less keeps all")
	flags.StringVar(&c.ClusterName, "cluster-name", c.ClusterName, "name of the cluster")
	for _, name := range []string{"authentication-kubeconfig", "authorization-kubeconfig", "client-ca-file", "requestheader-client-ca-file"} {
		flags.String(name, "", "accepted for start scripts of upstream; callers are always asked about at the API server of --kubeconfig")
		_ = flags.MarkHidden(name)
	}
}
