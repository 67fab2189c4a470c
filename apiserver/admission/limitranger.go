package admission

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	podresource "k8s.io/component-helpers/resource"
)

const limitRangerNote = "kubernetes.io/limit-ranger"

// LimitRanger gives containers the resources that a LimitRange says they have by default, and refuses pods and claims
// beyond its bounds.
func LimitRanger(o *Objects) Rule {
	return Rule{
		Name: "LimitRanger",
		Mutate: func(ctx context.Context, a *Attributes) error {
			return o.eachLimitRange(ctx, a, func(l *corev1.LimitRange) error {
				if pod, ok := a.Object.(*corev1.Pod); ok {
					setDefaults(pod, l)
				}
				return nil
			})
		},
		Validate: func(ctx context.Context, a *Attributes) error {
			return o.eachLimitRange(ctx, a, func(l *corev1.LimitRange) error {
				switch obj := a.Object.(type) {
				case *corev1.Pod:
					return podWithin(l, obj)
				case *corev1.PersistentVolumeClaim:
					return claimWithin(l, obj)
				}
				return nil
			})
		},
	}
}

func (o *Objects) eachLimitRange(ctx context.Context, a *Attributes, do func(*corev1.LimitRange) error) error {
	pod, claim := a.Is("", "pods", "") && a.Operation == Create || a.Is("", "pods", "resize") && a.Operation == Update,
		a.Is("", "persistentvolumeclaims", "") && (a.Operation == Create || a.Operation == Update)
	if !pod && !claim {
		return nil
	}
	if a.Old != nil {
		if m, err := meta.Accessor(a.Old); err == nil && m.GetDeletionTimestamp() != nil {
			return nil
		}
	}
	list, err := o.list(ctx, core("limitranges"), a.Namespace)
	if err != nil {
		return err
	}
	for _, obj := range list {
		if err := do(obj.(*corev1.LimitRange)); err != nil {
			return forbidden(a, "%w", err)
		}
	}
	return nil
}

func setDefaults(pod *corev1.Pod, l *corev1.LimitRange) {
	requests, limits := corev1.ResourceList{}, corev1.ResourceList{}
	for i := range l.Spec.Limits {
		if item := &l.Spec.Limits[i]; item.Type == corev1.LimitTypeContainer {
			for k, v := range item.DefaultRequest {
				requests[k] = v
			}
			for k, v := range item.Default {
				limits[k] = v
			}
		}
	}
	var notes []string
	for i := range pod.Spec.Containers {
		notes = append(notes, setContainer(&pod.Spec.Containers[i], "container", requests, limits)...)
	}
	for i := range pod.Spec.InitContainers {
		notes = append(notes, setContainer(&pod.Spec.InitContainers[i], "init container", requests, limits)...)
	}
	if len(notes) > 0 {
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations[limitRangerNote] = "LimitRanger plugin set: " + strings.Join(notes, "; ")
	}
}

func setContainer(c *corev1.Container, what string, requests, limits corev1.ResourceList) []string {
	var notes []string
	for _, part := range []struct {
		name     string
		to       *corev1.ResourceList
		defaults corev1.ResourceList
	}{{"request", &c.Resources.Requests, requests}, {"limit", &c.Resources.Limits, limits}} {
		var set []string
		for k, v := range part.defaults {
			if _, ok := (*part.to)[k]; ok {
				continue
			}
			if *part.to == nil {
				*part.to = corev1.ResourceList{}
			}
			(*part.to)[k] = v.DeepCopy()
			set = append(set, string(k))
		}
		if len(set) > 0 {
			slices.Sort(set)
			notes = append(notes, fmt.Sprintf("%s %s for %s %s", strings.Join(set, ", "), part.name, what, c.Name))
		}
	}
	return notes
}

func podWithin(l *corev1.LimitRange, pod *corev1.Pod) error {
	var errs []error
	for i := range l.Spec.Limits {
		item := &l.Spec.Limits[i]
		switch item.Type {
		case corev1.LimitTypeContainer:
			for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
				for j := range list {
					errs = append(errs, within(item, list[j].Resources.Requests, list[j].Resources.Limits)...)
				}
			}
		case corev1.LimitTypePod:
			opts := podresource.PodResourcesOptions{ExcludeOverhead: true}
			errs = append(errs, within(item, podresource.PodRequests(pod, opts), podresource.PodLimits(pod, opts))...)
		}
	}
	return utilerrors.NewAggregate(errs)
}

