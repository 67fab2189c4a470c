package apps

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/show"
)

// StatefulSet keeps pods with names and volumes of their own.
var StatefulSet = kinds.Define(kinds.Row[*appsv1.StatefulSet]{
	Resource: "statefulsets", ShortNames: []string{"sts"}, Categories: []string{"all"}, Scope: kinds.Namespaced,
	Default: defaultStatefulSet, Name: kinds.Label,
	Blank:         func(s *appsv1.StatefulSet) { s.Spec.Replicas = new(int32) },
	PrepareCreate: func(_ *kinds.Request, s *appsv1.StatefulSet) { podspec.DropTemplateOff(&s.Spec.Template, nil) },
	PrepareUpdate: func(_ *kinds.Request, s, old *appsv1.StatefulSet) {
		podspec.DropTemplateOff(&s.Spec.Template, &old.Spec.Template)
	},
	Validate: validateNewStatefulSet, ValidateUpdate: validateStatefulSetUpdate, ValidateStatus: validateStatefulSetStatus,
	Warnings: statefulSetWarnings,
	Columns: append([]kinds.Column[*appsv1.StatefulSet]{
		kinds.NameColumn[*appsv1.StatefulSet](),
		{Name: "Ready", Description: "Number of the pod with ready state", Cell: func(s *appsv1.StatefulSet) any {
			return fmt.Sprintf("%d/%d", s.Status.ReadyReplicas, show.Replicas(s.Spec.Replicas))
		}},
		kinds.AgeColumn[*appsv1.StatefulSet](),
	}, show.Template(func(s *appsv1.StatefulSet) *corev1.PodTemplateSpec { return &s.Spec.Template })...),
	Scale: &kinds.Scale[*appsv1.StatefulSet]{
		Get: func(s *appsv1.StatefulSet) (int32, int32, string) {
			return int32(show.Replicas(s.Spec.Replicas)), s.Status.Replicas, selectorText(s.Spec.Selector)
		},
		Set: func(s *appsv1.StatefulSet, n int32) { s.Spec.Replicas = &n },
	},
})
