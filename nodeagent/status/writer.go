package status

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	goruntime "runtime"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes"
)

// Writer brings pod statuses to the API server. It keeps, for each pod, the newest status wished for and the newest object
// known; one send at a time runs for a pod, at most parallel in all, and what is wished meanwhile waits for its turn and replaces what waited before.
type Writer struct {
	client   kubernetes.Interface
	log      *slog.Logger
	parallel chan struct{}
	ctx      context.Context

	mu      sync.Mutex
	pods    map[types.UID]*entry
	sending sync.WaitGroup
}

type entry struct {
	known   *corev1.Pod // newest object seen, from the watch or from an answer to a patch
	wanted  *corev1.PodStatus
	finish  bool // delete the object once the status is there
	busy    bool
	dirty   bool
	removed bool
	tries   int
	later   *time.Timer // a status that can wait is sent when it fires, at due
	due     time.Time
}

// NewWriter returns a writer whose sends end with ctx.
func NewWriter(ctx context.Context, client kubernetes.Interface, log *slog.Logger) *Writer {
	return &Writer{ctx: ctx, client: client, log: log, parallel: make(chan struct{}, max(4, 2*goruntime.NumCPU())), pods: map[types.UID]*entry{}}
}

// Know tells the writer an object from the watch. One that is older than what is known changes nothing. A status that
// somebody else changed meanwhile is put right.
func (w *Writer) Know(pod *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.entry(pod.UID)
	if !newer(pod, e.known) {
		return
	}
	e.known = pod
	if e.later == nil {
		w.kick(pod.UID, e)
	}
}

// Set wishes for a status. pod is the object that it was generated for.
func (w *Writer) Set(pod *corev1.Pod, s corev1.PodStatus) {
	normalize(&s)
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.entry(pod.UID)
	if newer(pod, e.known) {
		e.known = pod
	}
	if e.wanted != nil && equality.Semantic.DeepEqual(*e.wanted, s) {
		return
	}
	e.wanted = &s
	wait := canWait(&e.known.Status, &s)
	due := time.Now().Add(wait)
	switch {
	case wait == 0:
		w.kick(pod.UID, e)
	case e.later == nil:
		e.due = due
		e.later = time.AfterFunc(wait, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			if e.later != nil && !e.removed {
				w.kick(pod.UID, e)
			}
		})
	case due.Before(e.due):
		e.due = due
		e.later.Reset(wait)
	}
}

// How long news may take that nobody waits for: that a pod is being prepared, and that it runs but has not been found ready yet. A
// pod that is up sooner is written once instead of four times; each write costs the API server, and all who watch pods, as much as
// the pod's creation.
const (
	preparing = time.Second
	probing   = 250 * time.Millisecond
)

// canWait says how long a status may wait because it tells no more than that the pod is still on its way; zero: not at all.
func canWait(known, s *corev1.PodStatus) time.Duration {
	if known.Phase != corev1.PodPending || s.Reason != "" || known.ObservedGeneration != 0 && known.ObservedGeneration != s.ObservedGeneration {
		return 0
	}
	switch s.Phase {
	case corev1.PodPending:
		if all(waitsItsTurn, s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses) {
			return preparing
		}
	case corev1.PodRunning:
		ready := conditionOf(s.Conditions, corev1.PodReady)
		if ready != nil && ready.Status != corev1.ConditionTrue && all(startedOnce, s.ContainerStatuses) {
			return probing
		}
	}
	return 0
}

func waitsItsTurn(c *corev1.ContainerStatus) bool {
	w := c.State.Waiting
	return w != nil && (w.Reason == waitingDefault || w.Reason == waitingInit)
}

func startedOnce(c *corev1.ContainerStatus) bool {
	return c.State.Running != nil && c.RestartCount == 0
}

func all(ok func(*corev1.ContainerStatus) bool, lists ...[]corev1.ContainerStatus) bool {
	for _, list := range lists {
		for i := range list {
			if !ok(&list[i]) {
				return false
			}
		}
	}
	return true
}

