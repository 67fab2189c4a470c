package core

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// mostDisruptedPods bounds the map that a budget keeps of pods on their way out: should the disruption controller not
// clear it, evictions stop rather than grow the object without end.
const mostDisruptedPods = 2000

// evictionDoor deletes a pod if the disruption budgets allow it.
var evictionDoor = &kinds.Subresource{
	GVK: policyv1.SchemeGroupVersion.WithKind("Eviction"), Verbs: []string{"create"},
	Create: &kinds.CreateDoor{
		New: func() runtime.Object { return &policyv1.Eviction{} },
		Do: func(ctx context.Context, store kinds.Store, req *kinds.Request, namespace, name string, o runtime.Object) (runtime.Object, error) {
			return evict(ctx, store, req, namespace, name, o.(*policyv1.Eviction))
		},
	},
}

// evictionTries bounds how often an eviction starts again because somebody else wrote the pod meanwhile.
const evictionTries = 20

func evict(ctx context.Context, store kinds.Store, req *kinds.Request, namespace, name string, e *policyv1.Eviction) (runtime.Object, error) {
	if e.Name != name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	if o := e.DeleteOptions; o != nil && o.IgnoreStoreReadErrorWithClusterBreakingPotential != nil && *o.IgnoreStoreReadErrorWithClusterBreakingPotential {
		at := field.NewPath("deleteOptions").Child("ignoreStoreReadErrorWithClusterBreakingPotential")
		return nil, apierrors.NewInvalid(policyv1.SchemeGroupVersion.WithKind("Eviction").GroupKind(), name,
			field.ErrorList{field.Invalid(at, true, "can not be set for pod eviction, try after removing the option")})
	}
	given := evictionOptions(e, req)
	pinned := given.Preconditions != nil && given.Preconditions.ResourceVersion != nil
	pods := store.Kind(corev1.Resource("pods"))
	for try := 1; ; try++ {
		obj, err := store.Get(ctx, pods, namespace, name)
		if err != nil {
			return nil, err
		}
		pod := obj.(*corev1.Pod)
		if !evictableAtOnce(pod) {
			return evictGuarded(ctx, store, req, pods, pod, given, pinned)
		}
		opts := given
		if pod.Status.Phase == corev1.PodPending && pod.DeletionTimestamp.IsZero() && !pinned {
			// It may begin to work between our look and our deletion.
			opts = pinTo(given, pod.ResourceVersion)
		}
		err = markAndDelete(ctx, store, req, pods, namespace, name, opts)
		switch {
		case err == nil:
			return evicted, nil
		case !apierrors.IsConflict(err) || pinned || try == evictionTries:
			return nil, err
		}
	}
}

var evicted = &metav1.Status{Status: metav1.StatusSuccess, Code: http.StatusCreated}

// evictGuarded evicts a pod that does work: a budget that covers it has to agree.
func evictGuarded(ctx context.Context, store kinds.Store, req *kinds.Request, pods *kinds.Kind, pod *corev1.Pod, given *metav1.DeleteOptions, pinned bool) (runtime.Object, error) {
	budget, unready, err := spendBudget(ctx, store, req, pod)
	if err != nil {
		return nil, err
	}
	opts := given
	if unready {
		// The budget let the pod go because it was not ready: hold the deletion to exactly that pod.
		opts = pinTo(given, pod.ResourceVersion)
	}
	err = markAndDelete(ctx, store, req, pods, pod.Namespace, pod.Name, opts)
	if err != nil && unready && !pinned && apierrors.IsConflict(err) {
		return nil, refuseEviction(10, fmt.Sprintf("The disruption budget %s is still being processed by the server.", budget))
	}
	if err != nil {
		return nil, err
	}
	return evicted, nil
}

func pinTo(opts *metav1.DeleteOptions, version string) *metav1.DeleteOptions {
	opts = opts.DeepCopy()
	if opts.Preconditions == nil {
		opts.Preconditions = &metav1.Preconditions{}
	}
	opts.Preconditions.ResourceVersion = &version
	return opts
}

func evictionOptions(e *policyv1.Eviction, req *kinds.Request) *metav1.DeleteOptions {
	opts := &metav1.DeleteOptions{}
	if e.DeleteOptions != nil {
		opts = e.DeleteOptions.DeepCopy()
	}
	if req.DryRun {
		opts.DryRun = []string{metav1.DryRunAll}
	}
	return opts
}

// evictableAtOnce pods do no work that a budget could protect.
func evictableAtOnce(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed ||
		pod.Status.Phase == corev1.PodPending || !pod.DeletionTimestamp.IsZero()
}

// markAndDelete says on the pod why it goes, and deletes it. A pod that is no longer what the preconditions say is
// refused.
func markAndDelete(ctx context.Context, store kinds.Store, req *kinds.Request, pods *kinds.Kind, namespace, name string, opts *metav1.DeleteOptions) error {
	if !req.DryRun {
		marked, err := store.Update(ctx, pods, namespace, name, false, func(obj runtime.Object) error {
			pod := obj.(*corev1.Pod)
			if err := checkPreconditions(pod, opts.Preconditions); err != nil {
				return err
			}
			setPodCondition(pod, corev1.PodCondition{
				Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI",
				Message: "Eviction API: evicting",
			}, metav1.NewTime(req.Now))
			return nil
		})
		if err != nil {
			return err
		}
		if opts.Preconditions != nil && opts.Preconditions.ResourceVersion != nil {
			// Our own write moved the version on; the deletion is for the pod as we left it.
			opts = pinTo(opts, marked.(*corev1.Pod).ResourceVersion)
		}
	}
	_, err := store.Delete(ctx, pods, namespace, name, opts)
	return err
}

