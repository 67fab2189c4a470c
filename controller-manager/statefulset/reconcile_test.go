package statefulset

import (
	"fmt"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

var now = time.Unix(10_000, 0)

func set(replicas int32, changes ...func(*appsv1.StatefulSet)) *appsv1.StatefulSet {
	s := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "ns", UID: "set"}, Spec: appsv1.StatefulSetSpec{
		Replicas: &replicas, PodManagementPolicy: appsv1.OrderedReadyPodManagement, ServiceName: "web",
		Selector:             &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
		UpdateStrategy:       appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType, RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{Partition: ptr.To[int32](0)}},
		VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}}},
	}}
	for _, change := range changes {
		change(s)
	}
	return s
}

func parallel(s *appsv1.StatefulSet) { s.Spec.PodManagementPolicy = appsv1.ParallelPodManagement }

func partition(n int32) func(*appsv1.StatefulSet) {
	return func(s *appsv1.StatefulSet) { s.Spec.UpdateStrategy.RollingUpdate.Partition = &n }
}

// pod is number of the given revision; how is r(eady), p(ending), f(ailed) or t(erminating).
func pod(number int, revision string, how byte) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("web-%d", number), Namespace: "ns", Labels: map[string]string{appsv1.StatefulSetRevisionLabel: revision}}}
	p.Status.Phase = corev1.PodRunning
	switch how {
	case 'p':
		p.Status.Phase = corev1.PodPending
	case 'f':
		p.Status.Phase = corev1.PodFailed
	case 't':
		p.DeletionTimestamp = ptr.To(metav1.NewTime(now))
		fallthrough
	case 'r':
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-time.Minute))}}
	}
	return p
}

