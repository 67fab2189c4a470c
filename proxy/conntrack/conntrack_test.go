package conntrack

import (
	"fmt"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/proxy/rules"
)

func dns(protocol corev1.Protocol, endpoints ...string) []*rules.Port {
	p := &rules.Port{Name: "dns", Protocol: protocol, ClusterIP: netip.MustParseAddr("10.96.0.10"), Port: 53}
	for _, e := range endpoints {
		p.Cluster = append(p.Cluster, rules.Endpoint{Addr: netip.MustParseAddrPort(e)})
	}
	return []*rules.Port{p}
}

func TestStale(t *testing.T) {
	for _, test := range []struct {
		name     string
		old, new []*rules.Port
		want     string
	}{
		{"TCP looks after itself", dns(corev1.ProtocolTCP, "10.0.0.1:53"), nil, "[]"},
		{"endpoint that is gone", dns(corev1.ProtocolUDP, "10.0.0.1:53", "10.0.0.2:53"), dns(corev1.ProtocolUDP, "10.0.0.2:53"), "[{10.96.0.10 53 10.0.0.1:53}]"},
		{"service that is gone", dns(corev1.ProtocolUDP, "10.0.0.1:53"), nil, "[{10.96.0.10 53 10.0.0.1:53}]"},
		{"first endpoint: flows that went nowhere", dns(corev1.ProtocolUDP), dns(corev1.ProtocolUDP, "10.0.0.1:53"), "[{10.96.0.10 53 invalid AddrPort}]"},
		{"one more endpoint", dns(corev1.ProtocolUDP, "10.0.0.1:53"), dns(corev1.ProtocolUDP, "10.0.0.1:53", "10.0.0.2:53"), "[]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := fmt.Sprint(Stale(test.old, test.new)); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
