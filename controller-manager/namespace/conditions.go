package namespace

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// findings is what one pass over a namespace has found, for its conditions.
type findings struct {
	discovery  error
	parsing    error
	failures   []string                            // of kinds that could not be emptied
	remaining  map[schema.GroupVersionResource]int // objects left
	finalizers map[string]int                      // objects left that carry this finalizer
	// counted is false when the pass stopped at the pods: nothing is known then about what else there is.
	counted bool
}

// conditions answers all conditions that the findings amount to.
func (f findings) conditions(now time.Time) []corev1.NamespaceCondition {
	bad := func(kind corev1.NamespaceConditionType, reason, message string) corev1.NamespaceCondition {
		return corev1.NamespaceCondition{Type: kind, Status: corev1.ConditionTrue, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(now)}
	}
	all := []corev1.NamespaceCondition{
		{Type: corev1.NamespaceDeletionDiscoveryFailure, Reason: "ResourcesDiscovered", Message: "All resources successfully discovered"},
		{Type: corev1.NamespaceDeletionGVParsingFailure, Reason: "ParsedGroupVersions", Message: "All legacy kube types successfully parsed"},
		{Type: corev1.NamespaceDeletionContentFailure, Reason: "ContentDeleted", Message: "All content successfully deleted, may be waiting on finalization"},
		{Type: corev1.NamespaceContentRemaining, Reason: "ContentRemoved", Message: "All content successfully removed"},
		{Type: corev1.NamespaceFinalizersRemaining, Reason: "ContentHasNoFinalizers", Message: "All content-preserving finalizers finished"},
	}
	for i := range all {
		all[i].Status, all[i].LastTransitionTime = corev1.ConditionFalse, metav1.NewTime(now)
	}
	if f.discovery != nil {
		message := f.discovery.Error()
		var partial *discovery.ErrGroupDiscoveryFailed
		if errors.As(f.discovery, &partial) {
			message = fmt.Sprintf("Discovery failed for some groups, %d failing: %v", len(partial.Groups), f.discovery)
		}
		all[0] = bad(all[0].Type, "DiscoveryFailed", message)
	}
	if f.parsing != nil {
		all[1] = bad(all[1].Type, "GroupVersionParsingFailed", f.parsing.Error())
	}
	if len(f.failures) > 0 {
		slices.Sort(f.failures)
		all[2] = bad(all[2].Type, "ContentDeletionFailed",
			fmt.Sprintf("Failed to delete all resource types, %d remaining: %v", len(f.failures), strings.Join(f.failures, ", ")))
	}
	if !f.counted {
		return all
	}
	if len(f.remaining) > 0 {
		var lines []string
		for gvr, n := range f.remaining {
			lines = append(lines, fmt.Sprintf("%s.%s has %d resource instances", gvr.Resource, gvr.Group, n))
		}
		slices.Sort(lines)
		all[3] = bad(all[3].Type, "SomeResourcesRemain", "Some resources are remaining: "+strings.Join(lines, ", "))
	}
	if len(f.finalizers) > 0 {
		var lines []string
		for _, name := range slices.Sorted(maps.Keys(f.finalizers)) {
			lines = append(lines, fmt.Sprintf("%s in %d resource instances", name, f.finalizers[name]))
		}
		all[4] = bad(all[4].Type, "SomeFinalizersRemain", "Some content in the namespace has finalizers remaining: "+strings.Join(lines, ", "))
	}
	return all
}

// setConditions puts wanted into status and says whether that changed anything. The time of the last transition stays
// where the status does.
func setConditions(status *corev1.NamespaceStatus, wanted []corev1.NamespaceCondition) bool {
	changed := false
	for _, w := range wanted {
		i := slices.IndexFunc(status.Conditions, func(c corev1.NamespaceCondition) bool { return c.Type == w.Type })
		if i < 0 {
			status.Conditions = append(status.Conditions, w)
			changed = true
			continue
		}
		has := &status.Conditions[i]
		if has.Status == w.Status && has.Reason == w.Reason && has.Message == w.Message {
			continue
		}
		if has.Status == w.Status {
			w.LastTransitionTime = has.LastTransitionTime
		}
		*has = w
		changed = true
	}
	return changed
}
