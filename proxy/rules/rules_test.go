package rules

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var here = Node{Name: "here", Zone: "z1"}

func service(change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: corev1.ServiceSpec{
		ClusterIP: "10.96.0.10", ClusterIPs: []string{"10.96.0.10"},
		Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080), Protocol: corev1.ProtocolTCP}},
	}}
	if change != nil {
		change(s)
	}
	return s
}

// endpoint is written "ip@node", followed by any of "unready", "serving", "terminating", "zone=Z", "for=NODE".
func slice(endpoints ...string) *discoveryv1.EndpointSlice {
	name, port := "http", int32(8080)
	s := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port}}}
	for _, text := range endpoints {
		words := strings.Fields(text)
		ip, node, _ := strings.Cut(words[0], "@")
		e := discoveryv1.Endpoint{Addresses: []string{ip}, NodeName: &node}
		yes, no := true, false
		for _, w := range words[1:] {
			switch key, value, _ := strings.Cut(w, "="); key {
			case "unready":
				e.Conditions.Ready = &no
			case "serving":
				e.Conditions.Serving = &yes
			case "terminating":
				e.Conditions.Terminating = &yes
			case "zone":
				e.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: value}}}
			case "for":
				e.Hints = &discoveryv1.EndpointHints{ForNodes: []discoveryv1.ForNode{{Name: value}}}
			}
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}

func text(ports []*Port) string {
	var out []string
	for _, p := range ports {
		s := fmt.Sprintf("%s:%d", p.ClusterIP, p.Port)
		for _, e := range p.Cluster {
			s += " " + e.Addr.Addr().String()
		}
		s += " |"
		for _, e := range p.Local {
			s += " " + e.Addr.Addr().String()
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

// The wanted text is "clusterIP:port cluster endpoints | local endpoints".
func TestCompute(t *testing.T) {
	for _, test := range []struct {
		name   string
		svc    *corev1.Service
		slices []*discoveryv1.EndpointSlice
		want   string
	}{
		{"no service", nil, nil, ""},
		{"headless service has no rules", service(func(s *corev1.Service) { s.Spec.ClusterIP = "None" }), []*discoveryv1.EndpointSlice{slice("10.0.0.1@here")}, ""},
		{"external name has no rules", service(func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName }), nil, ""},
		{"service of another proxy", service(func(s *corev1.Service) {
			s.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": "x"}
		}), nil, ""},
		{"no endpoints", service(nil), nil, "10.96.0.10:80 |"},
		{"local endpoints are both", service(nil), []*discoveryv1.EndpointSlice{slice("10.0.0.2@there", "10.0.0.1@here")}, "10.96.0.10:80 10.0.0.1 10.0.0.2 | 10.0.0.1"},
		{"unready endpoints are left out", service(nil), []*discoveryv1.EndpointSlice{slice("10.0.0.1@here unready", "10.0.0.2@there")}, "10.96.0.10:80 10.0.0.2 |"},
		{"terminating endpoints serve when nobody else does", service(nil), []*discoveryv1.EndpointSlice{slice("10.0.0.1@here unready serving terminating")}, "10.96.0.10:80 10.0.0.1 | 10.0.0.1"},
		{"the last local one serves local traffic while it ends", service(nil), []*discoveryv1.EndpointSlice{slice("10.0.0.1@here unready serving terminating", "10.0.0.2@there")}, "10.96.0.10:80 10.0.0.2 | 10.0.0.1"},
		{"hand-made slices add up", service(nil), []*discoveryv1.EndpointSlice{slice("10.0.0.1@here"), slice("10.0.0.3@there")}, "10.96.0.10:80 10.0.0.1 10.0.0.3 | 10.0.0.1"},
		{"an address in two slices counts once, in its better state", service(nil), []*discoveryv1.EndpointSlice{slice("10.0.0.1@here unready"), slice("10.0.0.1@here")}, "10.96.0.10:80 10.0.0.1 | 10.0.0.1"},
		{"hints keep traffic in the zone", service(nil), []*discoveryv1.EndpointSlice{slice("10.0.0.1@a zone=z1", "10.0.0.2@b zone=z2")}, "10.96.0.10:80 10.0.0.1 |"},
		{"hints for the node beat those for the zone", service(nil), []*discoveryv1.EndpointSlice{slice("10.0.0.1@a for=here", "10.0.0.2@b for=there")}, "10.96.0.10:80 10.0.0.1 |"},
		{"hints that some lack are no hints", service(nil), []*discoveryv1.EndpointSlice{slice("10.0.0.1@a zone=z1", "10.0.0.2@b")}, "10.96.0.10:80 10.0.0.1 10.0.0.2 |"},
		{"hints with nobody here are no hints", service(nil), []*discoveryv1.EndpointSlice{slice("10.0.0.2@b zone=z2")}, "10.96.0.10:80 10.0.0.2 |"},
		{"another port's slice is not ours", service(func(s *corev1.Service) { s.Spec.Ports[0].Name = "metrics" }), []*discoveryv1.EndpointSlice{slice("10.0.0.1@here")}, "10.96.0.10:80 |"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := text(Compute(test.svc, test.slices, here, corev1.IPv4Protocol)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestOutsideAddresses(t *testing.T) {
	p := Compute(service(func(s *corev1.Service) {
		proxyMode := corev1.LoadBalancerIPModeProxy
		s.Spec.Type, s.Spec.ExternalTrafficPolicy = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal
		s.Spec.Ports[0].NodePort, s.Spec.HealthCheckNodePort = 30080, 32000
		s.Spec.ExternalIPs = []string{"1.2.3.4", "fd00::1"}
		s.Spec.LoadBalancerSourceRanges = []string{"10.1.2.3/8"}
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "5.6.7.8"}, {IP: "5.6.7.9", IPMode: &proxyMode}}
	}), nil, here, corev1.IPv4Protocol)[0]
	got := fmt.Sprint(p.NodePort, p.External, p.Balancer, p.SourceRanges, p.HealthPort, p.AffinitySeconds, p.LocalOnlyExternal, p.LocalOnlyInternal)
	if want := "30080 [1.2.3.4] [5.6.7.8] [10.0.0.0/8] 32000 10800 true false"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
