package deployment

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

func deployment(replicas int32, surge, unavailable string) *appsv1.Deployment {
	s, u := intstr.Parse(surge), intstr.Parse(unavailable)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", UID: "d", Generation: 1},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &s, MaxUnavailable: &u}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: "new"}}}},
		},
	}
}

// set is a replica set of size pods of which available are.
func set(name string, age int, size, available int32, annotations ...string) *appsv1.ReplicaSet {
	s := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(time.Unix(int64(1000-age), 0)), Annotations: map[string]string{}},
		Spec:       appsv1.ReplicaSetSpec{Replicas: &size},
		Status:     appsv1.ReplicaSetStatus{Replicas: size, ReadyReplicas: available, AvailableReplicas: available, TerminatingReplicas: ptr.To[int32](0)},
	}
	for i := 0; i+1 < len(annotations); i += 2 {
		s.Annotations[annotations[i]] = annotations[i+1]
	}
	return s
}

func text(steps []resize) (all []string) {
	for _, s := range steps {
		all = append(all, fmt.Sprintf("%s=%d", s.set.Name, s.size))
	}
	return all
}

func TestRoll(t *testing.T) {
	tests := []struct {
		name string
		d    *appsv1.Deployment
		new  *appsv1.ReplicaSet
		old  []*appsv1.ReplicaSet
		want []string
	}{
		{name: "settled: nothing to do", d: deployment(10, "3", "2"), new: set("new", 0, 10, 10)},
		{name: "the new set grows by what surge leaves", d: deployment(10, "3", "2"), new: set("new", 0, 0, 0), old: []*appsv1.ReplicaSet{set("old", 9, 10, 10)}, want: []string{"new=3"}},
		{name: "no surge: the old set makes room first", d: deployment(10, "0", "2"), new: set("new", 0, 0, 0), old: []*appsv1.ReplicaSet{set("old", 9, 10, 10)}, want: []string{"old=8"}},
		{name: "too large after a smaller wish: shrinks at once", d: deployment(4, "1", "1"), new: set("new", 0, 6, 6), want: []string{"new=4"}},
		{name: "the old set goes as the new one becomes available", d: deployment(10, "3", "2"), new: set("new", 0, 5, 5), old: []*appsv1.ReplicaSet{set("old", 9, 8, 8)}, want: []string{"old=3"}},
		{name: "new pods that do not come up hold the old ones", d: deployment(10, "3", "2"), new: set("new", 0, 5, 0), old: []*appsv1.ReplicaSet{set("old", 9, 8, 8)}, want: nil},
		{name: "unhealthy old pods go first, whichever set", d: deployment(10, "3", "2"), new: set("new", 0, 8, 8), old: []*appsv1.ReplicaSet{set("a", 9, 3, 3), set("b", 5, 2, 0)}, want: []string{"a=0", "b=0"}},
		{name: "both fences zero: one may be missing", d: deployment(3, "0", "0"), new: set("new", 0, 0, 0), old: []*appsv1.ReplicaSet{set("old", 9, 3, 3)}, want: []string{"old=2"}},
		{name: "percentages round surge up and unavailable down", d: deployment(3, "25%", "25%"), new: set("new", 0, 0, 0), old: []*appsv1.ReplicaSet{set("old", 9, 3, 3)}, want: []string{"new=1"}},
		{name: "scaled to zero", d: deployment(0, "1", "1"), new: set("new", 0, 2, 2), old: []*appsv1.ReplicaSet{set("old", 9, 2, 2)}, want: []string{"new=0"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := text(roll(tt.d, tt.new, tt.old)); !slices.Equal(got, tt.want) {
				t.Errorf("steps %v, want %v", got, tt.want)
			}
		})
	}
}