func checkPreconditions(pod *corev1.Pod, p *metav1.Preconditions) error {
	if p == nil {
		return nil
	}
	if p.UID != nil && *p.UID != "" && *p.UID != pod.UID {
		return apierrors.NewConflict(corev1.Resource("Pod"), pod.Name,
			fmt.Errorf("the UID in the precondition (%s) does not match the UID in record (%s). The object might have been deleted and then recreated", *p.UID, pod.UID))
	}
	if p.ResourceVersion != nil && *p.ResourceVersion != "" && *p.ResourceVersion != pod.ResourceVersion {
		return apierrors.NewConflict(corev1.Resource("Pod"), pod.Name,
			fmt.Errorf("the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). The object might have been modified", *p.ResourceVersion, pod.ResourceVersion))
	}
	return nil
}

// spendBudget takes one disruption from the budget that covers the pod, and names it. unready says that none was needed
// since the pod was not ready anyway.
func spendBudget(ctx context.Context, store kinds.Store, req *kinds.Request, pod *corev1.Pod) (budget string, unready bool, err error) {
	budgets := store.Kind(schema.GroupResource{Group: "policy", Resource: "poddisruptionbudgets"})
	if budgets == nil || len(pod.Labels) == 0 {
		return "", false, nil
	}
	all, err := store.List(ctx, budgets, pod.Namespace)
	if err != nil {
		return "", false, err
	}
	var covering []*policyv1.PodDisruptionBudget
	for _, o := range all {
		b := o.(*policyv1.PodDisruptionBudget)
		selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err != nil || !selector.Matches(labels.Set(pod.Labels)) {
			continue
		}
		covering = append(covering, b)
	}
	switch len(covering) {
	case 0:
		return "", false, nil
	case 1:
	default:
		return "", false, &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError,
			Message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."}}
	}
	b := covering[0]
	if !podReady(pod) && unreadyMayGo(b) {
		return b.Name, true, nil
	}
	_, err = store.Update(ctx, budgets, b.Namespace, b.Name, req.DryRun, func(obj runtime.Object) error {
		return takeDisruption(obj.(*policyv1.PodDisruptionBudget), pod.Name, req.Now)
	})
	return b.Name, false, err
}

// unreadyMayGo: a pod that is not ready counts for nothing, unless the application is short of pods already.
func unreadyMayGo(b *policyv1.PodDisruptionBudget) bool {
	if p := b.Spec.UnhealthyPodEvictionPolicy; p != nil && *p == policyv1.AlwaysAllow {
		return true
	}
	return b.Status.CurrentHealthy >= b.Status.DesiredHealthy && b.Status.DesiredHealthy > 0
}

func takeDisruption(b *policyv1.PodDisruptionBudget, pod string, now time.Time) error {
	switch {
	case b.Status.ObservedGeneration < b.Generation:
		return refuseEviction(10, fmt.Sprintf("The disruption budget %s is still being processed by the server.", b.Name))
	case b.Status.DisruptionsAllowed < 0:
		return apierrors.NewForbidden(policyv1.Resource("poddisruptionbudget"), b.Name, errors.New("pdb disruptions allowed is negative"))
	case len(b.Status.DisruptedPods) > mostDisruptedPods:
		return apierrors.NewForbidden(policyv1.Resource("poddisruptionbudget"), b.Name, errors.New("DisruptedPods map too big - too many evictions not confirmed by PDB controller"))
	case b.Status.DisruptionsAllowed == 0:
		return refuseEviction(0, fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", b.Name, b.Status.DesiredHealthy, b.Status.CurrentHealthy))
	}
	b.Status.DisruptionsAllowed--
	if b.Status.DisruptionsAllowed == 0 {
		setBudgetCondition(b, now)
	}
	if b.Status.DisruptedPods == nil {
		b.Status.DisruptedPods = map[string]metav1.Time{}
	}
	b.Status.DisruptedPods[pod] = metav1.NewTime(now)
	return nil
}

// refuseEviction is the 429 that drains wait on.
func refuseEviction(retrySeconds int, message string) error {
	err := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", retrySeconds)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: message})
	return err
}

func setBudgetCondition(b *policyv1.PodDisruptionBudget, now time.Time) {
	want := metav1.Condition{Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse,
		Reason: policyv1.InsufficientPodsReason, ObservedGeneration: b.Status.ObservedGeneration, LastTransitionTime: metav1.NewTime(now)}
	for i := range b.Status.Conditions {
		have := &b.Status.Conditions[i]
		if have.Type != want.Type {
			continue
		}
		if have.Status == want.Status {
			want.LastTransitionTime = have.LastTransitionTime
		}
		*have = want
		return
	}
	b.Status.Conditions = append(b.Status.Conditions, want)
}

func podReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
