package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/show"
)

// ReplicaSet keeps a number of pods of one template.
var ReplicaSet = kinds.Define(kinds.Row[*appsv1.ReplicaSet]{
	Resource: "replicasets", ShortNames: []string{"rs"}, Categories: []string{"all"}, Scope: kinds.Namespaced,
	Default:       defaultReplicaSet,
	Blank:         func(rs *appsv1.ReplicaSet) { rs.Spec.Replicas = new(int32) },
	PrepareCreate: func(_ *kinds.Request, rs *appsv1.ReplicaSet) { podspec.DropTemplateOff(&rs.Spec.Template, nil) },
	PrepareUpdate: func(_ *kinds.Request, rs, old *appsv1.ReplicaSet) {
		podspec.DropTemplateOff(&rs.Spec.Template, &old.Spec.Template)
	},
	Validate: validateNewReplicaSet, ValidateUpdate: validateReplicaSetUpdate, ValidateStatus: validateReplicaSetStatus,
	Warnings: func(_ *kinds.Request, rs, old *appsv1.ReplicaSet) []string {
		if old != nil && rs.Generation == old.Generation {
			return nil
		}
		return templateWarnings(rs, &rs.Spec.Template, old == nil)
	},
	Columns: replicaSetColumns(),
	Scale: &kinds.Scale[*appsv1.ReplicaSet]{
		Get: func(rs *appsv1.ReplicaSet) (int32, int32, string) {
			return int32(show.Replicas(rs.Spec.Replicas)), rs.Status.Replicas, selectorText(rs.Spec.Selector)
		},
		Set: func(rs *appsv1.ReplicaSet, n int32) { rs.Spec.Replicas = &n },
	},
})

func replicaSetColumns() []kinds.Column[*appsv1.ReplicaSet] {
	return append([]kinds.Column[*appsv1.ReplicaSet]{
		kinds.NameColumn[*appsv1.ReplicaSet](),
		{Name: "Desired", Type: "integer", Description: kinds.Doc(appsv1.ReplicaSetSpec{}, "replicas"),
			Cell: func(rs *appsv1.ReplicaSet) any { return show.Replicas(rs.Spec.Replicas) }},
		{Name: "Current", Type: "integer", Description: kinds.Doc(appsv1.ReplicaSetStatus{}, "replicas"),
			Cell: func(rs *appsv1.ReplicaSet) any { return int64(rs.Status.Replicas) }},
		{Name: "Ready", Type: "integer", Description: kinds.Doc(appsv1.ReplicaSetStatus{}, "readyReplicas"),
			Cell: func(rs *appsv1.ReplicaSet) any { return int64(rs.Status.ReadyReplicas) }},
		kinds.AgeColumn[*appsv1.ReplicaSet](),
	}, append(show.Template(func(rs *appsv1.ReplicaSet) *corev1.PodTemplateSpec { return &rs.Spec.Template }),
		kinds.Column[*appsv1.ReplicaSet]{Name: "Selector", Priority: 1, Description: kinds.Doc(appsv1.ReplicaSetSpec{}, "selector"),
			Cell: func(rs *appsv1.ReplicaSet) any { return show.Selector(rs.Spec.Selector) }})...)
}
