package endpointslicemirroring

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestGroups(t *testing.T) {
	e := &corev1.Endpoints{Subsets: []corev1.EndpointSubset{{
		Addresses: []corev1.EndpointAddress{{IP: "10.0.0.1", Hostname: "a"}, {IP: "nonsense"}}, NotReadyAddresses: []corev1.EndpointAddress{{IP: "fd00::1"}},
		Ports: []corev1.EndpointPort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}},
	}}}
	all, skipped := groups(e)
	if len(all) != 2 || skipped != 1 || all[0].Type != discoveryv1.AddressTypeIPv4 || !*all[0].Endpoints[0].Conditions.Ready || *all[0].Endpoints[0].Hostname != "a" || *all[1].Endpoints[0].Conditions.Ready {
		t.Errorf("groups %+v, skipped %d", all, skipped)
	}
}

func TestTemplate(t *testing.T) {
	e := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: map[string]string{"team": "blue"}, Annotations: map[string]string{"note": "x", corev1.LastAppliedConfigAnnotation: "{}"}}}
	s := template(e)
	if s.Labels["team"] != "blue" || s.Labels[discoveryv1.LabelManagedBy] != managedBy || s.Annotations["note"] != "x" || len(s.Annotations) != 1 || s.OwnerReferences[0].Kind != "Endpoints" {
		t.Errorf("template %+v", s.ObjectMeta)
	}
	if len(e.Labels) != 1 || len(e.Annotations) != 2 {
		t.Error("the cached object was changed")
	}
}
