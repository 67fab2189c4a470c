package env

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestExpand(t *testing.T) {
	vars := map[string]string{"A": "a", "EMPTY": "", "odd-name.x": "o"}
	for in, want := range map[string]string{
		"": "", "plain": "plain", "$(A)": "a", "x$(A)y$(A)z": "xayaz", "$$(A)": "$(A)", "$$$(A)": "$a", "$$$$(A)": "$$(A)", "$(NOPE)": "$(NOPE)",
		"$(A": "$(A", "$A": "$A", "$": "$", "a$": "a$", "$(EMPTY)": "", "$(odd-name.x)": "o", "$()": "$()", "$($(A))": "$($(A))", "${A}": "${A}", "$(A)$": "a$", "é$(A)": "éa",
	} {
		if got := Expand(in, vars); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if _, missing := ExpandStrict("$(A)/$(B)/$$(C)/$(D)", vars); !slices.Equal(missing, []string{"B", "D"}) {
		t.Errorf("missing %q", missing)
	}
}

type sources map[string]map[string]string

func (s sources) ConfigMap(_, name string) (*corev1.ConfigMap, error) {
	if d, ok := s[name]; ok {
		return &corev1.ConfigMap{Data: d}, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "configmap"}, name)
}

func (s sources) Secret(_, name string) (*corev1.Secret, error) {
	d, ok := s[name]
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secret"}, name)
	}
	out := &corev1.Secret{Data: map[string][]byte{}}
	for k, v := range d {
		out.Data[k] = []byte(v)
	}
	return out, nil
}

func TestMake(t *testing.T) {
	yes := true
	ref := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	from := func(s corev1.EnvVarSource) []corev1.EnvVar { return []corev1.EnvVar{{Name: "X", ValueFrom: &s}} }
	field := func(path string) []corev1.EnvVar {
		return from(corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}})
	}
	res := func(sel corev1.ResourceFieldSelector) []corev1.EnvVar {
		return from(corev1.EnvVarSource{ResourceFieldRef: &sel})
	}
	tests := []struct {
		name string
		from []corev1.EnvFromSource
		vars []corev1.EnvVar
		want string // X
		err  string
	}{
		{name: "references see what came before", vars: []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "X", Value: "$(A)$(B)$(WEB_SERVICE_HOST)"}, {Name: "B", Value: "2"}}, want: "1$(B)10.96.0.5"},
		{name: "all of a ConfigMap, with a prefix", from: []corev1.EnvFromSource{{Prefix: "P-", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: ref("m")}}}, vars: []corev1.EnvVar{{Name: "X", Value: "$(P-k.1)"}}, want: "v"},
		{name: "env wins over envFrom", from: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: ref("x")}}}, vars: []corev1.EnvVar{{Name: "X", Value: "own"}}, want: "own"},
		{name: "a missing ConfigMap", from: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: ref("none")}}}, err: `configmap "none" not found`},
		{name: "a missing optional Secret", from: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: ref("none"), Optional: &yes}}}},
		{name: "a key", vars: from(corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: ref("m"), Key: "k.1"}}), want: "v"},
		{name: "a missing key of a ConfigMap", vars: from(corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: ref("m"), Key: "z"}}), err: "couldn't find key z in ConfigMap ns/m"},
		{name: "a missing key of a Secret", vars: from(corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: ref("m"), Key: "z"}}), err: "couldn't find key z in Secret ns/m"},
		{name: "a missing optional key", vars: from(corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: ref("m"), Key: "z", Optional: &yes}})},
		{name: "a label", vars: field("metadata.labels['app']"), want: "web"},
		{name: "pod addresses", vars: field("status.podIPs"), want: "10.0.0.1,fd00::1"},
		{name: "the node's address", vars: field("status.hostIP"), want: "192.0.2.1"},
		{name: "an unknown field", vars: field("spec.what"), err: "unsupported fieldPath: spec.what"},
		{name: "a request, rounded up", vars: res(corev1.ResourceFieldSelector{Resource: "requests.cpu"}), want: "1"},
		{name: "a request in a smaller unit", vars: res(corev1.ResourceFieldSelector{Resource: "requests.cpu", Divisor: resource.MustParse("1m")}), want: "250"},
		{name: "a limit that is not set is the node's", vars: res(corev1.ResourceFieldSelector{Resource: "limits.memory", Divisor: resource.MustParse("1Mi")}), want: "1024"},
		{name: "another container's", vars: res(corev1.ResourceFieldSelector{ContainerName: "none", Resource: "limits.cpu"}), err: "container none not found"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := corev1.Container{Name: "c", EnvFrom: tt.from, Env: tt.vars, Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m")}}}
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", Labels: map[string]string{"app": "web"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{c}}}
			vars, err := Make(Input{Pod: pod, Container: &c, HostIPs: []string{"192.0.2.1"}, PodIPs: []string{"10.0.0.1", "fd00::1"},
				Services:    []*corev1.Service{{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web"}, Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.5", Ports: []corev1.ServicePort{{Port: 80}}}}},
				Allocatable: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}, Sources: sources{"m": {"k.1": "v"}, "x": {"X": "from"}}})
			if (err != nil || tt.err != "") && (err == nil || err.Error() != tt.err) {
				t.Fatalf("error %v, want %q", err, tt.err)
			}
			if got := vars.Own["X"]; got != tt.want {
				t.Errorf("X is %q, want %q", got, tt.want)
			}
		})
	}
}

