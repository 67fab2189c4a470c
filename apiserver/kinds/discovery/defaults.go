package discovery

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/fill"
)

func defaultEndpointSlice(s *discoveryv1.EndpointSlice) {
	for i := range s.Ports {
		fill.Nil(&s.Ports[i].Name, "")
		fill.Nil(&s.Ports[i].Protocol, corev1.ProtocolTCP)
	}
}
