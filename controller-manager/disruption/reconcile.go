package disruption

import (
	"context"
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/component-helpers/apps/poddisruptionbudget"

	"github.com/skiff-project/skiff/controller-manager/control"
)

const (
	// deletionTimeout is how long an evicted pod counts as gone before it is gone.
	deletionTimeout = 2 * time.Minute
	// staleAfter is how long a pod keeps the mark of an eviction that came to nothing.
	staleAfter = 2 * time.Minute
)

func (c *Controller) reconcile(ctx context.Context, key string) error {
	if err := c.writes.Behind(key); err != nil {
		return err
	}
	namespace, name := control.SplitKey(key)
	budget, err := c.budgets.PodDisruptionBudgets(namespace).Get(name)
	if err != nil {
		c.writes.Forget(key)
		return nil
	}
	updated := budget.DeepCopy()
	again, syncErr := c.compute(ctx, updated)
	if syncErr != nil {
		// Unknown means none: an eviction must not be let through on a guess.
		updated = budget.DeepCopy()
		updated.Status.DisruptionsAllowed = 0
		meta.SetStatusCondition(&updated.Status.Conditions, metav1.Condition{
			Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.SyncFailedReason,
			Message: syncErr.Error(), ObservedGeneration: updated.Status.ObservedGeneration,
		})
	}
	if !equality.Semantic.DeepEqual(budget.Status, updated.Status) {
		written, err := c.env.Client.PolicyV1().PodDisruptionBudgets(namespace).UpdateStatus(ctx, updated, metav1.UpdateOptions{})
		if err != nil {
			return control.IgnoreNotFound(err)
		}
		c.writes.Wrote(key, c.store, written)
	}
	if again > 0 {
		c.loop.AddAfter(key, again)
	}
	return syncErr
}

// compute fills in the status, and answers when it has to be looked at again without anything else happening.
func (c *Controller) compute(ctx context.Context, budget *policyv1.PodDisruptionBudget) (again time.Duration, err error) {
	selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
	if err != nil {
		return 0, err
	}
	pods, err := c.pods.Pods(budget.Namespace).List(selector)
	if err != nil {
		return 0, err
	}
	if len(pods) == 0 {
		c.events.Event(budget, corev1.EventTypeNormal, "NoPods", "No matching pods found")
	}
	expected, desired, unmanaged, err := c.wanted(ctx, budget, pods)
	if err != nil {
		c.events.Eventf(budget, corev1.EventTypeWarning, "CalculateExpectedPodCountFailed", "Failed to calculate the number of expected pods: %v", err)
		return 0, err
	}
	if len(unmanaged) > 0 {
		c.events.Eventf(budget, corev1.EventTypeWarning, "UnmanagedPods", "Pods selected by this PodDisruptionBudget (selector: %v) were found "+
			"to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. "+
			"To account for these pods please set \".spec.minAvailable\" "+
			"field of the PDB to an integer value.", budget.Spec.Selector)
	}
	now := c.env.Clock.Now()
	evicted, again := stillEvicted(budget, pods, now)
	healthy := healthy(pods, evicted)
	budget.Status = policyv1.PodDisruptionBudgetStatus{
		CurrentHealthy: healthy, DesiredHealthy: desired, ExpectedPods: expected, DisruptedPods: evicted,
		ObservedGeneration: budget.Generation, Conditions: budget.Status.Conditions,
	}
	if expected > 0 {
		budget.Status.DisruptionsAllowed = max(healthy-desired, 0)
	}
	poddisruptionbudget.UpdateDisruptionAllowedCondition(budget)
	return again, nil
}

// wanted answers how many pods there should be and how many of them must be healthy.
func (c *Controller) wanted(ctx context.Context, budget *policyv1.PodDisruptionBudget, pods []*corev1.Pod) (expected, desired int32, unmanaged []string, err error) {
	spec := budget.Spec
	switch {
	case spec.MaxUnavailable != nil:
		if expected, unmanaged, err = c.expected(ctx, pods); err != nil {
			return 0, 0, nil, err
		}
		n, err := intstr.GetScaledValueFromIntOrPercent(spec.MaxUnavailable, int(expected), true)
		return expected, max(expected-int32(n), 0), unmanaged, err
	case spec.MinAvailable != nil && spec.MinAvailable.Type == intstr.Int:
		return int32(len(pods)), spec.MinAvailable.IntVal, nil, nil
	case spec.MinAvailable != nil:
		if expected, unmanaged, err = c.expected(ctx, pods); err != nil {
			return 0, 0, nil, err
		}
		n, err := intstr.GetScaledValueFromIntOrPercent(spec.MinAvailable, int(expected), true)
		return expected, int32(n), unmanaged, err
	}
	return 0, 0, nil, nil
}

// stillEvicted answers the pods whose eviction was let through and which have not gone yet, and when the first of them will
// have had its time.
func stillEvicted(budget *policyv1.PodDisruptionBudget, pods []*corev1.Pod, now time.Time) (map[string]metav1.Time, time.Duration) {
	evicted := map[string]metav1.Time{}
	again := time.Duration(0)
	for _, pod := range pods {
		at, ok := budget.Status.DisruptedPods[pod.Name]
		if !ok || pod.DeletionTimestamp != nil {
			continue
		}
		left := at.Add(deletionTimeout).Sub(now)
		if left <= 0 {
			continue
		}
		evicted[pod.Name] = at
		if again == 0 || left < again {
			again = left
		}
	}
	return evicted, again
}

func healthy(pods []*corev1.Pod, evicted map[string]metav1.Time) (n int32) {
	for _, pod := range pods {
		if _, gone := evicted[pod.Name]; !gone && pod.DeletionTimestamp == nil && control.Ready(pod) {
			n++
		}
	}
	return n
}

// marked says that a pod carries the mark of a disruption that has not come.
func marked(pod *corev1.Pod) bool {
	mark := control.Condition(pod, corev1.DisruptionTarget)
	return pod.DeletionTimestamp == nil && !control.Ended(pod) && mark != nil && mark.Status == corev1.ConditionTrue && mark.Reason != corev1.PodReasonTerminationByKubelet
}

// clear takes the mark away when its time is over.
func (c *Controller) clear(ctx context.Context, key string) error {
	namespace, name := control.SplitKey(key)
	pod, err := c.pods.Pods(namespace).Get(name)
	if err != nil || !marked(pod) {
		return nil
	}
	if left := control.Condition(pod, corev1.DisruptionTarget).LastTransitionTime.Add(staleAfter).Sub(c.env.Clock.Now()); left > 0 {
		c.stale.AddAfter(key, left)
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID, "resourceVersion": pod.ResourceVersion},
		"status": map[string]any{"conditions": []map[string]any{{
			"type": corev1.DisruptionTarget, "status": corev1.ConditionFalse, "reason": "", "message": "",
			"lastTransitionTime": metav1.NewTime(c.env.Clock.Now()), "observedGeneration": pod.Generation,
		}}},
	})
	if err != nil {
		return err
	}
	_, err = c.env.Client.CoreV1().Pods(namespace).Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
