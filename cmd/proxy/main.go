// Command proxy makes Services reachable on the node it runs on. It takes kube-proxy's place: flags carry its names.
package main

import (
	"fmt"
	"net/netip"
	"os"

	"github.com/spf13/cobra"

	"github.com/skiff-project/skiff/pkg/client"
	"github.com/skiff-project/skiff/pkg/run"
	"github.com/skiff-project/skiff/proxy"
)

func main() {
	run.Lean()
	api := client.Config{Component: "proxy"}
	config := proxy.Config{HealthAddress: "0.0.0.0:10256", MetricsAddress: "127.0.0.1:10249"}
	var mode string
	var clusterCIDRs, serviceCIDRs []string
	cmd := &cobra.Command{
		Use:   "proxy",
		Short: "Makes Services reachable on this node.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if mode != "iptables" {
				return fmt.Errorf("--proxy-mode=%s: only iptables is supported", mode)
			}
			var err error
			if config.ClusterCIDRs, err = prefixes("cluster-cidr", clusterCIDRs); err != nil {
				return err
			}
			if config.ServiceCIDRs, err = prefixes("service-cluster-ip-range", serviceCIDRs); err != nil {
				return err
			}
			if config.API, err = client.Load(api); err != nil {
				return err
			}
			p, err := proxy.New(config)
			if err != nil {
				return err
			}
			return p.Run(cmd.Context())
		},
	}
	host, _ := os.Hostname() // without one the flag has to be given, which New says
	api.AddFlags(cmd.Flags())
	f := cmd.Flags()
	f.StringVar(&config.NodeName, "hostname-override", host, "name of the node")
	f.StringVar(&mode, "proxy-mode", "iptables", "how rules are applied")
	f.StringSliceVar(&clusterCIDRs, "cluster-cidr", nil, "addresses of pods; traffic to services from elsewhere is masqueraded")
	f.StringSliceVar(&serviceCIDRs, "service-cluster-ip-range", nil, "addresses of services; what goes there and finds no service is refused on the node")
	f.BoolVar(&config.MasqueradeAll, "masquerade-all", false, "masquerade all traffic to services")
	f.StringVar(&config.HealthAddress, "healthz-bind-address", config.HealthAddress, "where /healthz is served; empty: nowhere")
	f.StringVar(&config.MetricsAddress, "metrics-bind-address", config.MetricsAddress, "where /metrics is served; empty: nowhere")
	run.Main(cmd)
}

func prefixes(flag string, list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", flag, err)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}
