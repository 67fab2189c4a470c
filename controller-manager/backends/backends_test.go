package backends

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

func TestPort(t *testing.T) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{
		Containers:     []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}, {Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP}}}},
		InitContainers: []corev1.Container{{RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways), Ports: []corev1.ContainerPort{{Name: "side", ContainerPort: 9, Protocol: corev1.ProtocolTCP}}}, {Ports: []corev1.ContainerPort{{Name: "init", ContainerPort: 7, Protocol: corev1.ProtocolTCP}}}},
	}}
	tests := []struct {
		name   string
		target intstr.IntOrString
		want   int32
		bad    bool
	}{
		{name: "a number is itself", target: intstr.FromInt32(1234), want: 1234},
		{name: "a name is the container's", target: intstr.FromString("web"), want: 8080},
		{name: "of the same protocol", target: intstr.FromString("dns"), bad: true},
		{name: "side cars have ports too", target: intstr.FromString("side"), want: 9},
		{name: "init containers are over by then", target: intstr.FromString("init"), bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Port(pod, &corev1.ServicePort{Protocol: corev1.ProtocolTCP, TargetPort: tt.target})
			if got != tt.want || (err != nil) != tt.bad {
				t.Errorf("%d, %v", got, err)
			}
		})
	}
}

func TestHostname(t *testing.T) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{Hostname: "a", Subdomain: "web"}}
	service := &corev1.Service{}
	if got := Hostname(pod, service); got != "" {
		t.Errorf("of another subdomain: %q", got)
	}
	service.Name = "web"
	if got := Hostname(pod, service); got != "a" {
		t.Errorf("%q", got)
	}
}
