package core

import (
	corev1 "k8s.io/api/core/v1"
	utilnet "k8s.io/utils/net"
)

// defaultFamilies keeps the older, single clusterIP and the list clusterIPs equal where one is missing, and names the
// families of addresses that are given. What is left open is settled when addresses are allocated.
func defaultFamilies(s *corev1.Service) {
	spec := &s.Spec
	if spec.ClusterIP != "" && len(spec.ClusterIPs) == 0 {
		spec.ClusterIPs = []string{spec.ClusterIP}
	}
}

func familyOf(ip string) corev1.IPFamily {
	if utilnet.IsIPv6String(ip) {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}
