package servicecidrs

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestNeeded(t *testing.T) {
	cidr := func(name string, cidrs ...string) *networkingv1.ServiceCIDR {
		return &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: cidrs}}
	}
	a := cidr("a", "10.1.0.0/24")
	ip := []*networkingv1.IPAddress{{ObjectMeta: metav1.ObjectMeta{Name: "10.1.0.7"}}}
	tests := []struct {
		name      string
		others    []*networkingv1.ServiceCIDR
		addresses []*networkingv1.IPAddress
		want      bool
	}{
		{name: "no address in it"},
		{name: "an address in it", addresses: ip, want: true},
		{name: "a larger range has the address too", others: []*networkingv1.ServiceCIDR{cidr("b", "10.0.0.0/8")}, addresses: ip},
		{name: "a range beside it does not", others: []*networkingv1.ServiceCIDR{cidr("b", "10.1.1.0/24")}, addresses: ip, want: true},
		{name: "an address elsewhere", addresses: []*networkingv1.IPAddress{{ObjectMeta: metav1.ObjectMeta{Name: "10.9.0.7"}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := needed(a, append(tt.others, a), tt.addresses); got != tt.want {
				t.Errorf("needed: %v", got)
			}
		})
	}
}
