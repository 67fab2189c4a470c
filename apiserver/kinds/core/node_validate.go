package core

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilnet "k8s.io/utils/net"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
)

// Annotations of long ago that still mean something.
const (
	taintsAnnotation = "scheduler.alpha.kubernetes.io/taints"
	avoidAnnotation  = corev1.PreferAvoidPodsAnnotationKey
)

var (
	nodeMeta   = field.NewPath("metadata")
	nodeStatus = field.NewPath("status")
)

// defaultNodeRanges keeps podCIDR and the first of podCIDRs equal, whichever a client gave.
func defaultNodeRanges(n *corev1.Node) {
	switch {
	case n.Spec.PodCIDR != "" && (len(n.Spec.PodCIDRs) == 0 || n.Spec.PodCIDRs[0] != n.Spec.PodCIDR):
		n.Spec.PodCIDRs = []string{n.Spec.PodCIDR}
	case n.Spec.PodCIDR == "" && len(n.Spec.PodCIDRs) > 0:
		n.Spec.PodCIDR = n.Spec.PodCIDRs[0]
	}
}

func prepareNewNode(_ *kinds.Request, n *corev1.Node) {
	n.Spec.ConfigSource, n.Status.Config, n.Spec.PodPreemptionPolicy = nil, nil, nil
}

func prepareNode(_ *kinds.Request, n, old *corev1.Node) {
	if old.Spec.ConfigSource == nil {
		n.Spec.ConfigSource = nil
	}
	if old.Spec.PodPreemptionPolicy == nil {
		n.Spec.PodPreemptionPolicy = nil
	}
}

func prepareNodeStatus(_ *kinds.Request, n, old *corev1.Node) {
	if old.Status.Config == nil {
		n.Status.Config = nil
	}
}

func validateNewNode(_ *kinds.Request, n *corev1.Node) field.ErrorList {
	var l check.List
	nodeAnnotations(&l, n.Annotations)
	nodeTaints(&l, n.Spec.Taints, nodeMeta.Child("taints"))
	nodeResources(&l, n)
	if s := n.Status.NodeInfo.Swap; s != nil && s.Capacity != nil {
		l.Positive(nodeMeta.Child("nodeSwapStatus", "capacity"), *s.Capacity)
	}
	declaredFeatures(&l, n.Status.DeclaredFeatures)
	podRanges(&l, n)
	return l.ErrorList
}

// podRanges: a node has one range of pod addresses for each family at most.
func podRanges(l *check.List, n *corev1.Node) {
	at := field.NewPath("spec", "podCIDRs")
	for i, cidr := range n.Spec.PodCIDRs {
		l.All(validation.IsValidCIDRForLegacyField(at.Index(i), cidr, true, nil))
	}
	if len(n.Spec.PodCIDRs) > 1 {
		dual, err := utilnet.IsDualStackCIDRStrings(n.Spec.PodCIDRs)
		if err != nil {
			l.Add(field.InternalError(at, fmt.Errorf("invalid PodCIDRs. failed to check with dual stack with error:%v", err)))
		}
		if !dual || len(n.Spec.PodCIDRs) > 2 {
			l.Add(field.Invalid(at, n.Spec.PodCIDRs, "may specify no more than one CIDR for each IP family"))
		}
	}
}

// validateNodeUpdate serves both doors: what a node is called elsewhere, and its range, are given once.
func validateNodeUpdate(_ *kinds.Request, n, old *corev1.Node) field.ErrorList {
	var l check.List
	nodeAnnotations(&l, n.Annotations)
	nodeResources(&l, n)
	declaredFeatures(&l, n.Status.DeclaredFeatures)
	seen := sets.New[corev1.NodeAddress]()
	for i, a := range n.Status.Addresses {
		if seen.Has(a) {
			l.Add(field.Duplicate(nodeStatus.Child("addresses").Index(i), a))
		}
		seen.Insert(a)
	}
	if was, now := old.Spec.PodCIDRs, n.Spec.PodCIDRs; len(was) > 0 {
		changed := func() {
			l.Add(field.Forbidden(field.NewPath("spec", "podCIDRs"), "node updates may not change podCIDR except from \"\" to valid"))
		}
		if len(was) != len(now) {
			changed()
		} else {
			for i := range was {
				if was[i] != now[i] {
					changed()
				}
			}
		}
	}
	if was, now := old.Spec.ProviderID, n.Spec.ProviderID; was != "" && was != now {
		text := "field cannot be modified once set"
		if now == "" {
			text = "field cannot be cleared once set"
		}
		l.Add(field.Invalid(field.NewPath("spec", "providerID"), nil, text))
	}
	nodeTaints(&l, n.Spec.Taints, nodeMeta.Child("taints"))
	if n.Spec.DoNotUseExternalID != old.Spec.DoNotUseExternalID {
		l.Add(field.Forbidden(field.NewPath("spec", "externalID"), "may not be updated"))
	}
	return l.ErrorList
}