// Get is the status wished for last.
func (w *Writer) Get(uid types.UID) (corev1.PodStatus, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e := w.pods[uid]; e != nil && e.wanted != nil {
		return *e.wanted, true
	}
	return corev1.PodStatus{}, false
}

// Finish removes the object from the API, after its last status has arrived there: everything of the pod is gone.
func (w *Writer) Finish(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.entry(uid)
	e.finish = true
	w.kick(uid, e)
}

// Forget ends all interest in a pod: its object is gone.
func (w *Writer) Forget(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e := w.pods[uid]; e != nil {
		e.removed = true
		if e.later != nil {
			e.later.Stop()
		}
		delete(w.pods, uid)
	}
}

// Wait returns when no send runs any more.
func (w *Writer) Wait() { w.sending.Wait() }

func (w *Writer) entry(uid types.UID) *entry {
	e := w.pods[uid]
	if e == nil {
		e = &entry{}
		w.pods[uid] = e
	}
	return e
}

// kick starts a send for a pod unless one runs, which then goes round once more.
func (w *Writer) kick(uid types.UID, e *entry) {
	e.dirty = true
	if e.later != nil {
		e.later.Stop()
		e.later = nil
	}
	if e.busy || w.ctx.Err() != nil {
		return
	}
	e.busy = true
	w.sending.Go(func() { w.send(uid, e) })
}

func (w *Writer) send(uid types.UID, e *entry) {
	w.parallel <- struct{}{}
	defer func() { <-w.parallel }()
	for {
		// Looked at once it is this pod's turn: what was wished while it waited goes with the same write.
		w.mu.Lock()
		if !e.dirty || e.removed || w.ctx.Err() != nil {
			e.busy = false
			w.mu.Unlock()
			return
		}
		e.dirty = false
		known, wanted, finish := e.known, e.wanted, e.finish
		w.mu.Unlock()

		if known == nil {
			continue
		}
		err := w.bring(e, known, wanted, finish)
		if err == nil {
			e.tries = 0
			continue
		}
		e.tries++
		w.log.Warn("pod status not written, trying again", "pod", known.Namespace+"/"+known.Name, "err", err)
		<-w.parallel
		select {
		case <-w.ctx.Done():
		case <-time.After(min(time.Duration(e.tries)*200*time.Millisecond, 5*time.Second)):
		}
		w.parallel <- struct{}{}
		w.mu.Lock()
		e.dirty = true
		w.mu.Unlock()
	}
}

// bring makes one attempt. A pod that is gone, or whose name another one has now, is no error: there is nothing left to write to.
func (w *Writer) bring(e *entry, known *corev1.Pod, wanted *corev1.PodStatus, finish bool) error {
	ctx, cancel := context.WithTimeout(w.ctx, 30*time.Second)
	defer cancel()
	pods := w.client.CoreV1().Pods(known.Namespace)
	if wanted != nil {
		patch, err := difference(known, *wanted)
		if err != nil {
			return err
		}
		if patch != nil {
			answer, err := pods.Patch(ctx, known.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
			if gone(err) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("patch: %w", err)
			}
			answer.ManagedFields = nil
			w.mu.Lock()
			if newer(answer, e.known) {
				e.known = answer
			}
			w.mu.Unlock()
		}
	}
	if !finish {
		return nil
	}
	uid := known.UID
	err := pods.Delete(ctx, known.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64), Preconditions: &metav1.Preconditions{UID: &uid}})
	if err != nil && !gone(err) {
		return fmt.Errorf("delete: %w", err)
	}
	return nil
}

// gone also holds for a conflict: both requests carry the UID, so a conflict means that it is another pod's name now.
func gone(err error) bool { return apierrors.IsNotFound(err) || apierrors.IsConflict(err) }