func TestServiceVars(t *testing.T) {
	services := []*corev1.Service{
		{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kubernetes"}, Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.1", Ports: []corev1.ServicePort{{Name: "https", Port: 443, Protocol: corev1.ProtocolTCP}}}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "my-dns"}, Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.9", Ports: []corev1.ServicePort{{Name: "a-b", Port: 53, Protocol: corev1.ProtocolUDP}}}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "headless"}, Spec: corev1.ServiceSpec{ClusterIP: "None", Ports: []corev1.ServicePort{{Port: 1}}}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "x"}, Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.7", Ports: []corev1.ServicePort{{Port: 1}}}},
	}
	vars := ServiceVars(services, "ns", true)
	for name, want := range map[string]string{
		"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443", "KUBERNETES_SERVICE_PORT_HTTPS": "443", "KUBERNETES_PORT": "tcp://10.96.0.1:443",
		"MY_DNS_SERVICE_PORT_A_B": "53", "MY_DNS_PORT_53_UDP": "udp://10.96.0.9:53", "MY_DNS_PORT_53_UDP_PROTO": "udp", "MY_DNS_PORT_53_UDP_ADDR": "10.96.0.9", "MY_DNS_PORT_53_UDP_PORT": "53",
	} {
		if vars[name] != want {
			t.Errorf("%s is %q, want %q", name, vars[name], want)
		}
	}
	for name := range vars {
		if strings.HasPrefix(name, "HEADLESS") || strings.HasPrefix(name, "X_") {
			t.Errorf("%s should not be there", name)
		}
	}
	if vars := ServiceVars(services, "ns", false); vars["KUBERNETES_SERVICE_HOST"] == "" || vars["MY_DNS_SERVICE_HOST"] != "" {
		t.Errorf("without links: %v", vars)
	}
}

func TestParseFile(t *testing.T) {
	for _, tt := range []struct {
		name, text, want string
		bad              bool
	}{
		{name: "plain", text: "K='v'", want: "v"},
		{name: "comment, blank, indentation", text: "# c\n\n  K='v' # c", want: "v"},
		{name: "several lines", text: "K='a\nb'", want: "a\nb"},
		{name: "not there", text: "L='v'"},
		{name: "blank after the sign", text: "K= 'v'"},
		{name: "no quotes", text: "K=v", bad: true},
		{name: "quote not closed", text: "K='v", bad: true},
		{name: "blank before the sign", text: "K ='v'", bad: true},
		{name: "text after the quote", text: "K='v'x", bad: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseFile(strings.NewReader(tt.text), "K")
			if got != tt.want || (err != nil) != tt.bad {
				t.Errorf("got %q %v", got, err)
			}
		})
	}
}
