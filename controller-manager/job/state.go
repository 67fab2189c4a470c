package job

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// state is what a Job and its pods amount to at one moment. It is computed from them alone.
type state struct {
	job  *batchv1.Job // a copy, whose status is changed as the reconcile goes
	pods []*corev1.Pod
	now  time.Time

	active                  []*corev1.Pod
	ready, terminating      int32
	newSucceeded, newFailed []*corev1.Pod // ended, and not in the status yet
	succeeded, failed       int32         // in all
	oldIndexes, indexes     indexes       // that have succeeded: before, and now
	failedIndexes           indexes
	held                    map[int]*corev1.Pod // per index, the failed pod that waits for its replacement
}

// observe computes the state.
func observe(j *batchv1.Job, pods []*corev1.Pod, now time.Time) *state {
	s := &state{job: j, pods: pods, now: now}
	if j.Status.UncountedTerminatedPods == nil {
		j.Status.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	}
	for _, pod := range pods {
		switch {
		case control.Active(pod):
			s.active = append(s.active, pod)
			if control.Ready(pod) {
				s.ready++
			}
		case control.Terminating(pod):
			s.terminating++
		}
	}
	uncounted := j.Status.UncountedTerminatedPods
	ignored := 0
	for _, pod := range pods {
		if !tracked(pod) || (indexed(j) && indexOf(pod, j) == none) {
			continue
		}
		if pod.Status.Phase == corev1.PodSucceeded && !contains(uncounted.Succeeded, pod.UID) {
			s.newSucceeded = append(s.newSucceeded, pod)
		}
		if hasFailed(pod, j) && !contains(uncounted.Failed, pod.UID) {
			s.newFailed = append(s.newFailed, pod)
			if !judge(j.Spec.PodFailurePolicy, pod).counts() {
				ignored++
			}
		}
	}
	s.succeeded = j.Status.Succeeded + int32(len(s.newSucceeded)+len(uncounted.Succeeded))
	s.failed = j.Status.Failed + int32(len(s.newFailed)-ignored+len(uncounted.Failed))
	if indexed(j) {
		s.observeIndexes()
	}
	return s
}

func contains(list []types.UID, uid types.UID) bool {
	for _, u := range list {
		if u == uid {
			return true
		}
	}
	return false
}

// hasFailed says that a pod counts as failed. One that was deleted before it could fail does too, unless only pods that
// have really failed are replaced.
func hasFailed(pod *corev1.Pod, j *batchv1.Job) bool {
	if pod.Status.Phase == corev1.PodFailed {
		return true
	}
	return !replaceOnlyFailed(j) && pod.DeletionTimestamp != nil && pod.Status.Phase != corev1.PodSucceeded
}

func replaceOnlyFailed(j *batchv1.Job) bool {
	return j.Spec.PodReplacementPolicy != nil && *j.Spec.PodReplacementPolicy == batchv1.Failed
}

func suspended(j *batchv1.Job) bool { return ptr.Deref(j.Spec.Suspend, false) }

func (s *state) observeIndexes() {
	completions := int(*s.job.Spec.Completions)
	s.oldIndexes = parseIndexes(s.job.Status.CompletedIndexes, completions)
	var done []int
	for _, pod := range s.pods {
		if i := indexOf(pod, s.job); i != none && tracked(pod) && pod.Status.Phase == corev1.PodSucceeded {
			done = append(done, i)
		}
	}
	s.indexes = s.oldIndexes.with(done)
	s.succeeded = int32(s.indexes.count())
	if !perIndex(s.job) {
		return
	}
	var failed []int
	for _, pod := range s.pods {
		i := indexOf(pod, s.job)
		if i == none || !tracked(pod) || !hasFailed(pod, s.job) {
			continue
		}
		verdict := judge(s.job.Spec.PodFailurePolicy, pod)
		counted, _ := failureCount(pod)
		if verdict.action == batchv1.PodFailurePolicyActionFailIndex || (verdict.counts() && counted >= *s.job.Spec.BackoffLimitPerIndex) {
			failed = append(failed, i)
		}
	}
	s.failedIndexes = parseIndexes(ptr.Deref(s.job.Status.FailedIndexes, ""), completions).with(failed)
	s.observeHeld()
}

// observeHeld finds, per index, the last failed pod that has no replacement yet. It is kept until it has one, because the
// replacement carries its failure count on.
func (s *state) observeHeld() {
	busy := map[int]bool{}
	for _, pod := range s.active {
		busy[indexOf(pod, s.job)] = true
	}
	s.held = map[int]*corev1.Pod{}
	total := func(pod *corev1.Pod) int32 { c, i := failureCount(pod); return c + i }
	for _, pod := range s.pods {
		i := indexOf(pod, s.job)
		if i == none || !tracked(pod) || !hasFailed(pod, s.job) || busy[i] || s.indexes.has(i) || s.failedIndexes.has(i) {
			continue
		}
		if last := s.held[i]; last == nil || (total(last) <= total(pod) && !finishedAt(pod).Before(finishedAt(last))) {
			s.held[i] = pod
		}
	}
}

