package manifests

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
)

func objects(t *testing.T, text []byte) map[string]*unstructured.Unstructured {
	t.Helper()
	found := map[string]*unstructured.Unstructured{}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		obj := &unstructured.Unstructured{}
		if err := decoder.Decode(obj); err == io.EOF {
			return found
		} else {
			require.NoError(t, err)
		}
		found[obj.GetKind()+"/"+obj.GetName()] = obj
	}
}

func TestDNS(t *testing.T) {
	for _, tt := range []struct {
		name    string
		forward bool
		want    []string
		not     string
	}{
		{"with a way out, other names are passed on", true, []string{".:53 {\n    errors", "forward . /etc/resolv.conf"}, "template"},
		{
			"without, the cluster's zones have a block of their own, since template answers before kubernetes would", false,
			[]string{"cluster.local:53 in-addr.arpa:53 ip6.arpa:53 {", "\n.:53 {\n    errors\n    template ANY ANY {"}, "forward",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text, err := DNS{ClusterIP: "10.96.0.10", Domain: "cluster.local", Forward: tt.forward, Image: DefaultDNSImage}.Render()
			require.NoError(t, err)
			all := objects(t, text)
			var config corev1.ConfigMap
			require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(all["ConfigMap/coredns"].Object, &config, true))
			corefile := config.Data["Corefile"]
			for _, want := range tt.want {
				require.Contains(t, corefile, want)
			}
			require.NotContains(t, corefile, tt.not)
			require.Equal(t, strings.Count(corefile, "{"), strings.Count(corefile, "}"))
			var service corev1.Service
			require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(all["Service/kube-dns"].Object, &service, true))
			require.Equal(t, "10.96.0.10", service.Spec.ClusterIP)
		})
	}
}

func TestNodes(t *testing.T) {
	require.Len(t, objects(t, Nodes), 2)
}
