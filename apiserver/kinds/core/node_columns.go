package core

import (
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

func nodeColumns() []kinds.Column[*corev1.Node] {
	info := corev1.NodeSystemInfo{}
	addresses := kinds.Doc(corev1.NodeStatus{}, "addresses")
	return []kinds.Column[*corev1.Node]{
		kinds.NameColumn[*corev1.Node](),
		{Name: "Status", Description: "The status of the node", Cell: func(n *corev1.Node) any { return nodeStatusText(n) }},
		{Name: "Roles", Description: "The roles of the node", Cell: func(n *corev1.Node) any { return nodeRoles(n) }},
		kinds.AgeColumn[*corev1.Node](),
		{Name: "Version", Description: kinds.Doc(info, "kubeletVersion"), Cell: func(n *corev1.Node) any { return n.Status.NodeInfo.KubeletVersion }},
		{Name: "Internal-IP", Priority: 1, Description: addresses, Cell: func(n *corev1.Node) any { return nodeAddress(n, corev1.NodeInternalIP) }},
		{Name: "External-IP", Priority: 1, Description: addresses, Cell: func(n *corev1.Node) any { return nodeAddress(n, corev1.NodeExternalIP) }},
		{Name: "OS-Image", Priority: 1, Description: kinds.Doc(info, "osImage"), Cell: func(n *corev1.Node) any { return orUnknown(n.Status.NodeInfo.OSImage) }},
		{Name: "Kernel-Version", Priority: 1, Description: kinds.Doc(info, "kernelVersion"), Cell: func(n *corev1.Node) any { return kernel(&n.Status.NodeInfo) }},
		{Name: "Container-Runtime", Priority: 1, Description: kinds.Doc(info, "containerRuntimeVersion"),
			Cell: func(n *corev1.Node) any { return orUnknown(n.Status.NodeInfo.ContainerRuntimeVersion) }},
	}
}

func kernel(info *corev1.NodeSystemInfo) string {
	version := orUnknown(info.KernelVersion)
	if info.Architecture != "" {
		version += " (" + info.Architecture + ")"
	}
	return version
}

func nodeStatusText(n *corev1.Node) string {
	text := "Unknown"
	for _, c := range n.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		text = "NotReady"
		if c.Status == corev1.ConditionTrue {
			text = "Ready"
		}
	}
	if n.Spec.Unschedulable {
		text += ",SchedulingDisabled"
	}
	return text
}

// nodeRoles reads the roles off the labels: node-role.kubernetes.io/ROLE, or kubernetes.io/role=ROLE.
func nodeRoles(n *corev1.Node) string {
	roles := map[string]bool{}
	for key, value := range n.Labels {
		if role, ok := strings.CutPrefix(key, "node-role.kubernetes.io/"); ok {
			if role != "" {
				roles[role] = true
			}
		} else if key == "kubernetes.io/role" && value != "" {
			roles[value] = true
		}
	}
	if len(roles) == 0 {
		return "<none>"
	}
	names := make([]string, 0, len(roles))
	for role := range roles {
		names = append(names, role)
	}
	sort.Strings(names)
	return strings.Join(names, ",")
}

func nodeAddress(n *corev1.Node, kind corev1.NodeAddressType) string {
	for _, a := range n.Status.Addresses {
		if a.Type == kind {
			return a.Address
		}
	}
	return "<none>"
}

func orUnknown(text string) string {
	if text == "" {
		return "<unknown>"
	}
	return text
}
