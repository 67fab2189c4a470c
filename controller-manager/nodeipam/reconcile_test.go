package nodeipam

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

func TestPlan(t *testing.T) {
	tests := []struct {
		name  string
		whole string
		bits  int
		avoid []netip.Prefix
		used  []netip.Prefix
		want  string
	}{
		{name: "the first", whole: "10.244.0.0/16", bits: 24, want: "10.244.0.0/24"},
		{name: "the first that is free", whole: "10.244.0.0/16", bits: 24, used: prefixes("10.244.0.0/24", "10.244.2.0/24"), want: "10.244.1.0/24"},
		{name: "a larger range covers several", whole: "10.244.0.0/16", bits: 24, used: prefixes("10.244.0.0/23"), want: "10.244.2.0/24"},
		{name: "a smaller one covers its own", whole: "10.244.0.0/16", bits: 24, used: prefixes("10.244.0.128/25"), want: "10.244.1.0/24"},
		{name: "not where services are", whole: "10.244.0.0/16", bits: 24, avoid: prefixes("10.244.0.0/20"), want: "10.244.16.0/24"},
		{name: "none is left", whole: "10.244.0.0/23", bits: 24, used: prefixes("10.244.0.0/24", "10.244.1.0/24")},
		{name: "all of it is used", whole: "10.244.0.0/24", bits: 26, used: prefixes("10.0.0.0/8")},
		{name: "the other family is none of its business", whole: "10.244.0.0/16", bits: 24, used: prefixes("fd00::/8"), want: "10.244.0.0/24"},
		{name: "IPv6", whole: "fd00:10:244::/56", bits: 64, used: prefixes("fd00:10:244::/64"), want: "fd00:10:244:1::/64"},
		{name: "IPv6, parts across the middle", whole: "fd00::/60", bits: 72, used: prefixes("fd00::/65"), want: "fd00:0:0:0:8000::/72"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := newPool(netip.MustParsePrefix(tt.whole), tt.bits, tt.avoid)
			if err != nil {
				t.Fatal(err)
			}
			got, err := plan([]pool{p}, tt.used)
			switch {
			case tt.want == "" && err == nil:
				t.Errorf("got %v", got)
			case tt.want != "" && (err != nil || got[0] != netip.MustParsePrefix(tt.want)):
				t.Errorf("got %v (%v), want %s", got, err, tt.want)
			}
		})
	}
}

func TestPoolsThatMakeNoSense(t *testing.T) {
	for whole, bits := range map[string]int{"10.0.0.0/24": 16, "10.0.0.0/8": 30, "10.1.0.0/16": 33} {
		if _, err := newPool(netip.MustParsePrefix(whole), bits, nil); err == nil {
			t.Errorf("%s in parts of /%d was accepted", whole, bits)
		}
	}
}

func TestUsed(t *testing.T) {
	nodes := []*corev1.Node{{Spec: corev1.NodeSpec{PodCIDR: "10.0.0.0/24", PodCIDRs: []string{"10.0.0.0/24", "fd00::/64"}}}, {}}
	if got := used(nodes, map[string][]netip.Prefix{"new": prefixes("10.0.1.0/24")}); len(got) != 4 {
		t.Errorf("used %v", got)
	}
}
