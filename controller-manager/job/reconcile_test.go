package job

import (
	"fmt"
	"slices"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

var now = time.Unix(1_000_000, 0)

func TestIndexes(t *testing.T) {
	tests := []struct {
		text  string
		limit int
		want  string
		count int
	}{
		{"", 10, "", 0},
		{"0", 10, "0", 1},
		{"0,1", 10, "0,1", 2},
		{"0-1", 10, "0,1", 2},
		{"0-2,4,6,7", 10, "0-2,4,6,7", 6},
		{"1-3,3-5", 10, "1-5", 5},
		{"2-20", 5, "2-4", 3},
		{"7", 5, "", 0},
		{"x,3,-,4-y", 10, "3", 1},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			got := parseIndexes(tt.text, tt.limit)
			if got.String() != tt.want || got.count() != tt.count {
				t.Errorf("%q with %d, want %q with %d", got, got.count(), tt.want, tt.count)
			}
			for i := range tt.limit {
				inText := slices.Contains(parseIndexes(tt.want, tt.limit).all(), i)
				if got.has(i) != inText {
					t.Errorf("has(%d) is %v", i, got.has(i))
				}
			}
		})
	}
	s := parseIndexes("0-2,5", 100)
	if got := s.missing(3, 8); !slices.Equal(got, []int{3, 4, 6}) {
		t.Errorf("missing %v", got)
	}
	if got := s.with([]int{7, 3}).String(); got != "0-3,5,7" {
		t.Errorf("with %s", got)
	}
	if got := s.common(parseIndexes("2-5", 100)); got != 2 {
		t.Errorf("common %d", got)
	}
}

// all is every index of the set.
func (s indexes) all() (all []int) {
	for _, r := range s {
		for i := r.first; i <= r.last; i++ {
			all = append(all, i)
		}
	}
	return all
}

func job(change func(*batchv1.Job)) *batchv1.Job {
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "j", Namespace: "ns", UID: "j"}, Spec: batchv1.JobSpec{
		Completions: ptr.To[int32](4), Parallelism: ptr.To[int32](2), BackoffLimit: ptr.To[int32](6),
	}}
	if change != nil {
		change(j)
	}
	return j
}

func withIndexes(j *batchv1.Job) { j.Spec.CompletionMode = ptr.To(batchv1.IndexedCompletion) }

func pod(name string, phase corev1.PodPhase, changes ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", UID: types.UID(name), Finalizers: []string{batchv1.JobTrackingFinalizer}, CreationTimestamp: metav1.NewTime(now.Add(-time.Hour))}}
	p.Status.Phase = phase
	for _, change := range changes {
		change(p)
	}
	return p
}

func index(i int) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		if p.Annotations == nil {
			p.Annotations = map[string]string{}
		}
		p.Annotations[batchv1.JobCompletionIndexAnnotation] = fmt.Sprint(i)
	}
}

func exited(code int32, ago time.Duration) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, FinishedAt: metav1.NewTime(now.Add(-ago))}}}}
	}
}

func TestPlan(t *testing.T) {
	tests := []struct {
		name   string
		job    *batchv1.Job
		pods   []*corev1.Pod
		create int
		which  []int
		remove int
		wait   bool
	}{
		{name: "starts as many as may run in parallel", job: job(nil), create: 2},
		{name: "no more than are still needed", job: job(func(j *batchv1.Job) { j.Status.Succeeded = 3 }), create: 1},
		{name: "enough run", job: job(nil), pods: []*corev1.Pod{pod("a", corev1.PodRunning), pod("b", corev1.PodPending)}},
		{name: "too many run", job: job(func(j *batchv1.Job) { j.Spec.Parallelism = ptr.To[int32](1) }), pods: []*corev1.Pod{pod("a", corev1.PodRunning), pod("b", corev1.PodPending)}, remove: 1},
		{name: "suspended: all go", job: job(func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(true) }), pods: []*corev1.Pod{pod("a", corev1.PodRunning), pod("b", corev1.PodPending)}, remove: 2},
		{name: "a failure slows the next down", job: job(nil), pods: []*corev1.Pod{pod("a", corev1.PodFailed, exited(1, time.Second))}, wait: true},
		{name: "a failure long ago does not", job: job(nil), pods: []*corev1.Pod{pod("a", corev1.PodFailed, exited(1, time.Minute))}, create: 2},
		{name: "a work queue stops starting after the first success", job: job(func(j *batchv1.Job) { j.Spec.Completions = nil; j.Status.Succeeded = 1 }), pods: []*corev1.Pod{pod("a", corev1.PodRunning)}},
		{name: "the lowest free indexes are next", job: job(func(j *batchv1.Job) { withIndexes(j); j.Status.CompletedIndexes = "0"; j.Status.Succeeded = 1 }), pods: []*corev1.Pod{pod("b", corev1.PodRunning, index(1))}, create: 1, which: []int{2}},
		{name: "an index twice: the cheaper goes", job: job(withIndexes), pods: []*corev1.Pod{pod("a", corev1.PodRunning, index(1)), pod("b", corev1.PodPending, index(1))}, remove: 1},
		{name: "an index out of range goes", job: job(withIndexes), pods: []*corev1.Pod{pod("a", corev1.PodRunning, index(9))}, remove: 1},
		{name: "only failed pods are replaced: a terminating one still counts", job: job(func(j *batchv1.Job) { j.Spec.PodReplacementPolicy = ptr.To(batchv1.Failed) }),
			pods: []*corev1.Pod{pod("a", corev1.PodRunning, func(p *corev1.Pod) { p.DeletionTimestamp = ptr.To(metav1.NewTime(now)) })}, create: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			do := observe(tt.job, tt.pods, now).plan()
			if do.create != tt.create || len(do.remove) != tt.remove || (do.wait > 0) != tt.wait || (tt.which != nil && !slices.Equal(do.which, tt.which)) {
				t.Errorf("create %d %v, remove %d, wait %s", do.create, do.which, len(do.remove), do.wait)
			}
		})
	}
}

