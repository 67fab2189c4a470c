package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/show"
)

// DaemonSet keeps a pod on every node that it selects.
var DaemonSet = kinds.Define(kinds.Row[*appsv1.DaemonSet]{
	Resource: "daemonsets", ShortNames: []string{"ds"}, Categories: []string{"all"}, Scope: kinds.Namespaced,
	Default: defaultDaemonSet,
	Blank:   func(d *appsv1.DaemonSet) { setGeneration(d, 0) },
	// Upstream keeps it as a field of the spec.
	OwnAnnotations: []string{appsv1.DeprecatedTemplateGeneration},
	PrepareCreate:  prepareNewDaemonSet, PrepareUpdate: prepareDaemonSet,
	Validate: validateNewDaemonSet, ValidateUpdate: validateDaemonSetUpdate, ValidateStatus: validateDaemonSetStatus,
	Warnings: func(_ *kinds.Request, d, old *appsv1.DaemonSet) []string {
		if old != nil && generationOf(d) == generationOf(old) {
			return nil
		}
		return templateWarnings(d, &d.Spec.Template, false)
	},
	Columns: daemonSetColumns(),
})

func daemonSetColumns() []kinds.Column[*appsv1.DaemonSet] {
	status := appsv1.DaemonSetStatus{}
	count := func(name, field string, value func(*appsv1.DaemonSetStatus) int32) kinds.Column[*appsv1.DaemonSet] {
		return kinds.Column[*appsv1.DaemonSet]{Name: name, Type: "integer", Description: kinds.Doc(status, field),
			Cell: func(d *appsv1.DaemonSet) any { return int64(value(&d.Status)) }}
	}
	return append([]kinds.Column[*appsv1.DaemonSet]{
		kinds.NameColumn[*appsv1.DaemonSet](),
		count("Desired", "desiredNumberScheduled", func(s *appsv1.DaemonSetStatus) int32 { return s.DesiredNumberScheduled }),
		count("Current", "currentNumberScheduled", func(s *appsv1.DaemonSetStatus) int32 { return s.CurrentNumberScheduled }),
		count("Ready", "numberReady", func(s *appsv1.DaemonSetStatus) int32 { return s.NumberReady }),
		count("Up-to-date", "updatedNumberScheduled", func(s *appsv1.DaemonSetStatus) int32 { return s.UpdatedNumberScheduled }),
		count("Available", "numberAvailable", func(s *appsv1.DaemonSetStatus) int32 { return s.NumberAvailable }),
		{Name: "Node Selector", Description: kinds.Doc(corev1.PodSpec{}, "nodeSelector"),
			Cell: func(d *appsv1.DaemonSet) any { return show.Labels(d.Spec.Template.Spec.NodeSelector) }},
		kinds.AgeColumn[*appsv1.DaemonSet](),
	}, append(show.Template(func(d *appsv1.DaemonSet) *corev1.PodTemplateSpec { return &d.Spec.Template }),
		kinds.Column[*appsv1.DaemonSet]{Name: "Selector", Priority: 1, Description: kinds.Doc(appsv1.DaemonSetSpec{}, "selector"),
			Cell: func(d *appsv1.DaemonSet) any { return show.Selector(d.Spec.Selector) }})...)
}
