package apps

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/apiserver/equal"
	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/show"
)

// Deployment rolls out ReplicaSets.
var Deployment = kinds.Define(kinds.Row[*appsv1.Deployment]{
	Resource: "deployments", ShortNames: []string{"deploy"}, Categories: []string{"all"}, Scope: kinds.Namespaced,
	Default: defaultDeployment, Blank: func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32) },
	PrepareCreate: func(_ *kinds.Request, d *appsv1.Deployment) {
		d.Generation = 1
		podspec.DropTemplateOff(&d.Spec.Template, nil)
	},
	PrepareUpdate: prepareDeployment,
	Validate:      validateNewDeployment, ValidateUpdate: validateDeploymentUpdate, ValidateStatus: validateDeploymentStatus,
	PrepareStatus: func(_ *kinds.Request, d, old *appsv1.Deployment) { d.Labels = old.Labels },
	StatusResets:  []string{"spec", "metadata.labels"},
	Warnings: func(_ *kinds.Request, d, old *appsv1.Deployment) []string {
		if old != nil && d.Generation == old.Generation {
			return nil
		}
		return templateWarnings(d, &d.Spec.Template, old == nil)
	},
	Generation: kinds.GenerationOwn,
	Columns:    deploymentColumns(),
	Scale: &kinds.Scale[*appsv1.Deployment]{
		Get: func(d *appsv1.Deployment) (int32, int32, string) {
			return int32(show.Replicas(d.Spec.Replicas)), d.Status.Replicas, selectorText(d.Spec.Selector)
		},
		Set: func(d *appsv1.Deployment, n int32) { d.Spec.Replicas = &n },
	},
})

// prepareDeployment counts changes of annotations as well: a roll-out's cause stands there, and its revision.
func prepareDeployment(_ *kinds.Request, d, old *appsv1.Deployment) {
	podspec.DropTemplateOff(&d.Spec.Template, &old.Spec.Template)
	if !equal.Semantic(&d.Spec, &old.Spec) || !equal.Semantic(&d.Annotations, &old.Annotations) {
		d.Generation = old.Generation + 1
	}
}

func deploymentColumns() []kinds.Column[*appsv1.Deployment] {
	status := appsv1.DeploymentStatus{}
	return append([]kinds.Column[*appsv1.Deployment]{
		kinds.NameColumn[*appsv1.Deployment](),
		{Name: "Ready", Description: "Number of the pod with ready state",
			Cell: func(d *appsv1.Deployment) any {
				return fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, show.Replicas(d.Spec.Replicas))
			}},
		{Name: "Up-to-date", Description: kinds.Doc(status, "updatedReplicas"), Cell: func(d *appsv1.Deployment) any { return int64(d.Status.UpdatedReplicas) }},
		{Name: "Available", Description: kinds.Doc(status, "availableReplicas"), Cell: func(d *appsv1.Deployment) any { return int64(d.Status.AvailableReplicas) }},
		kinds.AgeColumn[*appsv1.Deployment](),
	}, append(show.Template(func(d *appsv1.Deployment) *corev1.PodTemplateSpec { return &d.Spec.Template }),
		kinds.Column[*appsv1.Deployment]{Name: "Selector", Priority: 1, Description: kinds.Doc(appsv1.DeploymentSpec{}, "selector"),
			Cell: func(d *appsv1.Deployment) any { return show.Selector(d.Spec.Selector) }})...)
}

// selectorText is a selector as the scale door shows it; a broken one selects nothing.
func selectorText(s *metav1.LabelSelector) string {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return ""
	}
	return selector.String()
}
