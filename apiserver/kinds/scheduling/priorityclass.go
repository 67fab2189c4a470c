package scheduling

import (
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/fill"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/show"
)

// PriorityClass names a priority of pods.
var PriorityClass = kinds.Define(kinds.Row[*schedulingv1.PriorityClass]{
	Resource: "priorityclasses", ShortNames: []string{"pc"},
	// Upstream counts the first version and no more.
	Generation:    kinds.GenerationOwn,
	PrepareCreate: func(_ *kinds.Request, c *schedulingv1.PriorityClass) { c.Generation = 1 },
	Default:       func(c *schedulingv1.PriorityClass) { fill.Nil(&c.PreemptionPolicy, corev1.PreemptLowerPriority) },
	Validate:      validate, ValidateUpdate: validateUpdate,
	Columns: []kinds.Column[*schedulingv1.PriorityClass]{
		kinds.NameColumn[*schedulingv1.PriorityClass](),
		{Name: "Value", Type: "integer", Description: kinds.Doc(schedulingv1.PriorityClass{}, "value"),
			Cell: func(c *schedulingv1.PriorityClass) any { return int64(c.Value) }},
		{Name: "Global-Default", Type: "boolean", Description: kinds.Doc(schedulingv1.PriorityClass{}, "globalDefault"),
			Cell: func(c *schedulingv1.PriorityClass) any { return c.GlobalDefault }},
		kinds.AgeColumn[*schedulingv1.PriorityClass](),
		{Name: "PreemptionPolicy", Description: kinds.Doc(schedulingv1.PriorityClass{}, "preemptionPolicy"),
			Cell: func(c *schedulingv1.PriorityClass) any { return show.Text(c.PreemptionPolicy, "") }},
	},
})
