package scheduler

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiff-project/skiff/scheduler/nodes"
	"github.com/skiff-project/skiff/scheduler/preempt"
	"github.com/skiff-project/skiff/scheduler/queue"
)

// preemptionNodes bounds how many nodes preemption looks at, in turns: upstream takes a tenth of the nodes, but 100 at
// least.
const preemptionNodes = 100

// refused tries preemption for a pod that fits nowhere, tells the user, and parks it.
func (s *Scheduler) refused(ctx context.Context, it *queue.Item, no *refusal) {
	s.stats.unschedulable.Add(1)
	room, note := s.preempt(it.Pod, no)
	message := no.Error()
	if note != "" {
		message += " " + note
	}
	node := ""
	if room != nil {
		node = room.Node.Name
		s.nominate(it.Pod, node)
	}
	s.queue.Park(it, no.rejected, time.Now())
	p := it.Pod
	// The API is asked outside the loop: nothing of the above depends on the answers.
	go func() {
		if room != nil {
			s.evict(ctx, p, room)
		}
		s.recorder.Eventf(p.Obj, nil, corev1.EventTypeWarning, "FailedScheduling", "Scheduling", "%s", message)
		if err := s.markUnschedulable(ctx, p, message, node); err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) {
			s.log.Warn("pod status not written", "pod", p.Key, "error", err)
		}
	}()
}

// preempt finds pods that have to go. note is what it adds to the message.
func (s *Scheduler) preempt(p *nodes.Pod, no *refusal) (*preempt.Room, string) {
	if no.general != "" {
		return nil, fmt.Sprintf("preemption: 0/%d nodes are available: %d Preemption is not helpful for scheduling.", no.total, no.total)
	}
	if no.total == 0 {
		return nil, ""
	}
	if ok, why := preempt.Eligible(p, s.nominatedFor(p)); !ok {
		return nil, "preemption: " + why
	}
	budgets, err := s.budgets.List(labels.Everything())
	if err != nil {
		return nil, ""
	}
	rooms := s.rooms(p, no.candidates, budgets)
	if best := preempt.Best(rooms); best != nil {
		return best, ""
	}
	count := map[string]int{}
	if no.unresolvable > 0 {
		count["Preemption is not helpful for scheduling"] = no.unresolvable
	}
	if n := len(no.candidates); n > 0 {
		count["No preemption victims found for incoming pod"] = n
	}
	return nil, fmt.Sprintf("preemption: 0/%d nodes are available: %s.", no.total, describeReasons(count))
}

func (s *Scheduler) rooms(p *nodes.Pod, candidates []*nodes.Node, budgets []*policyv1.PodDisruptionBudget) []*preempt.Room {
	k := s.classes.of(p, s.rules)
	k.refresh(s.table, s.namespaceLabels)
	var rooms []*preempt.Room
	s.turn++
	for i := range candidates {
		n := candidates[(i+s.turn)%len(candidates)]
		room := preempt.On(p, n, budgets,
			func(q *nodes.Pod) { s.table.Lift(q, n) }, func(q *nodes.Pod) { s.table.Put(q, n) },
			func() bool { return s.check(k, n) == nil && s.fitsBesideNominated(k, n) == nil })
		if room == nil || len(room.Victims) == 0 {
			continue
		}
		if rooms = append(rooms, room); len(rooms) >= preemptionNodes {
			break
		}
	}
	return rooms
}

// evict removes the victims: it marks each as disrupted (Job failure policies read that), deletes it and says so.
func (s *Scheduler) evict(ctx context.Context, p *nodes.Pod, room *preempt.Room) {
	for _, v := range room.Victims {
		if v.Obj.DeletionTimestamp != nil {
			continue
		}
		message := fmt.Sprintf("%s: preempting to accommodate a higher priority pod", s.Name)
		pods := s.clients.CoreV1().Pods(v.Key.Namespace)
		if err := s.patchStatus(ctx, v, map[string]any{"conditions": []corev1.PodCondition{{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonPreemptionByScheduler,
			Message: message, LastTransitionTime: metav1.Now(), ObservedGeneration: v.Obj.Generation,
		}}}); err != nil && !apierrors.IsNotFound(err) {
			s.log.Warn("victim not marked", "pod", v.Key, "error", err)
			continue // without the mark a Job would count the removal as a failure; the next attempt tries again
		}
		uid := v.UID()
		if err := pods.Delete(ctx, v.Key.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}); err != nil && !apierrors.IsNotFound(err) {
			s.log.Warn("victim not deleted", "pod", v.Key, "error", err)
			continue
		}
		s.stats.preempted.Add(1)
		s.recorder.Eventf(v.Obj, p.Obj, corev1.EventTypeNormal, "Preempted", "Preempting", "Preempted by pod %v on node %v", p.UID(), room.Node.Name)
	}
}

// markUnschedulable writes why the pod waits, and the node that is being made free for it.
func (s *Scheduler) markUnschedulable(ctx context.Context, p *nodes.Pod, message, node string) error {
	status := map[string]any{}
	if node != "" {
		status["nominatedNodeName"] = node
	}
	condition := corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: message,
		LastTransitionTime: metav1.Now(), ObservedGeneration: p.Obj.Generation,
	}
	unchanged := node == "" || node == p.Obj.Status.NominatedNodeName
	for _, c := range p.Obj.Status.Conditions {
		if c.Type != condition.Type || c.Status != condition.Status {
			continue
		}
		condition.LastTransitionTime = c.LastTransitionTime
		if c.Reason == condition.Reason && c.Message == message && unchanged {
			return nil
		}
	}
	status["conditions"] = []corev1.PodCondition{condition}
	return s.patchStatus(ctx, p, status)
}

// patchStatus merges conditions by type, as strategic merge patches of pods do. The UID keeps it off a pod of the same
// name that came later.
func (s *Scheduler) patchStatus(ctx context.Context, p *nodes.Pod, status map[string]any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.UID()}, "status": status})
	if err != nil {
		return fmt.Errorf("patch status of pod %s: %w", p.Key, err)
	}
	_, err = s.clients.CoreV1().Pods(p.Key.Namespace).Patch(ctx, p.Key.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}