// difference is the patch that makes known's status the wanted one, or nil when it is that already. Conditions that others own
// stay as they are now, whatever they were when the status was generated.
func difference(known *corev1.Pod, wanted corev1.PodStatus) ([]byte, error) {
	wanted.Conditions = mergeConditions(known.Status.Conditions, wanted.Conditions)
	if over(known.Status.Phase) && known.Status.Phase != wanted.Phase {
		wanted.Phase = known.Status.Phase
	}
	// The server's own fields are not ours to take away.
	wanted.NominatedNodeName = known.Status.NominatedNodeName
	wanted.ResourceClaimStatuses = known.Status.ResourceClaimStatuses
	wanted.ExtendedResourceClaimStatus = known.Status.ExtendedResourceClaimStatus
	wanted.Resize = known.Status.Resize
	before := known.Status
	if equality.Semantic.DeepEqual(before, wanted) {
		return nil, nil
	}
	from, err := json.Marshal(corev1.Pod{Status: before})
	if err != nil {
		return nil, err
	}
	to, err := json.Marshal(corev1.Pod{Status: wanted})
	if err != nil {
		return nil, err
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(from, to, corev1.Pod{})
	if err != nil {
		return nil, fmt.Errorf("compute status patch: %w", err)
	}
	if string(patch) == "{}" {
		return nil, nil
	}
	var body map[string]any
	if err := json.Unmarshal(patch, &body); err != nil {
		return nil, err
	}
	body["metadata"] = map[string]any{"uid": known.UID}
	return json.Marshal(body)
}

func mergeConditions(server, ours []corev1.PodCondition) []corev1.PodCondition {
	var merged []corev1.PodCondition
	for _, c := range server {
		if !Owned(c.Type) && !(c.Type == corev1.DisruptionTarget && conditionOf(ours, c.Type) != nil) {
			merged = append(merged, c)
		}
	}
	for _, c := range ours {
		if Owned(c.Type) || c.Type == corev1.DisruptionTarget {
			if conditionOf(merged, c.Type) == nil {
				merged = append(merged, c)
			}
		}
	}
	return order(merged, server)
}

// order puts conditions into the order that the server has them in, new ones last, so that a patch does not merely reorder.
func order(list, like []corev1.PodCondition) []corev1.PodCondition {
	out := make([]corev1.PodCondition, 0, len(list))
	for _, c := range like {
		if own := conditionOf(list, c.Type); own != nil {
			out = append(out, *own)
		}
	}
	for _, c := range list {
		if conditionOf(like, c.Type) == nil {
			out = append(out, c)
		}
	}
	return out
}

// normalize cuts times to the seconds that the API keeps: otherwise each status would differ from what is there.
func normalize(s *corev1.PodStatus) {
	if s.StartTime != nil {
		t := s.StartTime.Rfc3339Copy()
		s.StartTime = &t
	}
	for i := range s.Conditions {
		s.Conditions[i].LastTransitionTime = s.Conditions[i].LastTransitionTime.Rfc3339Copy()
		s.Conditions[i].LastProbeTime = s.Conditions[i].LastProbeTime.Rfc3339Copy()
	}
	for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range list {
			normalizeState(&list[i].State)
			normalizeState(&list[i].LastTerminationState)
		}
	}
}

func normalizeState(s *corev1.ContainerState) {
	if s.Running != nil {
		s.Running = &corev1.ContainerStateRunning{StartedAt: s.Running.StartedAt.Rfc3339Copy()}
	}
	if s.Terminated != nil {
		t := *s.Terminated
		t.StartedAt, t.FinishedAt = t.StartedAt.Rfc3339Copy(), t.FinishedAt.Rfc3339Copy()
		s.Terminated = &t
	}
}

// newer compares resource versions, which grow with every write of an object.
func newer(a, b *corev1.Pod) bool {
	if b == nil {
		return true
	}
	va, errA := strconv.ParseUint(a.ResourceVersion, 10, 64)
	vb, errB := strconv.ParseUint(b.ResourceVersion, 10, 64)
	return errA != nil || errB != nil || va > vb
}
