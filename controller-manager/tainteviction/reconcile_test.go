package tainteviction

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

func TestTolerated(t *testing.T) {
	a, b := corev1.Taint{Key: "a", Effect: corev1.TaintEffectNoExecute}, corev1.Taint{Key: "b", Effect: corev1.TaintEffectNoExecute}
	tolerate := func(key string, seconds *int64) corev1.Toleration {
		return corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: seconds}
	}
	tests := []struct {
		name        string
		taints      []corev1.Taint
		tolerations []corev1.Toleration
		stay        time.Duration
		forever     bool
	}{
		{name: "not tolerated", taints: []corev1.Taint{a}},
		{name: "for ever", taints: []corev1.Taint{a}, tolerations: []corev1.Toleration{tolerate("a", nil)}, forever: true},
		{name: "for a time", taints: []corev1.Taint{a}, tolerations: []corev1.Toleration{tolerate("a", ptr.To[int64](30))}, stay: 30 * time.Second},
		{name: "the shortest counts", taints: []corev1.Taint{a, b}, tolerations: []corev1.Toleration{tolerate("a", ptr.To[int64](30)), tolerate("b", ptr.To[int64](10))}, stay: 10 * time.Second},
		{name: "one of two is not enough", taints: []corev1.Taint{a, b}, tolerations: []corev1.Toleration{tolerate("a", nil)}},
		{name: "less than no time is none", taints: []corev1.Taint{a}, tolerations: []corev1.Toleration{tolerate("a", ptr.To[int64](-5))}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if stay, forever := tolerated(tt.taints, tt.tolerations); stay != tt.stay || forever != tt.forever {
				t.Errorf("%s, for ever %v", stay, forever)
			}
		})
	}
}
