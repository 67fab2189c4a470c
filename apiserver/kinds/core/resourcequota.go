package core

import (
	"fmt"
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// ResourceQuota bounds what a namespace may hold.
var ResourceQuota = kinds.Define(kinds.Row[*corev1.ResourceQuota]{
	Resource: "resourcequotas", ReturnDeleted: true, ShortNames: []string{"quota"}, Scope: kinds.Namespaced, Generation: kinds.GenerationNever,
	Validate: validateResourceQuota, ValidateUpdate: validateResourceQuotaUpdate, ValidateStatus: validateResourceQuotaStatus,
	Default: defaultResourceQuota,
	Columns: []kinds.Column[*corev1.ResourceQuota]{
		kinds.NameColumn[*corev1.ResourceQuota](),
		{Name: "Request", Description: "Request represents a minimum amount of cpu/memory that a container may consume.",
			Cell: func(q *corev1.ResourceQuota) any { return quotaUse(q, false) }},
		{Name: "Limit", Description: "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.",
			Cell: func(q *corev1.ResourceQuota) any { return quotaUse(q, true) }},
		kinds.AgeColumn[*corev1.ResourceQuota](),
	},
})

// quotaUse lists "name: used/hard" of either the limits or everything else.
func quotaUse(q *corev1.ResourceQuota, limits bool) string {
	names := make([]string, 0, len(q.Status.Hard))
	for name := range q.Status.Hard {
		if strings.HasPrefix(string(name), "limits") == limits {
			names = append(names, string(name))
		}
	}
	sort.Strings(names)
	for i, name := range names {
		used, hard := q.Status.Used[corev1.ResourceName(name)], q.Status.Hard[corev1.ResourceName(name)]
		names[i] = fmt.Sprintf("%s: %s/%s", name, used.String(), hard.String())
	}
	return strings.Join(names, ", ")
}