func TestPlan(t *testing.T) {
	tests := []struct {
		name string
		set  *appsv1.StatefulSet
		pods []*corev1.Pod
		want []string
	}{
		{name: "starts with the first", set: set(3), want: []string{"create 0"}},
		{name: "waits until it is ready", set: set(3), pods: []*corev1.Pod{pod(0, "new", 'p')}},
		{name: "then the next", set: set(3), pods: []*corev1.Pod{pod(0, "new", 'r')}, want: []string{"create 1"}},
		{name: "numbers may start elsewhere", set: set(2, func(s *appsv1.StatefulSet) { s.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 5} }), pods: []*corev1.Pod{pod(5, "new", 'r')}, want: []string{"create 6"}},
		{name: "all at once", set: set(3, parallel), want: []string{"create 0", "create 1", "create 2"}},
		{name: "a failed pod is replaced", set: set(2), pods: []*corev1.Pod{pod(0, "new", 'r'), pod(1, "new", 'f')}, want: []string{"remove 1"}},
		{name: "a failed pod that is going is waited for", set: set(1), pods: []*corev1.Pod{func() *corev1.Pod {
			p := pod(0, "new", 'f')
			p.DeletionTimestamp = ptr.To(metav1.NewTime(now))
			return p
		}()}},
		{name: "shrinks from the top, one at a time", set: set(1), pods: []*corev1.Pod{pod(0, "new", 'r'), pod(1, "new", 'r'), pod(2, "new", 'r')}, want: []string{"remove 2"}},
		{name: "shrinks at once", set: set(1, parallel), pods: []*corev1.Pod{pod(0, "new", 'r'), pod(1, "new", 'r'), pod(2, "new", 'r')}, want: []string{"remove 2", "remove 1"}},
		{name: "does not shrink while one is going", set: set(1), pods: []*corev1.Pod{pod(0, "new", 'r'), pod(1, "new", 'r'), pod(2, "new", 't')}},
		{name: "a pod that is not well stops the shrinking of others", set: set(1), pods: []*corev1.Pod{pod(0, "new", 'r'), pod(1, "new", 'p'), pod(2, "new", 'r')}, want: []string{"remove 2"}},
		{name: "updates from the top", set: set(3), pods: []*corev1.Pod{pod(0, "old", 'r'), pod(1, "old", 'r'), pod(2, "old", 'r')}, want: []string{"remove 2"}},
		{name: "the next when that one is well again", set: set(3), pods: []*corev1.Pod{pod(0, "old", 'r'), pod(1, "old", 'r'), pod(2, "new", 'r')}, want: []string{"remove 1"}},
		{name: "not below the partition", set: set(3, partition(2)), pods: []*corev1.Pod{pod(0, "old", 'r'), pod(1, "old", 'r'), pod(2, "new", 'r')}},
		{name: "on delete: never", set: set(1, func(s *appsv1.StatefulSet) {
			s.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType}
		}), pods: []*corev1.Pod{pod(0, "old", 'r')}},
		{name: "as many at a time as may be missing", set: set(4, func(s *appsv1.StatefulSet) {
			s.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable = ptr.To(intstr.FromInt32(2))
		}),
			pods: []*corev1.Pod{pod(0, "old", 'r'), pod(1, "old", 'r'), pod(2, "old", 'r'), pod(3, "old", 'r')}, want: []string{"remove 3", "remove 2"}},
		{name: "in parallel a broken old pod costs nothing", set: set(2, parallel), pods: []*corev1.Pod{pod(0, "old", 'p'), pod(1, "old", 'r')}, want: []string{"remove 0"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, s := range (state{set: tt.set, pods: tt.pods, current: "old", update: "new", now: now}).plan() {
				switch s.deed {
				case create:
					got = append(got, fmt.Sprintf("create %d", s.number))
				case remove:
					got = append(got, fmt.Sprintf("remove %d", s.number))
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("steps %v, want %v", got, tt.want)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	s := state{set: set(3), pods: []*corev1.Pod{pod(0, "old", 'r'), pod(1, "new", 'p'), pod(2, "new", 't')}, current: "old", update: "new", now: now}
	got := s.status(0)
	if got.Replicas != 3 || got.ReadyReplicas != 2 || got.CurrentReplicas != 1 || got.UpdatedReplicas != 1 || got.CurrentRevision != "old" {
		t.Errorf("status %+v", got)
	}
	s.pods = []*corev1.Pod{pod(0, "new", 'r'), pod(1, "new", 'r'), pod(2, "new", 'r')}
	if got := s.status(0); got.CurrentRevision != "new" || got.CurrentReplicas != 3 {
		t.Errorf("the roll-out is over: %+v", got)
	}
}

func TestNewPod(t *testing.T) {
	p := newPod(set(3), &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "tmp"}, {Name: "data"}}}}, "web-1", 2)
	if p.Name != "web-2" || p.Spec.Hostname != "web-2" || p.Spec.Subdomain != "web" || p.Labels[appsv1.StatefulSetRevisionLabel] != "web-1" ||
		p.Labels[appsv1.PodIndexLabel] != "2" || p.GenerateName != "" {
		t.Errorf("pod %+v", p.ObjectMeta)
	}
	if len(p.Spec.Volumes) != 2 || p.Spec.Volumes[0].PersistentVolumeClaim.ClaimName != "data-web-2" || p.Spec.Volumes[1].Name != "tmp" {
		t.Errorf("volumes %+v", p.Spec.Volumes)
	}
	if identify(set(3), p, 2) {
		t.Error("a new pod lacks nothing")
	}
}

func TestOwners(t *testing.T) {
	policy := func(deleted, scaled appsv1.PersistentVolumeClaimRetentionPolicyType) func(*appsv1.StatefulSet) {
		return func(s *appsv1.StatefulSet) {
			s.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenDeleted: deleted, WhenScaled: scaled}
		}
	}
	const keep, remove = appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	tests := []struct {
		name   string
		set    *appsv1.StatefulSet
		number int
		want   []string
	}{
		{name: "kept", set: set(2)},
		{name: "deleted with the set", set: set(2, policy(remove, keep)), want: []string{"StatefulSet"}},
		{name: "deleted with a pod that is out of range", set: set(2, policy(keep, remove)), number: 2, want: []string{"Pod"}},
		{name: "kept while the pod is in range", set: set(2, policy(keep, remove))},
		{name: "both, in range", set: set(2, policy(remove, remove)), want: []string{"StatefulSet"}},
		{name: "both, out of range", set: set(2, policy(remove, remove)), number: 2, want: []string{"Pod"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := pod(tt.number, "new", 'r')
			p.UID = "pod"
			refs, conflict := owners(&corev1.PersistentVolumeClaim{}, tt.set, p, tt.number)
			var got []string
			for _, ref := range refs {
				got = append(got, ref.Kind)
			}
			if !slices.Equal(got, tt.want) || conflict {
				t.Errorf("owners %v, conflict %v", got, conflict)
			}
		})
	}
}
