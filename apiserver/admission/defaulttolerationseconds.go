package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
)

// notReadySeconds is how long a pod stays on a node that is not ready or not reachable, unless it says otherwise.
const notReadySeconds = 300

// DefaultTolerationSeconds lets every pod stay for a while on a node that is silent.
func DefaultTolerationSeconds() Rule {
	return Rule{Name: "DefaultTolerationSeconds", Mutate: func(_ context.Context, a *Attributes) error {
		if !a.Is("", "pods", "") || a.Operation != Create && a.Operation != Update {
			return nil
		}
		pod := a.Object.(*corev1.Pod)
		for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
			if !toleratesEviction(pod, key) {
				seconds := int64(notReadySeconds)
				pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists,
					Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds})
			}
		}
		return nil
	}}
}

func toleratesEviction(pod *corev1.Pod, key string) bool {
	for _, t := range pod.Spec.Tolerations {
		if (t.Key == key || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "") {
			return true
		}
	}
	return false
}
