package admission

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func pod(change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}}
	for _, f := range change {
		f(p)
	}
	return p
}

func wants(name corev1.ResourceName, q string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{name: resource.MustParse(q)}
	}
}

func opens(port int32, ip string, protocol corev1.Protocol) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: port, HostIP: ip, Protocol: protocol}}
	}
}

func TestCheck(t *testing.T) {
	node := func(change ...func(*corev1.Node)) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"zone": "a"}}}
		n.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("1Gi"), corev1.ResourcePods: resource.MustParse("2")}
		for _, f := range change {
			f(n)
		}
		return n
	}
	tainted := func(effect corev1.TaintEffect) func(*corev1.Node) {
		return func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "k", Value: "v", Effect: effect}} }
	}
	tests := []struct {
		name   string
		pod    *corev1.Pod
		node   *corev1.Node
		others []*corev1.Pod
		want   Refusal
	}{
		{name: "fits", pod: pod(wants("cpu", "1")), others: []*corev1.Pod{pod(wants("cpu", "1"))}},
		{name: "too much cpu", pod: pod(wants("cpu", "1500m")), others: []*corev1.Pod{pod(wants("cpu", "1"))},
			want: Refusal{"OutOfcpu", "Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000"}},
		{name: "too much memory", pod: pod(wants("memory", "2Gi")),
			want: Refusal{"OutOfmemory", "Node didn't have enough resource: memory, requested: 2147483648, used: 0, capacity: 1073741824"}},
		{name: "too many pods", pod: pod(), others: []*corev1.Pod{pod(), pod()}, want: Refusal{"OutOfpods", "Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2"}},
		{name: "a resource of the cluster", pod: pod(wants("example.com/gpu", "1"))},
		{name: "a port that is taken", pod: pod(opens(80, "", "")), others: []*corev1.Pod{pod(opens(80, "10.0.0.1", "TCP"))},
			want: Refusal{"NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"}},
		{name: "the same port of another address", pod: pod(opens(80, "10.0.0.2", "")), others: []*corev1.Pod{pod(opens(80, "10.0.0.1", "TCP"))}},
		{name: "the same port of another protocol", pod: pod(opens(80, "", "UDP")), others: []*corev1.Pod{pod(opens(80, "", "TCP"))}},
		{name: "another zone", pod: pod(func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"zone": "b"} }),
			want: Refusal{"NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"}},
		{name: "a taint that keeps new pods away", pod: pod(), node: node(tainted(corev1.TaintEffectNoSchedule))},
		{name: "a taint that ends pods", pod: pod(), node: node(tainted(corev1.TaintEffectNoExecute)),
			want: Refusal{"TaintToleration", "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"}},
		{name: "a taint that the pod bears", pod: pod(func(p *corev1.Pod) {
			p.Spec.Tolerations = []corev1.Toleration{{Key: "k", Operator: corev1.TolerationOpEqual, Value: "v"}}
		}), node: node(tainted(corev1.TaintEffectNoExecute))},
		{name: "a system of another kind", pod: pod(func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }),
			want: Refusal{"PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"}},
		{name: "a sysctl that harms others", pod: pod(func(p *corev1.Pod) {
			p.Spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "kernel.msgmax", Value: "1"}}}
		}), want: Refusal{"SysctlForbidden", `forbidden sysctl: "kernel.msgmax" not allowlisted`}},
		{name: "a sysctl of the pod's own", pod: pod(func(p *corev1.Pod) {
			p.Spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "kernel.shm_rmid_forced", Value: "1"}}}
		})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := tt.node
			if n == nil {
				n = node()
			}
			var got Refusal
			if r := Check(tt.pod, n, tt.others); r != nil {
				got = *r
			}
			if got != tt.want {
				t.Errorf("got %+v\nwant %+v", got, tt.want)
			}
		})
	}
}
