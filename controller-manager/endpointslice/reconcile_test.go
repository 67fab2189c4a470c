package endpointslice

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

func service(changes ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "ns", Labels: map[string]string{"team": "blue"}}, Spec: corev1.ServiceSpec{
		ClusterIP: "10.96.0.9", IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, Selector: map[string]string{"app": "web"},
		Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromString("web")}},
	}}
	for _, change := range changes {
		change(s)
	}
	return s
}

func pod(name, ip string, ready bool, changes ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns"}, Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}}}}}}
	if ip != "" {
		p.Status.PodIPs = []corev1.PodIP{{IP: ip}}
	}
	p.Status.Phase = corev1.PodRunning
	if ready {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	for _, change := range changes {
		change(p)
	}
	return p
}

func zone(string) string { return "z1" }

func TestGroups(t *testing.T) {
	dying := func(p *corev1.Pod) { p.DeletionTimestamp = ptr.To(metav1.NewTime(time.Now())) }
	tests := []struct {
		name                        string
		service                     *corev1.Service
		pod                         *corev1.Pod
		none                        bool
		ready, serving, terminating bool
	}{
		{name: "ready", service: service(), pod: pod("a", "10.0.0.1", true), ready: true, serving: true},
		{name: "not ready is there, and says so", service: service(), pod: pod("a", "10.0.0.1", false)},
		{name: "published although not ready", service: service(func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true }), pod: pod("a", "10.0.0.1", false), ready: true},
		{name: "terminating may still serve", service: service(), pod: pod("a", "10.0.0.1", true, dying), serving: true, terminating: true},
		{name: "no address yet", service: service(), pod: pod("a", "", true), none: true},
		{name: "ended", service: service(), pod: pod("a", "10.0.0.1", true, func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }), none: true},
		{name: "the other family", service: service(), pod: pod("a", "fd00::1", true), none: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			all := groups(tt.service, []*corev1.Pod{tt.pod}, zone)
			if len(all) != 1 {
				t.Fatalf("%d groups", len(all))
			}
			if tt.none {
				if len(all[0].Endpoints) != 0 {
					t.Errorf("endpoints %+v", all[0].Endpoints)
				}
				return
			}
			e := all[0].Endpoints[0]
			if *e.Conditions.Ready != tt.ready || *e.Conditions.Serving != tt.serving || *e.Conditions.Terminating != tt.terminating || *e.Zone != "z1" || *e.NodeName != "n1" {
				t.Errorf("endpoint %+v %v %v %v", e, *e.Conditions.Ready, *e.Conditions.Serving, *e.Conditions.Terminating)
			}
			if *all[0].Ports[0].Port != 8080 {
				t.Errorf("port %d", *all[0].Ports[0].Port)
			}
		})
	}
}

func TestPortsDifferByPod(t *testing.T) {
	other := pod("b", "10.0.0.2", true, func(p *corev1.Pod) { p.Spec.Containers[0].Ports[0].ContainerPort = 9090 })
	if all := groups(service(), []*corev1.Pod{pod("a", "10.0.0.1", true), other}, zone); len(all) != 2 {
		t.Errorf("%d groups, want one for each port number", len(all))
	}
}

func TestHints(t *testing.T) {
	close := service(func(s *corev1.Service) {
		s.Spec.TrafficDistribution = ptr.To(corev1.ServiceTrafficDistributionPreferClose)
	})
	e := groups(close, []*corev1.Pod{pod("a", "10.0.0.1", true)}, zone)[0].Endpoints[0]
	if e.Hints == nil || e.Hints.ForZones[0].Name != "z1" {
		t.Errorf("hints %+v", e.Hints)
	}
	if e := groups(service(), []*corev1.Pod{pod("a", "10.0.0.1", true)}, zone)[0].Endpoints[0]; e.Hints != nil {
		t.Errorf("nobody asked for hints: %+v", e.Hints)
	}
}

func TestTemplate(t *testing.T) {
	headless := template(service(func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }), nil)
	if headless.Labels["team"] != "blue" || headless.Labels[discoveryv1.LabelServiceName] != "web" || headless.Labels[discoveryv1.LabelManagedBy] != managedBy || headless.GenerateName != "web-" {
		t.Errorf("template %+v", headless.ObjectMeta)
	}
	if _, ok := headless.Labels[corev1.IsHeadlessService]; !ok {
		t.Error("not marked as headless")
	}
	if _, ok := template(service(), nil).Labels[corev1.IsHeadlessService]; ok {
		t.Error("marked as headless")
	}
}
