package podworker

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// kill is a container that is being stopped. Its deadline can only come nearer.
type kill struct {
	mu       sync.Mutex
	deadline time.Time
	nearer   chan struct{} // closed and replaced whenever the deadline comes nearer
	stopping bool          // StopContainer has been called
	done     chan struct{}
}

// leastGrace is given even to those who asked for none: a killed process loses what a second could have saved.
const leastGrace = 2 * time.Second

// gracePeriod is how long a pod's containers have to end.
func gracePeriod(pod *corev1.Pod) time.Duration {
	seconds := int64(30)
	switch {
	case pod.DeletionGracePeriodSeconds != nil:
		seconds = *pod.DeletionGracePeriodSeconds
	case pod.Spec.TerminationGracePeriodSeconds != nil:
		seconds = *pod.Spec.TerminationGracePeriodSeconds
	}
	return time.Duration(max(seconds, 1)) * time.Second
}

// graceFor is the pod's grace period, or a probe's own.
func (w *Worker) graceFor(own *int64) time.Duration {
	if own != nil && w.pod.DeletionTimestamp == nil {
		return time.Duration(*own) * time.Second
	}
	return gracePeriod(w.pod)
}

// kill has a container stopped: its preStop hook, its turn (after those in before have ended), the stop signal, and at the end of the
// grace period SIGKILL. For one that is being stopped already only the deadline can change.
func (w *Worker) kill(c *corev1.Container, id, message string, grace time.Duration, before []*kill) *kill {
	deadline := time.Now().Add(grace)
	if k := w.kills[id]; k != nil {
		if k.bring(deadline) {
			w.do(func() func() { // a call that waits is shortened by a second one
				_ = w.cfg.Runtime.StopContainer(w.ctx, id, k.left())
				return func() {}
			})
		}
		return k
	}
	k := &kill{deadline: deadline, nearer: make(chan struct{}), done: make(chan struct{})}
	w.kills[id] = k
	if p := w.probing[id]; p != nil {
		p.StopRestarting()
	}
	w.containerEvent(c, corev1.EventTypeNormal, "Killing", message)
	pod, podIPs := w.pod, w.podIPs()
	w.do(func() func() {
		err := w.stopContainer(pod, c, id, podIPs, k, before)
		close(k.done)
		return func() {
			delete(w.kills, id)
			w.lookAgain = true
			if err != nil && w.ctx.Err() == nil {
				w.cfg.Recorder.Eventf(w.pod, corev1.EventTypeWarning, "FailedKillPod", "error killing pod: failed to \"KillContainer\" for %q with KillContainerError: %q", c.Name, err.Error())
				w.log.Warn("container not stopped, trying again", "container", c.Name, "err", err)
			}
		}
	})
	return k
}

func (w *Worker) stopContainer(pod *corev1.Pod, c *corev1.Container, id string, podIPs []string, k *kill, before []*kill) error {
	s, err := w.cfg.Runtime.ContainerStatus(w.ctx, id)
	if err == nil && s.State == runtime.Running && c.Lifecycle != nil && c.Lifecycle.PreStop != nil && k.left() > 0 {
		ctx, cancel := k.context(w.ctx)
		if err := w.hook(ctx, pod, c, id, podIPs, c.Lifecycle.PreStop); err != nil && w.ctx.Err() == nil {
			w.log.Warn("preStop hook failed", "container", c.Name, "err", err)
			w.containerEvent(c, corev1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed")
		}
		cancel()
	}
	ctx, cancel := k.context(w.ctx)
	for _, b := range before {
		select {
		case <-b.done:
		case <-ctx.Done():
		}
	}
	cancel()
	if w.ctx.Err() != nil {
		return w.ctx.Err()
	}
	k.mu.Lock()
	k.stopping = true
	k.mu.Unlock()
	return w.cfg.Runtime.StopContainer(w.ctx, id, max(k.left(), leastGrace))
}

// bring moves the deadline to t if that is nearer, and says whether a stop that is under way must be told.
func (k *kill) bring(t time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !t.Before(k.deadline.Add(-time.Second)) {
		return false
	}
	k.deadline = t
	close(k.nearer)
	k.nearer = make(chan struct{})
	return k.stopping
}

func (k *kill) left() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return max(time.Until(k.deadline), 0)
}

// context ends at the deadline, also when that comes nearer.
func (k *kill) context(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	go func() {
		defer cancel()
		for {
			k.mu.Lock()
			wait, nearer := time.Until(k.deadline), k.nearer
			k.mu.Unlock()
			timer := time.NewTimer(max(wait, 0))
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case <-timer.C:
				return
			case <-nearer:
				timer.Stop()
			}
		}
	}()
	return ctx, cancel
}
