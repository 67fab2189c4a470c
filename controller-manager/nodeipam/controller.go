package nodeipam

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/record"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// Config is what there is to give.
type Config struct {
	// ClusterCIDRs and ServiceCIDRs are comma separated ranges, one of each address family at most.
	ClusterCIDRs, ServiceCIDRs string
	// MaskV4 and MaskV6 are the sizes of a node's ranges.
	MaskV4, MaskV6 int
}

// Controller gives ranges to nodes.
type Controller struct {
	env    control.Env
	events record.EventRecorder
	nodes  corelisters.NodeLister
	pools  []pool
	loop   *control.Loop
	// given are ranges that were written but that the cache does not show yet. The loop has one worker, which owns it.
	given map[string][]netip.Prefix
}

// New answers the controller, or why the ranges cannot be used.
func New(env control.Env, config Config) (*Controller, error) {
	cluster, err := ParsePrefixes(config.ClusterCIDRs)
	if err != nil {
		return nil, fmt.Errorf("--cluster-cidr: %w", err)
	}
	if len(cluster) == 0 {
		return nil, fmt.Errorf("--cluster-cidr is empty")
	}
	services, err := ParsePrefixes(config.ServiceCIDRs)
	if err != nil {
		return nil, fmt.Errorf("--service-cluster-ip-range: %w", err)
	}
	nodes := env.Informers.Core().V1().Nodes()
	c := &Controller{env: env, events: env.Events("cidrAllocator"), nodes: nodes.Lister(), given: map[string][]netip.Prefix{}}
	for _, r := range cluster {
		bits := config.MaskV4
		if r.Addr().Is6() {
			bits = config.MaskV6
		}
		p, err := newPool(r, bits, services)
		if err != nil {
			return nil, fmt.Errorf("--cluster-cidr: %w", err)
		}
		c.pools = append(c.pools, p)
	}
	c.loop = control.NewLoop(env, "node-controller", 1, c.reconcile)
	control.Watch(c.loop, nodes.Informer(), control.Self[*corev1.Node])
	return c, nil
}

// Run gives ranges until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// ParsePrefixes reads a comma separated list of address ranges.
func ParsePrefixes(list string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, item := range strings.Split(list, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		prefix, err := netip.ParsePrefix(item)
		if err != nil {
			return nil, err
		}
		all = append(all, prefix.Masked())
	}
	return all, nil
}