func TestVerdict(t *testing.T) {
	policy := func(action batchv1.PodFailurePolicyAction) func(*batchv1.Job) {
		return func(j *batchv1.Job) {
			j.Spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
				Action: action, OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{42}},
			}}}
			j.Spec.BackoffLimit = ptr.To[int32](0)
		}
	}
	both := func(changes ...func(*batchv1.Job)) func(*batchv1.Job) {
		return func(j *batchv1.Job) {
			for _, change := range changes {
				change(j)
			}
		}
	}
	perIndexLimit := func(j *batchv1.Job) {
		withIndexes(j)
		j.Spec.BackoffLimitPerIndex, j.Spec.BackoffLimit = ptr.To[int32](0), ptr.To[int32](100)
	}
	tests := []struct {
		name   string
		job    *batchv1.Job
		pods   []*corev1.Pod
		kind   batchv1.JobConditionType
		reason string
	}{
		{name: "goes on", job: job(nil)},
		{name: "one failure too many", job: job(func(j *batchv1.Job) { j.Status.Failed = 6 }), pods: []*corev1.Pod{pod("a", corev1.PodFailed)}, kind: batchv1.JobFailureTarget, reason: batchv1.JobReasonBackoffLimitExceeded},
		{name: "an ignored failure does not count", job: job(policy(batchv1.PodFailurePolicyActionIgnore)), pods: []*corev1.Pod{pod("a", corev1.PodFailed, exited(42, 0))}},
		{name: "a failure that fails the job", job: job(policy(batchv1.PodFailurePolicyActionFailJob)), pods: []*corev1.Pod{pod("a", corev1.PodFailed, exited(42, 0))}, kind: batchv1.JobFailureTarget, reason: batchv1.JobReasonPodFailurePolicy},
		{name: "another exit code falls under the limit", job: job(policy(batchv1.PodFailurePolicyActionIgnore)), pods: []*corev1.Pod{pod("a", corev1.PodFailed, exited(1, 0))}, kind: batchv1.JobFailureTarget, reason: batchv1.JobReasonBackoffLimitExceeded},
		{name: "restarts in place count", job: job(func(j *batchv1.Job) { j.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyOnFailure }), pods: []*corev1.Pod{pod("a", corev1.PodRunning, func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 6}}
		})}, kind: batchv1.JobFailureTarget, reason: batchv1.JobReasonBackoffLimitExceeded},
		{name: "active for too long", job: job(func(j *batchv1.Job) {
			j.Spec.ActiveDeadlineSeconds, j.Status.StartTime = ptr.To[int64](10), ptr.To(metav1.NewTime(now.Add(-11*time.Second)))
		}), kind: batchv1.JobFailureTarget, reason: batchv1.JobReasonDeadlineExceeded},
		{name: "an index that failed does not end the others", job: job(perIndexLimit), pods: []*corev1.Pod{pod("a", corev1.PodFailed, index(0))}},
		{name: "too many failed indexes", job: job(both(perIndexLimit, func(j *batchv1.Job) { j.Spec.MaxFailedIndexes = ptr.To[int32](0) })), pods: []*corev1.Pod{pod("a", corev1.PodFailed, index(0))}, kind: batchv1.JobFailureTarget, reason: batchv1.JobReasonMaxFailedIndexesExceeded},
		{name: "all indexes ended and one failed", job: job(both(perIndexLimit, func(j *batchv1.Job) { j.Status.CompletedIndexes = "1-3" })), pods: []*corev1.Pod{pod("a", corev1.PodFailed, index(0))}, kind: batchv1.JobFailureTarget, reason: batchv1.JobReasonFailedIndexes},
		{name: "an index that fails by policy", job: job(both(perIndexLimit, policy(batchv1.PodFailurePolicyActionFailIndex), func(j *batchv1.Job) {
			j.Spec.BackoffLimit, j.Spec.BackoffLimitPerIndex, j.Spec.MaxFailedIndexes = ptr.To[int32](100), ptr.To[int32](5), ptr.To[int32](0)
		})), pods: []*corev1.Pod{pod("a", corev1.PodFailed, index(0), exited(42, 0))}, kind: batchv1.JobFailureTarget, reason: batchv1.JobReasonMaxFailedIndexesExceeded},
		{name: "success by the leader's index", job: job(both(withIndexes, func(j *batchv1.Job) {
			j.Spec.SuccessPolicy = &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededIndexes: ptr.To("0")}}}
		})), pods: []*corev1.Pod{pod("a", corev1.PodSucceeded, index(0))}, kind: batchv1.JobSuccessCriteriaMet, reason: batchv1.JobReasonSuccessPolicy},
		{name: "what was decided stays decided", job: job(func(j *batchv1.Job) {
			j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailureTarget, Status: corev1.ConditionTrue, Reason: "Because"}}
		}), kind: batchv1.JobFailed, reason: "Because"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := observe(tt.job, tt.pods, now).verdict()
			if got == nil {
				got = &batchv1.JobCondition{}
			}
			if got.Type != tt.kind || got.Reason != tt.reason {
				t.Errorf("%s %s, want %s %s", got.Type, got.Reason, tt.kind, tt.reason)
			}
		})
	}
}

