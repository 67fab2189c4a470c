package deployment

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Reasons of the Progressing condition.
const (
	reasonUpdated     = "ReplicaSetUpdated"
	reasonCreateError = "ReplicaSetCreateError"
	reasonCreated     = "NewReplicaSetCreated"
	reasonFound       = "FoundNewReplicaSet"
	reasonAvailable   = "NewReplicaSetAvailable"
	reasonTimedOut    = "ProgressDeadlineExceeded"
	reasonPaused      = "DeploymentPaused"
	reasonResumed     = "DeploymentResumed"
)

// count computes the status but for progress. new may be nil.
func count(d *appsv1.Deployment, new *appsv1.ReplicaSet, old []*appsv1.ReplicaSet, now time.Time) appsv1.DeploymentStatus {
	all := old
	if new != nil {
		all = append(append([]*appsv1.ReplicaSet(nil), old...), new)
	}
	s := appsv1.DeploymentStatus{
		ObservedGeneration: d.Generation,
		Replicas:           sum(all, func(set *appsv1.ReplicaSet) int32 { return set.Status.Replicas }),
		ReadyReplicas:      sum(all, func(set *appsv1.ReplicaSet) int32 { return set.Status.ReadyReplicas }),
		AvailableReplicas:  sum(all, available),
		CollisionCount:     d.Status.CollisionCount,
	}
	if new != nil {
		s.UpdatedReplicas = new.Status.Replicas
	}
	s.UnavailableReplicas = max(sum(all, size)-s.AvailableReplicas, 0)
	s.TerminatingReplicas = terminating(all)
	s.Conditions = append(s.Conditions, d.Status.Conditions...)
	if s.AvailableReplicas >= desired(d)-maxUnavailable(d) {
		setCondition(&s, condition(appsv1.DeploymentAvailable, corev1.ConditionTrue, "MinimumReplicasAvailable", "Deployment has minimum availability.", now))
	} else {
		setCondition(&s, condition(appsv1.DeploymentAvailable, corev1.ConditionFalse, "MinimumReplicasUnavailable", "Deployment does not have minimum availability.", now))
	}
	return s
}

// terminating is unknown as long as one set does not say.
func terminating(sets []*appsv1.ReplicaSet) *int32 {
	total := int32(0)
	for _, set := range sets {
		if set.Status.TerminatingReplicas == nil {
			return nil
		}
		total += *set.Status.TerminatingReplicas
	}
	return ptr.To(total)
}

// progress adds to s what it says about the roll-out, compared with the status that d had.
func progress(s *appsv1.DeploymentStatus, d *appsv1.Deployment, new *appsv1.ReplicaSet, old []*appsv1.ReplicaSet, now time.Time) {
	if d.Spec.ProgressDeadlineSeconds == nil || *d.Spec.ProgressDeadlineSeconds == noDeadline {
		removeCondition(s, appsv1.DeploymentProgressing)
	} else {
		current := getCondition(d.Status, appsv1.DeploymentProgressing)
		what := fmt.Sprintf("Deployment %q", d.Name)
		if new != nil {
			what = fmt.Sprintf("ReplicaSet %q", new.Name)
		}
		settled := s.Replicas == s.UpdatedReplicas && current != nil && current.Reason == reasonAvailable
		switch {
		case settled:
			// the last roll-out is over; what changes now (a scaling, a lost node) is no roll-out
		case complete(d, s):
			setCondition(s, condition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonAvailable, what+" has successfully progressed.", now))
		case progressing(d.Status, *s):
			c := condition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonUpdated, what+" is progressing.", now)
			if current != nil && current.Status == corev1.ConditionTrue {
				c.LastTransitionTime = current.LastTransitionTime
			}
			// Written even if nothing but the time is new: the deadline counts from the last progress.
			removeCondition(s, appsv1.DeploymentProgressing)
			setCondition(s, c)
		case timedOut(d, s, now):
			setCondition(s, condition(appsv1.DeploymentProgressing, corev1.ConditionFalse, reasonTimedOut, what+" has timed out progressing.", now))
		}
	}
	if failure := replicaFailure(new, old); failure != nil {
		setCondition(s, *failure)
	} else {
		removeCondition(s, appsv1.DeploymentReplicaFailure)
	}
}

// noDeadline is what the server stores for "never".
const noDeadline = 1<<31 - 1

func hasDeadline(d *appsv1.Deployment) bool {
	return d.Spec.ProgressDeadlineSeconds != nil && *d.Spec.ProgressDeadlineSeconds != noDeadline
}

