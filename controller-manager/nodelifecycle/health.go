package nodelifecycle

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// health is what is remembered of a node between two looks.
type health struct {
	uid       string
	heartbeat metav1.Time       // of the Ready condition, as last seen
	renewed   *metav1.MicroTime // of the Lease, as last seen
	seen      time.Time         // when, by our clock, one of the two last changed
	ready     corev1.ConditionStatus
}

// look takes note of what node and lease show now, and answers since when the node has been silent.
func (h *health) look(node *corev1.Node, lease *coordinationv1.Lease, now time.Time) {
	if ready := condition(node, corev1.NodeReady); ready != nil && !ready.LastHeartbeatTime.Equal(&h.heartbeat) {
		h.heartbeat, h.seen = ready.LastHeartbeatTime, now
	}
	if lease != nil && lease.Spec.RenewTime != nil && (h.renewed == nil || h.renewed.Before(lease.Spec.RenewTime)) {
		h.renewed, h.seen = lease.Spec.RenewTime, now
	}
}

func condition(node *corev1.Node, kind corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range node.Status.Conditions {
		if node.Status.Conditions[i].Type == kind {
			return &node.Status.Conditions[i]
		}
	}
	return nil
}

func readiness(node *corev1.Node) corev1.ConditionStatus {
	if ready := condition(node, corev1.NodeReady); ready != nil {
		return ready.Status
	}
	return ""
}

// silenced are the conditions that a silent node can no longer vouch for. NetworkUnavailable is not among them: it is
// the control plane that sets it.
var silenced = []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure}

// silence makes the conditions of node Unknown and says whether that changed any.
func silence(node *corev1.Node, now time.Time) bool {
	changed := false
	for _, kind := range silenced {
		c := condition(node, kind)
		switch {
		case c == nil:
			node.Status.Conditions = append(node.Status.Conditions, corev1.NodeCondition{
				Type: kind, Status: corev1.ConditionUnknown, Reason: "NodeStatusNeverUpdated", Message: "Kubelet never posted node status.",
				LastHeartbeatTime: node.CreationTimestamp, LastTransitionTime: metav1.NewTime(now),
			})
			changed = true
		case c.Status != corev1.ConditionUnknown:
			c.Status, c.Reason, c.Message = corev1.ConditionUnknown, "NodeStatusUnknown", "Kubelet stopped posting node status."
			c.LastTransitionTime = metav1.NewTime(now)
			changed = true
		}
	}
	return changed
}
