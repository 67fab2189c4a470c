package podspec

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

// scheduling checks what decides about the node.
func (c *specCheck) scheduling() {
	spec, at := c.spec, c.at
	c.Labels(child(at, "nodeSelector"), spec.NodeSelector)
	if a := spec.Affinity; a != nil {
		c.affinity(a, child(at, "affinity"))
	}
	for i, g := range spec.ReadinessGates {
		c.Qualified(child(index(child(at, "readinessGates"), i), "conditionType"), string(g.ConditionType))
	}
	gates := sets.New[string]()
	for i, g := range spec.SchedulingGates {
		p := index(child(at, "schedulingGates"), i)
		c.Qualified(p, g.Name)
		if gates.Has(g.Name) {
			c.Add(field.Duplicate(p, g.Name))
		}
		gates.Insert(g.Name)
	}
	c.spread()
	c.tolerations(spec.Tolerations, child(at, "tolerations"))
	if spec.Overhead != nil {
		c.resources(&corev1.ResourceRequirements{Limits: spec.Overhead}, child(at, "overhead"), containerResource)
	}
	if spec.SchedulingGroup != nil && len(spec.EvictionResponders) > 0 {
		c.Add(field.Forbidden(at.Child("schedulingGroup"), "may not be set when evictionResponders is set"))
	}
}

func (c *specCheck) affinity(a *corev1.Affinity, at *field.Path) {
	if n := a.NodeAffinity; n != nil {
		p := child(at, "nodeAffinity")
		if s := n.RequiredDuringSchedulingIgnoredDuringExecution; s != nil {
			NodeSelector(&c.List, s, child(p, "requiredDuringSchedulingIgnoredDuringExecution"))
		}
		for i, t := range n.PreferredDuringSchedulingIgnoredDuringExecution {
			p := index(child(p, "preferredDuringSchedulingIgnoredDuringExecution"), i)
			c.weight(t.Weight, p)
			nodeTerm(&c.List, &t.Preference, child(p, "preference"), true)
		}
	}
	if p := a.PodAffinity; p != nil {
		c.podAffinity(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution, child(at, "podAffinity"))
	}
	if p := a.PodAntiAffinity; p != nil {
		c.podAffinity(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution, child(at, "podAntiAffinity"))
	}
}

func (c *specCheck) weight(n int32, at *field.Path) {
	if n <= 0 || n > 100 {
		c.Add(field.Invalid(at.Child("weight"), n, "must be in the range 1-100"))
	}
}

func (c *specCheck) podAffinity(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm, at *field.Path) {
	for i := range required {
		c.podTerm(&required[i], index(child(at, "requiredDuringSchedulingIgnoredDuringExecution"), i))
	}
	for i := range preferred {
		p := index(child(at, "preferredDuringSchedulingIgnoredDuringExecution"), i)
		c.weight(preferred[i].Weight, p)
		c.podTerm(&preferred[i].PodAffinityTerm, child(p, "podAffinityTerm"))
	}
}

func (c *specCheck) podTerm(t *corev1.PodAffinityTerm, at *field.Path) {
	c.Selector(child(at, "labelSelector"), t.LabelSelector)
	c.Selector(child(at, "namespaceSelector"), t.NamespaceSelector)
	for _, name := range t.Namespaces {
		c.Name(child(at, "namespace"), name, apivalidation.ValidateNamespaceName)
	}
	c.labelKeys(t.MatchLabelKeys, t.MismatchLabelKeys, t.LabelSelector, at)
	if t.TopologyKey == "" {
		c.Add(field.Required(at.Child("topologyKey"), "can not be empty"))
	}
	c.LabelKey(child(at, "topologyKey"), t.TopologyKey)
}

// labelKeys checks keys whose values are the pod's own. The server has added them to the selector, once each: a key
// that is there twice stood there before.
func (c *specCheck) labelKeys(match, mismatch []string, selector *metav1.LabelSelector, at *field.Path) {
	keys := func(name string, keys []string) {
		if len(keys) == 0 {
			return
		}
		if selector == nil {
			c.Add(field.Forbidden(at.Child(name), "must not be specified when labelSelector is not set"))
			return
		}
		for i, key := range keys {
			c.LabelKey(index(child(at, name), i), key)
		}
	}
	keys("matchLabelKeys", match)
	keys("mismatchLabelKeys", mismatch)
	place := map[string]int{}
	for i, key := range match {
		place[key] = i
	}
	if selector != nil {
		seen := sets.KeySet(selector.MatchLabels)
		for _, e := range selector.MatchExpressions {
			if i, merged := place[e.Key]; merged && seen.Has(e.Key) {
				c.Add(field.Invalid(at.Index(i), e.Key, "exists in both matchLabelKeys and labelSelector"))
			}
			seen.Insert(e.Key)
		}
	}
	other := sets.New(mismatch...)
	for i, key := range match {
		if other.Has(key) {
			c.Add(field.Invalid(at.Child("matchLabelKeys").Index(i), key, "exists in both matchLabelKeys and mismatchLabelKeys"))
		}
	}
}

