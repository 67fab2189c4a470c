package node

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/fill"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
)

// RuntimeClass names a way to run containers.
var RuntimeClass = kinds.Define(kinds.Row[*nodev1.RuntimeClass]{
	Resource: "runtimeclasses", AnyFinalizer: true, NoUnconditionalUpdate: true, AllowCreateOnUpdate: true,
	Default: func(c *nodev1.RuntimeClass) {
		if c.Overhead != nil {
			fill.Quantities(c.Overhead.PodFixed)
		}
	},
	Validate: validate, ValidateUpdate: validateUpdate, Warnings: warnings,
	Columns: []kinds.Column[*nodev1.RuntimeClass]{
		kinds.NameColumn[*nodev1.RuntimeClass](),
		{Name: "Handler", Cell: func(c *nodev1.RuntimeClass) any { return c.Handler }},
		kinds.AgeColumn[*nodev1.RuntimeClass](),
	},
})

var (
	handlerPath    = field.NewPath("handler")
	schedulingPath = field.NewPath("scheduling")
)

func validate(_ *kinds.Request, c *nodev1.RuntimeClass) field.ErrorList {
	var l check.List
	if l.Require(handlerPath, c.Handler) {
		l.Rule(handlerPath, c.Handler, content.IsDNS1123Label)
	}
	rest(&l, c)
	return l.ErrorList
}

func rest(l *check.List, c *nodev1.RuntimeClass) {
	if c.Overhead != nil {
		l.All(podspec.ContainerResources(&corev1.ResourceRequirements{Limits: c.Overhead.PodFixed}, field.NewPath("overhead")))
	}
	s := c.Scheduling
	if s == nil {
		return
	}
	l.Labels(schedulingPath.Child("nodeSelector"), s.NodeSelector)
	at := schedulingPath.Child("tolerations")
	l.All(podspec.Tolerations(s.Tolerations, at))
	seen := map[corev1.Toleration]bool{}
	for i, t := range s.Tolerations {
		key := t
		key.TolerationSeconds = nil
		if seen[key] {
			l.Add(field.Duplicate(at.Index(i), t))
		}
		seen[key] = true
	}
}

// validateUpdate says of another handler only that there may be none.
func validateUpdate(_ *kinds.Request, c, old *nodev1.RuntimeClass) field.ErrorList {
	l := check.List{ErrorList: kinds.ValidateMeta(c, kinds.Cluster, kinds.Subdomain)}
	if c.Handler != old.Handler {
		l.Require(handlerPath, c.Handler)
		l.Fixed(handlerPath)
	}
	rest(&l, c)
	return l.ErrorList
}

func warnings(_ *kinds.Request, c, _ *nodev1.RuntimeClass) []string {
	if c.Scheduling == nil {
		return nil
	}
	var out []string
	for _, key := range slices.Sorted(maps.Keys(c.Scheduling.NodeSelector)) {
		if text, old := podspec.DeprecatedNodeLabels[key]; old {
			out = append(out, fmt.Sprintf("%s: %s", schedulingPath.Child("nodeSelector"), text))
		}
	}
	return out
}
