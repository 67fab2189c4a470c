package control

import (
	"context"
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// Disrupt marks pod with the condition DisruptionTarget, and with fail as failed too, so that whoever owns it sees that
// its end was not its own doing. reason empty leaves the condition out. A pod that is gone is no error.
func Disrupt(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod, reason, message string, fail bool, now metav1.Time) error {
	status := map[string]any{}
	if fail && !Ended(pod) {
		status["phase"] = corev1.PodFailed
	}
	if has := Condition(pod, corev1.DisruptionTarget); reason != "" && (has == nil || has.Status != corev1.ConditionTrue) {
		status["conditions"] = []map[string]any{{
			"type": corev1.DisruptionTarget, "status": corev1.ConditionTrue, "reason": reason, "message": message,
			"lastTransitionTime": now, "observedGeneration": pod.Generation,
		}}
	}
	if len(status) == 0 {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": status})
	if err != nil {
		return err
	}
	_, err = client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// IgnoreNotFound is for those to whom "gone" is as good as "done".
func IgnoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
