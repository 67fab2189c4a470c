package core

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// Node is a machine that runs pods.
var Node = kinds.Define(kinds.Row[*corev1.Node]{
	Resource: "nodes", ShortNames: []string{"no"}, EtcdPrefix: "minions", Generation: kinds.GenerationNever, StatusOnCreate: true,
	Fields: func(n *corev1.Node) fields.Set {
		return fields.Set{"spec.unschedulable": strconv.FormatBool(n.Spec.Unschedulable)}
	},
	Revalidate:    true,
	PrepareCreate: prepareNewNode, PrepareUpdate: prepareNode, PrepareStatus: prepareNodeStatus,
	Validate: validateNewNode, ValidateUpdate: validateNodeUpdate, ValidateStatus: validateNodeUpdate, Warnings: nodeWarnings,
	Default: defaultNode,
	Columns: nodeColumns(),
	Subresources: map[string]*kinds.Subresource{
		"proxy": {GVK: corev1.SchemeGroupVersion.WithKind("NodeProxyOptions"), Connect: "proxy",
			Verbs: []string{"create", "delete", "get", "patch", "update"}},
	},
})