// Whatever the fences, a roll-out ends, and on its way never has more pods than allowed nor fewer available ones.
func TestRollGetsThere(t *testing.T) {
	for _, fence := range [][2]string{{"1", "0"}, {"0", "1"}, {"25%", "25%"}, {"100%", "0"}, {"3", "2"}, {"0", "100%"}} {
		for _, n := range []int32{1, 2, 5, 10} {
			d := deployment(n, fence[0], fence[1])
			surge, _ := fences(d)
			new, old := set("new", 0, 0, 0), []*appsv1.ReplicaSet{set("a", 9, n/2, n/2), set("b", 5, n-n/2, n-n/2)}
			steps := 0
			for ; steps < 100; steps++ {
				do := roll(d, new, old)
				for _, s := range do {
					*s.set.Spec.Replicas = s.size
					s.set.Status.Replicas, s.set.Status.AvailableReplicas = s.size, min(s.size, s.set.Status.AvailableReplicas)
				}
				all := append(slices.Clone(old), new)
				if total := sum(all, size); total > n+surge {
					t.Fatalf("%v of %d: %d pods", fence, n, total)
				}
				if up := sum(all, available); up < n-maxUnavailable(d) {
					t.Fatalf("%v of %d: %d available", fence, n, up)
				}
				if new.Status.AvailableReplicas < size(new) {
					new.Status.AvailableReplicas++ // one pod at a time comes up
				} else if len(do) == 0 {
					break
				}
			}
			if size(new) != n || sum(old, size) != 0 {
				t.Errorf("%v of %d: after %d steps new %d, old %d", fence, n, steps, size(new), sum(old, size))
			}
		}
	}
}

func TestScale(t *testing.T) {
	at := func(n int) []string {
		return []string{desiredAnnotation, strconv.Itoa(n), maxAnnotation, strconv.Itoa(n + 3)}
	}
	tests := []struct {
		name string
		d    *appsv1.Deployment
		new  *appsv1.ReplicaSet
		old  []*appsv1.ReplicaSet
		want []string
	}{
		{name: "one active set takes all", d: deployment(7, "3", "2"), new: set("new", 0, 5, 5), want: []string{"new=7"}},
		{name: "none active: the newest takes all", d: deployment(7, "3", "2"), old: []*appsv1.ReplicaSet{set("a", 9, 0, 0), set("b", 5, 0, 0)}, want: []string{"b=7"}},
		{name: "saturated: the old ones go", d: deployment(10, "3", "2"), new: set("new", 0, 10, 10, at(10)...), old: []*appsv1.ReplicaSet{set("old", 9, 2, 2, at(10)...)}, want: []string{"old=0"}},
		{name: "shares are kept while growing", d: deployment(20, "3", "2"), new: set("new", 0, 5, 5, at(10)...), old: []*appsv1.ReplicaSet{set("old", 9, 8, 8, at(10)...)}, want: []string{"old=14", "new=9"}},
		{name: "shares are kept while shrinking", d: deployment(5, "3", "2"), new: set("new", 0, 5, 5, at(10)...), old: []*appsv1.ReplicaSet{set("old", 9, 8, 8, at(10)...)}, want: []string{"old=5", "new=3"}},
		{name: "to zero", d: deployment(0, "3", "2"), new: set("new", 0, 5, 5, at(10)...), old: []*appsv1.ReplicaSet{set("old", 9, 8, 8, at(10)...)}, want: []string{"old=0", "new=0"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := text(scale(tt.d, tt.new, tt.old)); !slices.Equal(got, tt.want) {
				t.Errorf("steps %v, want %v", got, tt.want)
			}
		})
	}
}

func TestAnnotate(t *testing.T) {
	d := deployment(1, "1", "0")
	d.Annotations = map[string]string{"team": "blue", revisionAnnotation: "9", corev1.LastAppliedConfigAnnotation: "{}"}
	s := set("new", 0, 1, 1, revisionAnnotation, "2")
	if !annotate(d, s, 5) {
		t.Error("nothing changed")
	}
	if s.Annotations["team"] != "blue" || s.Annotations[revisionAnnotation] != "5" || s.Annotations[historyAnnotation] != "2" || s.Annotations[corev1.LastAppliedConfigAnnotation] != "" {
		t.Errorf("annotations %v", s.Annotations)
	}
	if annotate(d, s, 4) {
		t.Error("a set's revision never falls")
	}
	if !annotate(d, s, 7) || s.Annotations[historyAnnotation] != "2,5" {
		t.Errorf("history %q", s.Annotations[historyAnnotation])
	}
}

