package core

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/show"
)

// PodTemplate is a pod template on its own.
var PodTemplate = kinds.Define(kinds.Row[*corev1.PodTemplate]{
	Resource: "podtemplates", ReturnDeleted: true, Scope: kinds.Namespaced, Generation: kinds.GenerationAlways,
	PrepareCreate: func(_ *kinds.Request, p *corev1.PodTemplate) { podspec.DropTemplateOff(&p.Template, nil) },
	PrepareUpdate: func(_ *kinds.Request, p, old *corev1.PodTemplate) {
		podspec.DropTemplateOff(&p.Template, &old.Template)
	},
	Validate: validatePodTemplate, ValidateUpdate: validatePodTemplateUpdate, Warnings: podTemplateWarnings,
	Default: defaultPodTemplate,
	Columns: []kinds.Column[*corev1.PodTemplate]{
		kinds.NameColumn[*corev1.PodTemplate](),
		{Name: "Containers", Description: "Names of each container in the template.",
			Cell: func(p *corev1.PodTemplate) any { return show.Names(p.Template.Spec.Containers) }},
		{Name: "Images", Description: "Images referenced by each container in the template.",
			Cell: func(p *corev1.PodTemplate) any { return show.Images(p.Template.Spec.Containers) }},
		{Name: "Pod Labels", Description: "The labels for the pod template.",
			Cell: func(p *corev1.PodTemplate) any { return show.Labels(p.Template.Labels) }},
	},
})