func complete(d *appsv1.Deployment, s *appsv1.DeploymentStatus) bool {
	return s.UpdatedReplicas == desired(d) && s.Replicas == desired(d) && s.AvailableReplicas == desired(d) && s.ObservedGeneration >= d.Generation
}

func progressing(before, after appsv1.DeploymentStatus) bool {
	return after.UpdatedReplicas > before.UpdatedReplicas ||
		after.Replicas-after.UpdatedReplicas < before.Replicas-before.UpdatedReplicas ||
		after.ReadyReplicas > before.ReadyReplicas || after.AvailableReplicas > before.AvailableReplicas
}

func timedOut(d *appsv1.Deployment, s *appsv1.DeploymentStatus, now time.Time) bool {
	c := getCondition(*s, appsv1.DeploymentProgressing)
	switch {
	case c == nil || c.Reason == reasonAvailable:
		return false
	case c.Reason == reasonTimedOut:
		return true
	}
	return c.LastUpdateTime.Add(deadline(d)).Before(now)
}

func deadline(d *appsv1.Deployment) time.Duration {
	return time.Duration(*d.Spec.ProgressDeadlineSeconds) * time.Second
}

// recheck says when, without any other event, the deadline will be over; zero for never.
func recheck(d *appsv1.Deployment, s *appsv1.DeploymentStatus, now time.Time) time.Duration {
	c := getCondition(*s, appsv1.DeploymentProgressing)
	if !hasDeadline(d) || d.Spec.Paused || c == nil || c.Reason == reasonTimedOut || complete(d, s) || c.Reason == reasonAvailable {
		return 0
	}
	// Times in conditions have whole seconds: one more, so as not to look too early.
	return max(c.LastUpdateTime.Add(deadline(d)).Sub(now), 0) + time.Second
}

// pausedCondition follows spec.paused, unless the deadline was exceeded: that must stay visible.
func pausedCondition(d *appsv1.Deployment, now time.Time) {
	if !hasDeadline(d) {
		return
	}
	c := getCondition(d.Status, appsv1.DeploymentProgressing)
	if c != nil && c.Reason == reasonTimedOut {
		return
	}
	was := c != nil && c.Reason == reasonPaused
	switch {
	case d.Spec.Paused && !was:
		setCondition(&d.Status, condition(appsv1.DeploymentProgressing, corev1.ConditionUnknown, reasonPaused, "Deployment is paused", now))
	case !d.Spec.Paused && was:
		setCondition(&d.Status, condition(appsv1.DeploymentProgressing, corev1.ConditionUnknown, reasonResumed, "Deployment is resumed", now))
	}
}

// replicaFailure hands on why a set cannot make or delete pods; the new set's reason first.
func replicaFailure(new *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) *appsv1.DeploymentCondition {
	for _, set := range append([]*appsv1.ReplicaSet{new}, old...) {
		if set == nil {
			continue
		}
		for _, c := range set.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure {
				return &appsv1.DeploymentCondition{
					Type: appsv1.DeploymentReplicaFailure, Status: c.Status, Reason: c.Reason, Message: c.Message,
					LastTransitionTime: c.LastTransitionTime, LastUpdateTime: c.LastTransitionTime,
				}
			}
		}
	}
	return nil
}

func condition(kind appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string, now time.Time) appsv1.DeploymentCondition {
	at := metav1.NewTime(now)
	return appsv1.DeploymentCondition{Type: kind, Status: status, Reason: reason, Message: message, LastUpdateTime: at, LastTransitionTime: at}
}

func getCondition(s appsv1.DeploymentStatus, kind appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == kind {
			return &s.Conditions[i]
		}
	}
	return nil
}

// setCondition changes nothing if status and reason are as before, and keeps the time of the last transition if the status is.
func setCondition(s *appsv1.DeploymentStatus, c appsv1.DeploymentCondition) {
	if has := getCondition(*s, c.Type); has != nil {
		if has.Status == c.Status && has.Reason == c.Reason {
			return
		}
		if has.Status == c.Status {
			c.LastTransitionTime = has.LastTransitionTime
		}
	}
	removeCondition(s, c.Type)
	s.Conditions = append(s.Conditions, c)
}

func removeCondition(s *appsv1.DeploymentStatus, kind appsv1.DeploymentConditionType) {
	var kept []appsv1.DeploymentCondition
	for _, c := range s.Conditions {
		if c.Type != kind {
			kept = append(kept, c)
		}
	}
	s.Conditions = kept
}
