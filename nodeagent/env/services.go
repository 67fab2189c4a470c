package env

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ServiceVars are the variables that tell a pod of namespace where Services are. default/kubernetes is always among
// them, since in-cluster clients read it; the pod's own namespace only where the pod wants service links.
func ServiceVars(services []*corev1.Service, namespace string, links bool) map[string]string {
	vars := map[string]string{}
	for _, s := range services {
		if s.Namespace == metav1.NamespaceDefault && s.Name == "kubernetes" && hasAddress(s) {
			describe(s, vars)
		}
	}
	for _, s := range services {
		if links && s.Namespace == namespace && hasAddress(s) {
			describe(s, vars) // a Service of the same name in the pod's namespace wins over default/kubernetes
		}
	}
	return vars
}

func hasAddress(s *corev1.Service) bool {
	return s.Spec.ClusterIP != "" && s.Spec.ClusterIP != corev1.ClusterIPNone && len(s.Spec.Ports) > 0
}

func describe(s *corev1.Service, vars map[string]string) {
	name, ip := varName(s.Name), s.Spec.ClusterIP
	vars[name+"_SERVICE_HOST"] = ip
	vars[name+"_SERVICE_PORT"] = strconv.Itoa(int(s.Spec.Ports[0].Port))
	for i, p := range s.Spec.Ports {
		number := strconv.Itoa(int(p.Port))
		if p.Name != "" {
			vars[name+"_SERVICE_PORT_"+varName(p.Name)] = number
		}
		protocol := "tcp"
		if p.Protocol != "" {
			protocol = strings.ToLower(string(p.Protocol))
		}
		url := fmt.Sprintf("%s://%s", protocol, net.JoinHostPort(ip, number))
		if i == 0 {
			vars[name+"_PORT"] = url
		}
		link := fmt.Sprintf("%s_PORT_%s_%s", name, number, strings.ToUpper(protocol))
		vars[link] = url
		vars[link+"_PROTO"] = protocol
		vars[link+"_PORT"] = number
		vars[link+"_ADDR"] = ip
	}
}

func varName(s string) string {
	return strings.ToUpper(strings.ReplaceAll(s, "-", "_"))
}
