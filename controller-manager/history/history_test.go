package history

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The wanted name is upstream's, printed by its own NewControllerRevision.
func TestNameIsUpstreams(t *testing.T) {
	owner := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "st", Namespace: "x", UID: "u"}}
	r := New(owner, appsv1.SchemeGroupVersion.WithKind("StatefulSet"), map[string]string{"app": "web"}, []byte(`{"spec":{"template":{"$patch":"replace"}}}`), 1, 0)
	if r.Name != "st-589f85db5b" || r.Labels[hashLabel] != "589f85db5b" || r.Labels["app"] != "web" {
		t.Errorf("%s %v", r.Name, r.Labels)
	}
	if again := New(owner, appsv1.SchemeGroupVersion.WithKind("StatefulSet"), nil, r.Data.Raw, 1, 1); again.Name == r.Name {
		t.Error("a collision does not change the name")
	}
}

func TestDataThereAndBack(t *testing.T) {
	template := &corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"b": "2", "a": "1"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i", Command: []string{"x"}}}},
	}
	data, err := Data(template)
	if err != nil {
		t.Fatal(err)
	}
	r := New(&appsv1.DaemonSet{}, appsv1.SchemeGroupVersion.WithKind("DaemonSet"), nil, data, 1, 0)
	back, err := Template(r)
	if err != nil {
		t.Fatal(err)
	}
	if !equality.Semantic.DeepEqual(back, template) {
		t.Errorf("came back as %+v", back)
	}
	if other, _ := Data(template.DeepCopy()); string(other) != string(data) {
		t.Error("equal templates have different data")
	}
}
