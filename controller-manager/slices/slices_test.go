package slices

import (
	"fmt"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

func endpoints(from, to int) (all []discoveryv1.Endpoint) {
	for i := from; i < to; i++ {
		all = append(all, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.0.%d.%d", i/250, i%250)}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)}})
	}
	return all
}

func ports(n int32) []discoveryv1.EndpointPort {
	return []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: &n}}
}

func group(port int32, e []discoveryv1.Endpoint) []Group {
	return []Group{{Type: discoveryv1.AddressTypeIPv4, Ports: ports(port), Endpoints: e}}
}

func slice(name string, port int32, e []discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Labels: map[string]string{"a": "b"}}, AddressType: discoveryv1.AddressTypeIPv4, Ports: ports(port), Endpoints: e}
}

func empty() *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{GenerateName: "svc-", Labels: map[string]string{"a": "b"}}}
}

func TestPlan(t *testing.T) {
	gone := append(endpoints(0, 50), endpoints(51, 100)...)
	tests := []struct {
		name                   string
		existing               []*discoveryv1.EndpointSlice
		groups                 []Group
		create, update, remove int
	}{
		{name: "nothing yet: one for each hundred", groups: group(80, endpoints(0, 250)), create: 3},
		{name: "no endpoints: an empty one", groups: group(80, nil), create: 1},
		{name: "as it should be", existing: []*discoveryv1.EndpointSlice{slice("a", 80, endpoints(0, 10))}, groups: group(80, endpoints(0, 10))},
		{name: "one more goes where there is room", existing: []*discoveryv1.EndpointSlice{slice("a", 80, endpoints(0, 100)), slice("b", 80, endpoints(100, 150))}, groups: group(80, endpoints(0, 151)), update: 1},
		{name: "one less touches one slice", existing: []*discoveryv1.EndpointSlice{slice("a", 80, endpoints(0, 100)), slice("b", 80, endpoints(100, 150))}, groups: group(80, append(gone, endpoints(100, 150)...)), update: 1},
		{name: "a replaced one changes one slice", existing: []*discoveryv1.EndpointSlice{slice("a", 80, endpoints(0, 100)), slice("b", 80, endpoints(100, 150))}, groups: group(80, append(append([]discoveryv1.Endpoint(nil), gone...), append(endpoints(100, 150), endpoints(200, 201)...)...)), update: 1},
		{name: "an empty slice goes when there are others", existing: []*discoveryv1.EndpointSlice{slice("a", 80, endpoints(0, 100)), slice("b", 80, endpoints(100, 150))}, groups: group(80, endpoints(0, 100)), remove: 1},
		{name: "the last one stays, empty", existing: []*discoveryv1.EndpointSlice{slice("a", 80, endpoints(0, 5))}, groups: group(80, nil), update: 1},
		{name: "another port: the object is used again", existing: []*discoveryv1.EndpointSlice{slice("a", 80, endpoints(0, 5))}, groups: group(81, endpoints(0, 5)), update: 1},
		{name: "other labels", existing: []*discoveryv1.EndpointSlice{func() *discoveryv1.EndpointSlice { s := slice("a", 80, endpoints(0, 5)); s.Labels = nil; return s }()}, groups: group(80, endpoints(0, 5)), update: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			changes := Plan(tt.existing, tt.groups, empty, Full)
			if len(changes.Create) != tt.create || len(changes.Update) != tt.update || len(changes.Delete) != tt.remove {
				t.Errorf("create %d, update %d, delete %d; want %d, %d, %d", len(changes.Create), len(changes.Update), len(changes.Delete), tt.create, tt.update, tt.remove)
			}
			// Afterwards every endpoint is in exactly one slice.
			seen := map[string]int{}
			after := map[types.UID]*discoveryv1.EndpointSlice{}
			for _, s := range tt.existing {
				after[s.UID] = s
			}
			for _, s := range changes.Update {
				after[s.UID] = s
			}
			for _, s := range changes.Delete {
				delete(after, s.UID)
			}
			for i, s := range changes.Create {
				after[types.UID(fmt.Sprint("new", i))] = s
			}
			for _, s := range after {
				if len(s.Endpoints) > Full {
					t.Errorf("%d endpoints in a slice", len(s.Endpoints))
				}
				for _, e := range s.Endpoints {
					seen[endpointID(e)]++
				}
			}
			for _, e := range tt.groups[0].Endpoints {
				if seen[endpointID(e)] != 1 {
					t.Fatalf("%s is in %d slices", e.Addresses[0], seen[endpointID(e)])
				}
			}
			if len(seen) != len(tt.groups[0].Endpoints) {
				t.Errorf("%d endpoints are left, want %d", len(seen), len(tt.groups[0].Endpoints))
			}
		})
	}
}