func nodeAnnotations(l *check.List, annotations map[string]string) {
	at := nodeMeta.Child("annotations")
	if text := annotations[taintsAnnotation]; text != "" {
		var taints []corev1.Taint
		if err := json.Unmarshal([]byte(text), &taints); err != nil {
			l.Add(field.Invalid(at, taintsAnnotation, err.Error()))
		} else {
			nodeTaints(l, taints, at.Child(taintsAnnotation))
		}
	}
	text := annotations[avoidAnnotation]
	if text == "" {
		return
	}
	var avoid corev1.AvoidPods
	if err := json.Unmarshal([]byte(text), &avoid); err != nil {
		l.Add(field.Invalid(at.Child("AvoidPods"), avoidAnnotation, err.Error()))
		return
	}
	for i, e := range avoid.PreferAvoidPods {
		p := at.Child(avoidAnnotation).Index(i).Child("PodSignature")
		if c := e.PodSignature.PodController; c == nil {
			l.Add(field.Required(p, ""))
		} else if c.Controller == nil || !*c.Controller {
			l.Add(field.Invalid(p.Child("PodController").Child("Controller"), c.Controller != nil && *c.Controller, "must point to a controller"))
		}
	}
}

func nodeTaints(l *check.List, taints []corev1.Taint, at *field.Path) {
	seen := map[corev1.TaintEffect]sets.Set[string]{}
	for i, t := range taints {
		p := at.Index(i)
		l.LabelKey(p.Child("key"), t.Key)
		if m := validation.IsValidLabelValue(t.Value); len(m) > 0 {
			l.Add(field.Invalid(p.Child("value"), t.Value, strings.Join(m, ";")))
		}
		podspec.TaintEffect(l, t.Effect, p.Child("effect"))
		if seen[t.Effect].Has(t.Key) {
			err := field.Duplicate(p, t)
			err.Detail = "taints must be unique by key and effect pair"
			l.Add(err)
			continue
		}
		if seen[t.Effect] == nil {
			seen[t.Effect] = sets.New[string]()
		}
		seen[t.Effect].Insert(t.Key)
	}
}

func nodeResources(l *check.List, n *corev1.Node) {
	for _, name := range slices.Sorted(maps.Keys(n.Status.Capacity)) {
		podspec.Quantity(l, name, n.Status.Capacity[name], nodeStatus.Child("capacity", string(name)))
	}
	for _, name := range slices.Sorted(maps.Keys(n.Status.Allocatable)) {
		podspec.Quantity(l, name, n.Status.Allocatable[name], nodeStatus.Child("allocatable", string(name)))
	}
}

var featureName = regexp.MustCompile(`^[A-Z][a-zA-Z0-9]*(\/[a-zA-Z][a-zA-Z0-9]*)*$`)

func declaredFeatures(l *check.List, features []string) {
	at := nodeStatus.Child("declaredFeatures")
	for i, f := range features {
		switch {
		case len(f) > validation.DNS1123SubdomainMaxLength:
			l.Add(field.Invalid(at.Index(i), f, fmt.Sprintf("invalid feature name %q: must be no more than %d characters", f, validation.DNS1123SubdomainMaxLength)))
		case !featureName.MatchString(f):
			l.Add(field.Invalid(at.Index(i), f, fmt.Sprintf("invalid feature name %q: must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes", f)))
		}
		if i == 0 {
			continue
		}
		switch before := features[i-1]; {
		case before == f:
			l.Add(field.Duplicate(at.Index(i), f))
		case before > f:
			l.Add(field.Invalid(at.Index(i), f, "list must be sorted alphabetically"))
		}
	}
}

func nodeWarnings(_ *kinds.Request, n, _ *corev1.Node) []string {
	var out []string
	if n.Spec.ConfigSource != nil {
		out = append(out, "spec.configSource: the feature is removed")
	}
	if n.Spec.DoNotUseExternalID != "" {
		out = append(out, "spec.externalID: this field is deprecated, and is unused by Kubernetes")
	}
	for i, cidr := range n.Spec.PodCIDRs {
		out = append(out, validation.GetWarningsForCIDR(field.NewPath("spec", "podCIDRs").Index(i), cidr)...)
	}
	return out
}