// verdict answers the condition that ends the Job, in its interim form (FailureTarget or SuccessCriteriaMet; Failed when the
// former is there already), or nil while it goes on.
func (s *state) verdict() *batchv1.JobCondition {
	j := s.job
	if c := find(j, batchv1.JobSuccessCriteriaMet); c != nil && c.Status == corev1.ConditionTrue {
		return c
	}
	if c := find(j, batchv1.JobFailureTarget); c != nil && c.Status == corev1.ConditionTrue {
		return s.condition(batchv1.JobFailed, c.Reason, c.Message)
	}
	for _, pod := range s.pods {
		if hasFailed(pod, j) {
			if verdict := judge(j.Spec.PodFailurePolicy, pod); verdict.action == batchv1.PodFailurePolicyActionFailJob {
				return s.condition(batchv1.JobFailureTarget, batchv1.JobReasonPodFailurePolicy, verdict.message)
			}
		}
	}
	fail := func(reason, message string) *batchv1.JobCondition {
		return s.condition(batchv1.JobFailureTarget, reason, message)
	}
	switch {
	case s.failed > ptr.Deref(j.Spec.BackoffLimit, 6) || s.restartedTooOften():
		return fail(batchv1.JobReasonBackoffLimitExceeded, "Job has reached the specified backoff limit")
	case s.deadlineIn() < 0:
		return fail(batchv1.JobReasonDeadlineExceeded, "Job was active longer than specified deadline")
	case perIndex(j) && j.Spec.MaxFailedIndexes != nil && s.failedIndexes.count() > int(*j.Spec.MaxFailedIndexes):
		return fail(batchv1.JobReasonMaxFailedIndexesExceeded, "Job has exceeded the specified maximal number of failed indexes")
	case perIndex(j) && len(s.failedIndexes) > 0 && s.failedIndexes.count()+s.indexes.count() >= int(*j.Spec.Completions):
		return fail(batchv1.JobReasonFailedIndexes, "Job has failed indexes")
	}
	if indexed(j) {
		if message, met := successByPolicy(j.Spec.SuccessPolicy, int(*j.Spec.Completions), s.indexes); met {
			return s.condition(batchv1.JobSuccessCriteriaMet, batchv1.JobReasonSuccessPolicy, message)
		}
	}
	return nil
}

// completed answers the condition of a Job that has all its completions, given how many pods still run.
func (s *state) completed(active int32) *batchv1.JobCondition {
	enough := s.succeeded > 0
	if s.job.Spec.Completions != nil {
		enough = s.succeeded >= *s.job.Spec.Completions
	}
	if !enough || active > 0 {
		return nil
	}
	return s.condition(batchv1.JobSuccessCriteriaMet, batchv1.JobReasonCompletionsReached, "Reached expected number of succeeded pods")
}

// restartedTooOften counts container restarts as failures where the node restarts containers in place.
func (s *state) restartedTooOften() bool {
	if s.job.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure {
		return false
	}
	restarts := int32(0)
	for _, pod := range s.pods {
		if pod.Status.Phase != corev1.PodRunning && pod.Status.Phase != corev1.PodPending {
			continue
		}
		for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
			for _, c := range list {
				restarts += c.RestartCount
			}
		}
	}
	if limit := ptr.Deref(s.job.Spec.BackoffLimit, 6); limit > 0 {
		return restarts >= limit
	}
	return restarts > 0
}

// deadlineIn is when the Job will have been active for too long: less than zero when it has been, zero for never.
func (s *state) deadlineIn() time.Duration {
	if s.job.Spec.ActiveDeadlineSeconds == nil || s.job.Status.StartTime == nil || suspended(s.job) {
		return 0
	}
	left := s.job.Status.StartTime.Add(time.Duration(*s.job.Spec.ActiveDeadlineSeconds) * time.Second).Sub(s.now)
	if left <= 0 {
		return -1
	}
	return left
}

func (s *state) condition(kind batchv1.JobConditionType, reason, message string) *batchv1.JobCondition {
	at := metav1.NewTime(s.now)
	return &batchv1.JobCondition{Type: kind, Status: corev1.ConditionTrue, Reason: reason, Message: message, LastProbeTime: at, LastTransitionTime: at}
}

func find(j *batchv1.Job, kind batchv1.JobConditionType) *batchv1.JobCondition {
	for i := range j.Status.Conditions {
		if j.Status.Conditions[i].Type == kind {
			return &j.Status.Conditions[i]
		}
	}
	return nil
}

// over says that the Job has ended for good.
func over(j *batchv1.Job) bool {
	for _, kind := range []batchv1.JobConditionType{batchv1.JobComplete, batchv1.JobFailed} {
		if c := find(j, kind); c != nil && c.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}

// setCondition says whether that changed anything. A condition that was never there is not added to say no.
func setCondition(j *batchv1.Job, c batchv1.JobCondition) bool {
	has := find(j, c.Type)
	switch {
	case has == nil && c.Status == corev1.ConditionFalse:
		return false
	case has == nil:
		j.Status.Conditions = append(j.Status.Conditions, c)
		return true
	case has.Status == c.Status && has.Reason == c.Reason && has.Message == c.Message:
		return false
	}
	*has = c
	return true
}