func within(item *corev1.LimitRangeItem, requests, limits corev1.ResourceList) []error {
	var errs []error
	each := func(bounds corev1.ResourceList, check func(limitCheck) error) {
		for _, name := range sortedNames(bounds) {
			c := limitCheck{kind: string(item.Type), name: string(name), bound: bounds[name]}
			c.request, c.hasRequest = requests[name]
			c.limit, c.hasLimit = limits[name]
			if err := check(c); err != nil {
				errs = append(errs, err)
			}
		}
	}
	each(item.Min, limitCheck.min)
	each(item.Max, limitCheck.max)
	each(item.MaxLimitRequestRatio, limitCheck.ratio)
	return errs
}

func sortedNames(list corev1.ResourceList) []corev1.ResourceName {
	var out []corev1.ResourceName
	for name := range list {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// limitCheck holds what is asked for against one bound.
type limitCheck struct {
	kind, name           string
	bound                resource.Quantity
	request, limit       resource.Quantity
	hasRequest, hasLimit bool
}

// values are comparable numbers: thousandths where they fit.
func (c limitCheck) values() (request, limit, bound int64) {
	request, limit, bound = c.request.Value(), c.limit.Value(), c.bound.Value()
	if request <= resource.MaxMilliValue && limit <= resource.MaxMilliValue && bound <= resource.MaxMilliValue {
		return c.request.MilliValue(), c.limit.MilliValue(), c.bound.MilliValue()
	}
	return request, limit, bound
}

func (c limitCheck) min() error {
	request, limit, bound := c.values()
	text := fmt.Sprintf("minimum %s usage per %s is %s", c.name, c.kind, c.bound.String())
	switch {
	case !c.hasRequest:
		return errors.New(text + ".  No request is specified")
	case request < bound:
		return fmt.Errorf("%s, but request is %s", text, c.request.String())
	case c.hasLimit && limit < bound:
		return fmt.Errorf("%s, but limit is %s", text, c.limit.String())
	}
	return nil
}

func (c limitCheck) max() error {
	request, limit, bound := c.values()
	text := fmt.Sprintf("maximum %s usage per %s is %s", c.name, c.kind, c.bound.String())
	switch {
	case !c.hasLimit:
		return errors.New(text + ".  No limit is specified")
	case limit > bound:
		return fmt.Errorf("%s, but limit is %s", text, c.limit.String())
	case c.hasRequest && request > bound:
		return fmt.Errorf("%s, but request is %s", text, c.request.String())
	}
	return nil
}

// maxRequest is max for claims, which have no limits.
func (c limitCheck) maxRequest() error {
	request, _, bound := c.values()
	text := fmt.Sprintf("maximum %s usage per %s is %s", c.name, c.kind, c.bound.String())
	switch {
	case !c.hasRequest:
		return errors.New(text + ".  No request is specified")
	case request > bound:
		return fmt.Errorf("%s, but request is %s", text, c.request.String())
	}
	return nil
}

func (c limitCheck) ratio() error {
	request, limit, _ := c.values()
	text := fmt.Sprintf("%s max limit to request ratio per %s is %s", c.name, c.kind, c.bound.String())
	switch {
	case !c.hasRequest || request == 0:
		return errors.New(text + ", but no request is specified or request is 0")
	case !c.hasLimit || limit == 0:
		return errors.New(text + ", but no limit is specified or limit is 0")
	}
	shown := float64(limit) / float64(request)
	observed, bound := shown, float64(c.bound.Value())
	if c.bound.Value() <= resource.MaxMilliValue {
		observed, bound = shown*1000, float64(c.bound.MilliValue())
	}
	if observed > bound {
		return fmt.Errorf("%s, but provided ratio is %f", text, shown)
	}
	return nil
}

func claimWithin(l *corev1.LimitRange, claim *corev1.PersistentVolumeClaim) error {
	var errs []error
	for i := range l.Spec.Limits {
		item := &l.Spec.Limits[i]
		if item.Type != corev1.LimitTypePersistentVolumeClaim {
			continue
		}
		check := func(bounds corev1.ResourceList, do func(limitCheck) error) {
			for _, name := range sortedNames(bounds) {
				c := limitCheck{kind: string(item.Type), name: string(name), bound: bounds[name]}
				c.request, c.hasRequest = claim.Spec.Resources.Requests[name]
				if err := do(c); err != nil {
					errs = append(errs, err)
				}
			}
		}
		check(item.Min, limitCheck.min)
		check(item.Max, limitCheck.maxRequest)
	}
	return utilerrors.NewAggregate(errs)
}