func TestSurplus(t *testing.T) {
	d := deployment(1, "1", "0")
	d.Spec.RevisionHistoryLimit = ptr.To[int32](1)
	busy := set("busy", 7, 1, 1, revisionAnnotation, "1")
	old := []*appsv1.ReplicaSet{set("c", 3, 0, 0, revisionAnnotation, "4"), busy, set("a", 9, 0, 0, revisionAnnotation, "2"), set("b", 5, 0, 0, revisionAnnotation, "3")}
	var got []string
	for _, s := range surplus(d, old) {
		got = append(got, s.Name)
	}
	if !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("deleted %v, want the oldest revisions that are empty", got)
	}
}

func TestProgress(t *testing.T) {
	now := time.Unix(10_000, 0)
	ago := func(s int64) metav1.Time { return metav1.NewTime(now.Add(-time.Duration(s) * time.Second)) }
	with := func(reason string, status corev1.ConditionStatus, updated metav1.Time) []appsv1.DeploymentCondition {
		return []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Reason: reason, Status: status, LastUpdateTime: updated}}
	}
	tests := []struct {
		name   string
		before appsv1.DeploymentStatus
		new    *appsv1.ReplicaSet
		old    []*appsv1.ReplicaSet
		reason string
		status corev1.ConditionStatus
	}{
		{name: "complete", before: appsv1.DeploymentStatus{Conditions: with(reasonUpdated, corev1.ConditionTrue, ago(5))}, new: set("web-1", 0, 3, 3), reason: reasonAvailable, status: corev1.ConditionTrue},
		{name: "more pods than before", before: appsv1.DeploymentStatus{Conditions: with(reasonCreated, corev1.ConditionTrue, ago(5))}, new: set("web-1", 0, 2, 0), old: []*appsv1.ReplicaSet{set("o", 9, 2, 2)}, reason: reasonUpdated, status: corev1.ConditionTrue},
		{name: "stuck for too long", before: appsv1.DeploymentStatus{Replicas: 2, UpdatedReplicas: 2, Conditions: with(reasonUpdated, corev1.ConditionTrue, ago(61))}, new: set("web-1", 0, 2, 0), reason: reasonTimedOut, status: corev1.ConditionFalse},
		{name: "stuck, but not for long", before: appsv1.DeploymentStatus{Replicas: 2, UpdatedReplicas: 2, Conditions: with(reasonUpdated, corev1.ConditionTrue, ago(59))}, new: set("web-1", 0, 2, 0), reason: reasonUpdated, status: corev1.ConditionTrue},
		{name: "a lost pod after the end is no new roll-out", before: appsv1.DeploymentStatus{Replicas: 3, UpdatedReplicas: 3, Conditions: with(reasonAvailable, corev1.ConditionTrue, ago(600))}, new: set("web-1", 0, 3, 2), reason: reasonAvailable, status: corev1.ConditionTrue},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := deployment(3, "1", "0")
			d.Spec.ProgressDeadlineSeconds = ptr.To[int32](60)
			d.Status = tt.before
			s := count(d, tt.new, tt.old, now)
			progress(&s, d, tt.new, tt.old, now)
			c := getCondition(s, appsv1.DeploymentProgressing)
			if c == nil || c.Reason != tt.reason || c.Status != tt.status {
				t.Errorf("condition %+v, want %s %s", c, tt.reason, tt.status)
			}
		})
	}
}

func TestNewSet(t *testing.T) {
	d := deployment(3, "1", "0")
	s := newSet(d, []*appsv1.ReplicaSet{set("old", 9, 3, 3, revisionAnnotation, "4")})
	hash := s.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
	if hash == "" || s.Name != "web-"+hash || s.Spec.Selector.MatchLabels[appsv1.DefaultDeploymentUniqueLabelKey] != hash ||
		s.Spec.Template.Labels[appsv1.DefaultDeploymentUniqueLabelKey] != hash || s.Annotations[revisionAnnotation] != "5" || *s.Spec.Replicas != 1 {
		t.Errorf("set %+v", s)
	}
	if !sameTemplate(&s.Spec.Template, &d.Spec.Template) {
		t.Error("the set is not recognized as the deployment's new one")
	}
	if new, old := split(d, []*appsv1.ReplicaSet{set("x", 5, 0, 0), s}); new != s || len(old) != 1 {
		t.Error("split does not find it")
	}
	if _, labelled := d.Spec.Template.Labels[appsv1.DefaultDeploymentUniqueLabelKey]; labelled {
		t.Error("the deployment itself was changed")
	}
}
