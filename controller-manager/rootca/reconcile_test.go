package rootca

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestPlan(t *testing.T) {
	made, write := plan("ns", nil, "PEM")
	if !write || made.Data[fileKey] != "PEM" || made.Namespace != "ns" {
		t.Errorf("made %+v, write %v", made, write)
	}
	if _, write := plan("ns", made, "PEM"); write {
		t.Error("as it should be, yet written")
	}
	changed := made.DeepCopy()
	changed.Data = map[string]string{"x": "y"}
	if again, write := plan("ns", changed, "PEM"); !write || len(again.Data) != 1 || again.Data[fileKey] != "PEM" {
		t.Errorf("not restored: %+v", again)
	}
	if len(changed.Data) != 1 || changed.Data["x"] != "y" {
		t.Error("the cached object was changed")
	}
	bare := &corev1.ConfigMap{Data: map[string]string{fileKey: "PEM"}}
	if _, write := plan("ns", bare, "PEM"); !write {
		t.Error("the description is missing")
	}
}
