package admission

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// safe sysctls belong to one pod's namespaces alone and cannot harm the node.
var safe = map[string]bool{
	"kernel.shm_rmid_forced": true, "net.ipv4.ip_local_port_range": true, "net.ipv4.tcp_syncookies": true, "net.ipv4.ping_group_range": true,
	"net.ipv4.ip_unprivileged_port_start": true, "net.ipv4.ip_local_reserved_ports": true, "net.ipv4.tcp_keepalive_time": true,
	"net.ipv4.tcp_fin_timeout": true, "net.ipv4.tcp_keepalive_intvl": true, "net.ipv4.tcp_keepalive_probes": true,
	"net.ipv4.tcp_rmem": true, "net.ipv4.tcp_wmem": true, "net.ipv4.tcp_slow_start_after_idle": true, "net.ipv4.tcp_notsent_lowat": true,
}

func sysctls(pod *corev1.Pod, _ *corev1.Node, _ []*corev1.Pod) *Refusal {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	for _, s := range pod.Spec.SecurityContext.Sysctls {
		name := strings.ReplaceAll(s.Name, "/", ".")
		var problem string
		switch {
		case !safe[name]:
			problem = fmt.Sprintf("%q not allowlisted", s.Name)
		case strings.HasPrefix(name, "net.") && pod.Spec.HostNetwork:
			problem = fmt.Sprintf("%q not allowed with host net enabled", s.Name)
		case strings.HasPrefix(name, "kernel.") && pod.Spec.HostIPC:
			problem = fmt.Sprintf("%q not allowed with host ipc enabled", s.Name)
		}
		if problem != "" {
			return &Refusal{"SysctlForbidden", "forbidden sysctl: " + problem}
		}
	}
	return nil
}
