package podworker

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	podresources "k8s.io/component-helpers/resource"

	"github.com/skiff-project/skiff/nodeagent/status"
)

// report tells the writer what the API shall show.
func (w *Worker) report() {
	if w.silent || w.gone && w.stage != living {
		// Nobody will see it; an object of that name would be another pod's.
		return
	}
	now := time.Now()
	if w.stage == living && now.Before(w.quietUntil) {
		return
	}
	w.quietUntil = time.Time{}
	shown, ok := w.cfg.Status.Get(w.pod.UID)
	if !ok {
		shown = w.pod.Status
	}
	seen := status.Seen{
		RuntimeName: w.cfg.RuntimeName, Sandboxes: w.sandboxes, Containers: w.attempts, Probes: w.probeStates(), Messages: w.messages,
		Waiting: w.waiting, Actual: w.actual(), ImageVolumes: w.imageRefs, HostIPs: w.cfg.HostIPs(), QOS: QOS(w.pod),
		RecursiveReadOnly: w.cfg.RecursiveReadOnly, Terminal: w.stage != living, RestartingAll: w.resetting, Ended: w.ended,
		Resize: w.resize.conditions(),
	}
	seen.PodAllocated = podresources.PodRequests(w.pod, podresources.PodResourcesOptions{})
	if w.pod.Spec.Resources != nil {
		seen.PodResources = w.pod.Spec.Resources
	}
	s := status.Generate(w.pod, &shown, seen, now)
	if w.stage != living && (len(w.running()) > 0 || w.stage == ending) && !over(shown.Phase) && w.ended == nil {
		// The phase becomes final when everything has ended, not before.
		if over(s.Phase) {
			s.Phase = shown.Phase
			if s.Phase == "" {
				s.Phase = corev1.PodPending
			}
		}
	}
	if w.stage == ended {
		s = status.Final(w.pod, s, now)
	}
	if s.Phase == corev1.PodRunning && shown.Phase == corev1.PodPending && w.cfg.ObserveStart != nil {
		w.cfg.ObserveStart(now.Sub(w.pod.CreationTimestamp.Time))
	}
	w.cfg.Status.Set(w.pod, s)
}

func over(p corev1.PodPhase) bool { return p == corev1.PodFailed || p == corev1.PodSucceeded }
