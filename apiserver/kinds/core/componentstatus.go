package core

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// ComponentStatus is upstream's old way of asking how the control plane is. Only what this server can know itself is
// listed: that it reaches etcd, since it answers from there.
var ComponentStatus = componentStatus()

func componentStatus() *kinds.Kind {
	k := kinds.Define(kinds.Row[*corev1.ComponentStatus]{
		Resource: "componentstatuses", ShortNames: []string{"cs"}, Verbs: []string{"get", "list"},
		Deprecated: "v1 ComponentStatus is deprecated in v1.19+",
		Columns: []kinds.Column[*corev1.ComponentStatus]{
			kinds.NameColumn[*corev1.ComponentStatus](),
			{Name: "Status", Description: "Status of the component conditions", Cell: func(c *corev1.ComponentStatus) any {
				for _, cond := range c.Conditions {
					if cond.Type != corev1.ComponentHealthy {
						continue
					}
					switch cond.Status {
					case corev1.ConditionTrue:
						return "Healthy"
					case corev1.ConditionFalse:
						return "Unhealthy"
					}
				}
				return "Unknown"
			}},
			{Name: "Message", Description: "Message of the component conditions", Cell: func(c *corev1.ComponentStatus) any {
				for _, cond := range c.Conditions {
					if cond.Type == corev1.ComponentHealthy {
						return cond.Message
					}
				}
				return ""
			}},
			{Name: "Error", Description: "Error of the component conditions", Cell: func(c *corev1.ComponentStatus) any {
				for _, cond := range c.Conditions {
					if cond.Type == corev1.ComponentHealthy {
						return cond.Error
					}
				}
				return ""
			}},
		},
	})
	k.Virtual = true
	k.Objects = func(ctx context.Context, store kinds.Store, req *kinds.Request) ([]runtime.Object, error) {
		status, message := corev1.ConditionTrue, "ok"
		if _, err := store.List(ctx, store.Kind(corev1.Resource("namespaces")), ""); err != nil {
			status, message = corev1.ConditionFalse, err.Error()
		}
		etcd := &corev1.ComponentStatus{Conditions: []corev1.ComponentCondition{{
			Type: corev1.ComponentHealthy, Status: status, Message: message}}}
		etcd.Name = "etcd-0"
		return []runtime.Object{etcd}, nil
	}
	return k
}