// Each pod is counted once, however often the steps are repeated.
func TestCountOnce(t *testing.T) {
	j := job(func(j *batchv1.Job) { j.Status.Succeeded, j.Status.Failed = 1, 1 })
	pods := []*corev1.Pod{pod("good", corev1.PodSucceeded), pod("bad", corev1.PodFailed), pod("busy", corev1.PodRunning)}
	for range 2 {
		s := observe(j, pods, now)
		ended, all := s.count(nil)
		if len(ended) != 2 || !all {
			t.Fatalf("%d ended, all %v", len(ended), all)
		}
		settle(j, map[types.UID]bool{"good": true, "bad": true, "busy": true})
	}
	if u := j.Status.UncountedTerminatedPods; len(u.Succeeded) != 1 || len(u.Failed) != 1 || j.Status.Succeeded != 1 {
		t.Fatalf("uncounted %+v", u)
	}
	settle(j, map[types.UID]bool{"bad": true, "busy": true})
	if j.Status.Succeeded != 2 || j.Status.Failed != 1 || len(j.Status.UncountedTerminatedPods.Succeeded) != 0 {
		t.Errorf("status %+v", j.Status)
	}
	settle(j, map[types.UID]bool{})
	if j.Status.Failed != 2 {
		t.Errorf("failed %d", j.Status.Failed)
	}
}

func TestPodOfAnIndex(t *testing.T) {
	j := job(func(j *batchv1.Job) {
		withIndexes(j)
		j.Spec.BackoffLimitPerIndex = ptr.To[int32](3)
		j.Spec.Template.Spec.Containers = []corev1.Container{{Name: "c"}}
	})
	s := observe(j, []*corev1.Pod{pod("a", corev1.PodFailed, index(2), func(p *corev1.Pod) { p.Annotations[batchv1.JobIndexFailureCountAnnotation] = "1" })}, now)
	p := s.pod(2)
	if p.GenerateName != "j-2-" || p.Spec.Hostname != "j-2" || p.Labels[batchv1.JobCompletionIndexAnnotation] != "2" ||
		p.Annotations[batchv1.JobIndexFailureCountAnnotation] != "2" || !tracked(p) || p.Spec.Containers[0].Env[0].Name != indexVariable {
		t.Errorf("pod %+v", p)
	}
	if s.mayFree(s.pods[0], true, nil) {
		t.Error("the failed pod goes before its replacement has its count")
	}
}

func TestBackoff(t *testing.T) {
	failed := func(ago time.Duration) *corev1.Pod { return pod("f", corev1.PodFailed, exited(1, ago)) }
	tests := []struct {
		name              string
		succeeded, failed []*corev1.Pod
		want              time.Duration
	}{
		{name: "no failure"},
		{name: "one", failed: []*corev1.Pod{failed(4 * time.Second)}, want: 6 * time.Second},
		{name: "three in a row", failed: []*corev1.Pod{failed(30 * time.Second), failed(20 * time.Second), failed(time.Second)}, want: 39 * time.Second},
		{name: "a success in between starts over", succeeded: []*corev1.Pod{pod("s", corev1.PodSucceeded, exited(0, 10*time.Second))}, failed: []*corev1.Pod{failed(30 * time.Second), failed(time.Second)}, want: 9 * time.Second},
		{name: "never more than ten minutes", failed: slices.Repeat([]*corev1.Pod{failed(0)}, 50), want: 10 * time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := backoff(tt.succeeded, tt.failed, now); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}
