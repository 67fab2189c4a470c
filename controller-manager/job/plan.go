package job

import (
	"maps"
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// burst is how many pods one reconcile creates or deletes at most.
const burst = 500

// steps is what has to be done with the pods of a Job that goes on.
type steps struct {
	remove []*corev1.Pod
	create int   // pods
	which  []int // their indexes, for an indexed Job
	wait   time.Duration
}

// plan answers the steps: either deletions or creations, deletions first.
func (s *state) plan() steps {
	if suspended(s.job) {
		return steps{remove: s.active}
	}
	want := s.wantActive()
	if remove := s.surplus(max(len(s.active)-want, 0)); len(remove) > 0 {
		return steps{remove: remove[:min(len(remove), burst)]}
	}
	missing := want - len(s.active)
	if replaceOnlyFailed(s.job) {
		missing -= int(s.terminating)
	}
	if missing <= 0 {
		return steps{}
	}
	if !perIndex(s.job) {
		// Every tracked or counted failure that is still there slows the next pod down, not only the newest.
		if wait := backoff(s.ended(corev1.PodSucceeded), s.allFailed(), s.now); wait > 0 {
			return steps{wait: wait}
		}
	}
	missing = min(missing, burst)
	if !indexed(s.job) {
		return steps{create: missing}
	}
	which, wait := s.nextIndexes(missing)
	if len(which) == 0 {
		return steps{wait: wait}
	}
	return steps{create: len(which), which: which, wait: wait}
}

func (s *state) wantActive() int {
	parallel := int(ptr.Deref(s.job.Spec.Parallelism, 1))
	if s.job.Spec.Completions == nil {
		if s.succeeded > 0 {
			return len(s.active) // the others end by themselves
		}
		return parallel
	}
	return max(min(int(*s.job.Spec.Completions-s.succeeded), parallel), 0)
}

func (s *state) ended(phase corev1.PodPhase) []*corev1.Pod {
	var all []*corev1.Pod
	for _, pod := range s.pods {
		if pod.Status.Phase == phase {
			all = append(all, pod)
		}
	}
	return all
}

func (s *state) allFailed() []*corev1.Pod {
	var all []*corev1.Pod
	for _, pod := range s.pods {
		if hasFailed(pod, s.job) && judge(s.job.Spec.PodFailurePolicy, pod).counts() {
			all = append(all, pod)
		}
	}
	return all
}

// surplus answers the active pods that must go: those whose index is wrong or taken by a better one, and as many more as
// make up atLeast.
func (s *state) surplus(atLeast int) []*corev1.Pod {
	cheapest := func(pods []*corev1.Pod) { control.CheapestFirst(pods, func(string) int { return 0 }, s.now) }
	var remove []*corev1.Pod
	left := slices.Clone(s.active)
	if indexed(s.job) {
		left = nil
		byIndex := map[int][]*corev1.Pod{}
		for _, pod := range s.active {
			i := indexOf(pod, s.job)
			byIndex[i] = append(byIndex[i], pod)
		}
		for _, i := range slices.Sorted(maps.Keys(byIndex)) {
			pods := byIndex[i]
			if i == none {
				remove = append(remove, pods...)
				continue
			}
			cheapest(pods)
			remove = append(remove, pods[:len(pods)-1]...)
			left = append(left, pods[len(pods)-1])
		}
	}
	if more := atLeast - len(remove); more > 0 {
		cheapest(left)
		remove = append(remove, left[:min(more, len(left))]...)
	}
	return remove
}

// nextIndexes answers the next indexes to run. With a limit per index each has its own back-off; wait is the shortest of
// those that had to be left out.
func (s *state) nextIndexes(count int) (which []int, wait time.Duration) {
	busy := s.indexes.union(s.failedIndexes)
	var taken []int
	for _, pod := range s.pods {
		if control.Active(pod) || (replaceOnlyFailed(s.job) && control.Terminating(pod)) {
			if i := indexOf(pod, s.job); i != none {
				taken = append(taken, i)
			}
		}
	}
	candidates := busy.with(taken).missing(count, int(*s.job.Spec.Completions))
	if !perIndex(s.job) {
		return candidates, 0
	}
	for _, i := range candidates {
		left := time.Duration(0)
		if last := s.held[i]; last != nil {
			counted, ignored := failureCount(last)
			left = remaining(int(counted+ignored)+1, finishedAt(last), s.now)
		}
		if left == 0 {
			which = append(which, i)
		} else if wait == 0 || left < wait {
			wait = left
		}
	}
	return which, wait
}

// maxNameBase is how long a name may be to which the server adds its random part.
const maxNameBase = 63 - 5

// pod answers the pod to create; index is none for a Job that is not indexed.
func (s *state) pod(index int) *corev1.Pod {
	pod := control.PodFrom(&s.job.Spec.Template, s.job, control.Reference(s.job, kind))
	if !tracked(pod) {
		pod.Finalizers = append(pod.Finalizers, batchv1.JobTrackingFinalizer)
	}
	if index == none {
		return pod
	}
	number := strconv.Itoa(index)
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	pod.Annotations[batchv1.JobCompletionIndexAnnotation] = number
	pod.Labels[batchv1.JobCompletionIndexAnnotation] = number
	pod.Spec.Hostname = s.job.Name + "-" + number
	suffix := "-" + number + "-"
	pod.GenerateName = s.job.Name[:min(len(s.job.Name), maxNameBase-len(suffix))] + suffix
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			addIndexVariable(&list[i])
		}
	}
	if perIndex(s.job) {
		counted, ignored := int32(0), int32(0)
		if last := s.held[index]; last != nil {
			counted, ignored = failureCount(last)
			if judge(s.job.Spec.PodFailurePolicy, last).counts() {
				counted++
			} else {
				ignored++
			}
		}
		pod.Annotations[batchv1.JobIndexFailureCountAnnotation] = strconv.Itoa(int(counted))
		if ignored > 0 {
			pod.Annotations[batchv1.JobIndexIgnoredFailureCountAnnotation] = strconv.Itoa(int(ignored))
		}
	}
	return pod
}

const indexVariable = "JOB_COMPLETION_INDEX"

func addIndexVariable(c *corev1.Container) {
	if slices.ContainsFunc(c.Env, func(v corev1.EnvVar) bool { return v.Name == indexVariable }) {
		return
	}
	c.Env = append(c.Env, corev1.EnvVar{Name: indexVariable, ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['" + batchv1.JobCompletionIndexAnnotation + "']"},
	}})
}