func (c *specCheck) spread() {
	list := c.spec.TopologySpreadConstraints
	for i := range list {
		t, at := &list[i], index(child(c.at, "topologySpreadConstraints"), i)
		c.Positive(child(at, "maxSkew"), int64(t.MaxSkew))
		if t.TopologyKey == "" {
			c.Add(field.Required(at.Child("topologyKey"), "can not be empty"))
		}
		check.OneOf(&c.List, child(at, "whenUnsatisfiable"), t.WhenUnsatisfiable, corev1.DoNotSchedule, corev1.ScheduleAnyway)
		for k := i + 1; k < len(list); k++ {
			if list[k].TopologyKey == t.TopologyKey && list[k].WhenUnsatisfiable == t.WhenUnsatisfiable {
				c.Add(field.Duplicate(at.Child("{topologyKey, whenUnsatisfiable}"), fmt.Sprintf("{%v, %v}", t.TopologyKey, t.WhenUnsatisfiable)))
				break
			}
		}
		if n := t.MinDomains; n != nil {
			c.Positive(child(at, "minDomains"), int64(*n))
			if t.WhenUnsatisfiable != corev1.DoNotSchedule {
				c.Add(field.Invalid(at.Child("minDomains"), n, fmt.Sprintf("can only use minDomains if whenUnsatisfiable=%s, not %s", corev1.DoNotSchedule, t.WhenUnsatisfiable)))
			}
		}
		for name, p := range map[string]*corev1.NodeInclusionPolicy{"nodeAffinityPolicy": t.NodeAffinityPolicy, "nodeTaintsPolicy": t.NodeTaintsPolicy} {
			if p != nil {
				check.OneOf(&c.List, child(at, name), *p, corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore)
			}
		}
		c.labelKeys(t.MatchLabelKeys, nil, t.LabelSelector, at)
		c.Selector(child(at, "labelSelector"), t.LabelSelector)
	}
}

func (c *specCheck) tolerations(list []corev1.Toleration, at *field.Path) {
	c.All(Tolerations(list, at))
}

// Tolerations checks what taints a pod bears.
func Tolerations(list []corev1.Toleration, at *field.Path) field.ErrorList {
	var l check.List
	for i := range list {
		t, p := &list[i], index(at, i)
		if t.Key != "" {
			l.LabelKey(child(p, "key"), t.Key)
		} else if t.Operator != corev1.TolerationOpExists {
			l.Add(field.Invalid(p.Child("operator"), t.Operator, "operator must be Exists when `key` is empty, which means \"match all values and all keys\""))
		}
		if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
			l.Add(field.Invalid(p.Child("effect"), t.Effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"))
		}
		switch t.Operator {
		case corev1.TolerationOpEqual, "":
			if m := validation.IsValidLabelValue(t.Value); len(m) > 0 {
				l.Add(field.Invalid(p.Child("operator"), t.Value, strings.Join(m, ";")))
			}
		case corev1.TolerationOpExists:
			if t.Value != "" {
				l.Add(field.Invalid(p.Child("operator"), t.Value, "value must be empty when `operator` is 'Exists'"))
			}
		case corev1.TolerationOpLt, corev1.TolerationOpGt:
			l.Add(field.NotSupported(p.Child("operator"), t.Operator, []corev1.TolerationOperator{
				corev1.TolerationOpEqual, corev1.TolerationOpExists, corev1.TolerationOpLt, corev1.TolerationOpGt}))
		default:
			l.Add(field.NotSupported(p.Child("operator"), t.Operator, []corev1.TolerationOperator{corev1.TolerationOpEqual, corev1.TolerationOpExists}))
		}
		if t.Effect != "" {
			TaintEffect(&l, t.Effect, child(p, "effect"))
		}
	}
	return l.ErrorList
}

// TaintEffect checks what a taint does to pods.
func TaintEffect(l *check.List, e corev1.TaintEffect, at *field.Path) {
	check.RequiredOneOf(l, at, e, corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)
}

// NodeSelector checks a selector of nodes.
func NodeSelector(l *check.List, s *corev1.NodeSelector, at *field.Path) {
	at = child(at, "nodeSelectorTerms")
	if len(s.NodeSelectorTerms) == 0 {
		l.Add(field.Required(at, "must have at least one node selector term"))
	}
	for i := range s.NodeSelectorTerms {
		nodeTerm(l, &s.NodeSelectorTerms[i], index(at, i), false)
	}
}

func nodeTerm(l *check.List, t *corev1.NodeSelectorTerm, at *field.Path, anyValue bool) {
	for i := range t.MatchExpressions {
		nodeRequirement(l, &t.MatchExpressions[i], index(child(at, "matchExpressions"), i), anyValue)
	}
	for i := range t.MatchFields {
		nodeField(l, &t.MatchFields[i], index(child(at, "matchFields"), i))
	}
}

func nodeRequirement(l *check.List, r *corev1.NodeSelectorRequirement, at *field.Path, anyValue bool) {
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) == 0 {
			l.Add(field.Required(at.Child("values"), "must be specified when `operator` is 'In' or 'NotIn'"))
		}
	case corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist:
		if len(r.Values) > 0 {
			l.Add(field.Forbidden(at.Child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
		}
	case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
		if len(r.Values) != 1 {
			l.Add(field.Required(at.Child("values"), "must be specified single value when `operator` is 'Lt' or 'Gt'"))
		}
	default:
		l.Add(field.Invalid(at.Child("operator"), r.Operator, "not a valid selector operator"))
	}
	l.LabelKey(child(at, "key"), r.Key)
	if anyValue {
		return
	}
	for i, v := range r.Values {
		l.Rule(index(child(at, "values"), i), v, validation.IsValidLabelValue)
	}
}

func nodeField(l *check.List, r *corev1.NodeSelectorRequirement, at *field.Path) {
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) != 1 {
			l.Add(field.Required(at.Child("values"), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"))
		}
	default:
		l.Add(field.Invalid(at.Child("operator"), r.Operator, "not a valid selector operator"))
	}
	if r.Key != metav1.ObjectNameField {
		l.Add(field.Invalid(at.Child("key"), r.Key, "not a valid field selector key"))
		return
	}
	for i, v := range r.Values {
		l.Name(index(child(at, "values"), i), v, apivalidation.NameIsDNSSubdomain)
	}
}
