package discovery

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func slice(family discoveryv1.AddressType, addresses ...string) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "n", ResourceVersion: "1", Generation: 3},
		AddressType: family, Endpoints: []discoveryv1.Endpoint{{Addresses: addresses}}}
}

func TestAddressesAreOfTheirFamily(t *testing.T) {
	for _, c := range []struct {
		name string
		s    *discoveryv1.EndpointSlice
		want string
	}{
		{name: "an address of the family", s: slice(discoveryv1.AddressTypeIPv4, "10.1.2.3")},
		{name: "one of the other family", s: slice(discoveryv1.AddressTypeIPv4, "2001:db8::1"), want: "must be an IPv4 address"},
		{name: "one that means each machine itself", s: slice(discoveryv1.AddressTypeIPv6, "::1"), want: "may not be in the loopback range"},
		{name: "a name", s: slice(discoveryv1.AddressTypeFQDN, "db.example.com")},
		{name: "none", s: slice(discoveryv1.AddressTypeIPv4), want: "endpoints[0].addresses: Required value"},
		{name: "no family", s: slice("", "10.1.2.3"), want: "addressType: Required value"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := EndpointSlice.Validate(nil, c.s).ToAggregate()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("have %v, want %q", err, c.want)
			}
		})
	}
}

func TestUpdatesOfSlices(t *testing.T) {
	old := slice(discoveryv1.AddressTypeIPv4, "127.0.0.1")
	t.Run("what older rules took may stay", func(t *testing.T) {
		if errs := EndpointSlice.ValidateUpdate(nil, old.DeepCopy(), old); len(errs) > 0 {
			t.Error(errs)
		}
	})
	t.Run("the family never changes", func(t *testing.T) {
		s := old.DeepCopy()
		s.AddressType = discoveryv1.AddressTypeFQDN
		if errs := EndpointSlice.ValidateUpdate(nil, s, old); len(errs) != 1 || errs[0].Error() != "addressType: Invalid value: null: field is immutable" {
			t.Error(errs)
		}
	})
	t.Run("labels count as content and annotations do not", func(t *testing.T) {
		s := old.DeepCopy()
		s.Annotations = map[string]string{"a": "b"}
		EndpointSlice.PrepareUpdate(nil, s, old)
		if s.Generation != 3 {
			t.Errorf("annotation: generation %d", s.Generation)
		}
		s.Labels = map[string]string{discoveryv1.LabelServiceName: "web"}
		EndpointSlice.PrepareUpdate(nil, s, old)
		if s.Generation != 4 {
			t.Errorf("label: generation %d", s.Generation)
		}
	})
	t.Run("a node named by an old topology label becomes the node name", func(t *testing.T) {
		old := old.DeepCopy()
		old.Endpoints[0].DeprecatedTopology = map[string]string{corev1.LabelHostname: "node-a"}
		s := old.DeepCopy()
		s.Endpoints[0].Addresses = []string{"10.0.0.1"}
		EndpointSlice.PrepareUpdate(nil, s, old)
		if e := s.Endpoints[0]; e.NodeName == nil || *e.NodeName != "node-a" || e.DeprecatedTopology != nil {
			t.Errorf("have %+v", e)
		}
	})
}
