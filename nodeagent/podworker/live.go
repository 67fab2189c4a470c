package podworker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/nodeagent/probes"
	"github.com/skiff-project/skiff/nodeagent/runtime"
	"github.com/skiff-project/skiff/nodeagent/status"
	"github.com/skiff-project/skiff/nodeagent/volumes"
)

// mustEnd says whether the pod's time is over, for whatever reason.
func (w *Worker) mustEnd() bool {
	if w.pod.DeletionTimestamp != nil || w.gone || w.ended != nil {
		return true
	}
	if p := w.pod.Status.Phase; p == corev1.PodFailed || p == corev1.PodSucceeded {
		return true
	}
	if d := w.deadline(); !d.IsZero() && !time.Now().Before(d) {
		const message = "Pod was active on the node longer than the specified deadline"
		w.ended = &status.Ended{Phase: corev1.PodFailed, Reason: "DeadlineExceeded", Message: message}
		w.cfg.Recorder.Event(w.pod, corev1.EventTypeNormal, "DeadlineExceeded", message)
		return true
	}
	return false
}

// deadline is when the pod must have ended; zero: never.
func (w *Worker) deadline() time.Time {
	if w.pod.Spec.ActiveDeadlineSeconds == nil {
		return time.Time{}
	}
	start := w.pod.Status.StartTime
	if s, ok := w.cfg.Status.Get(w.pod.UID); ok && s.StartTime != nil {
		start = s.StartTime
	}
	if start == nil {
		return time.Time{}
	}
	return start.Add(time.Duration(*w.pod.Spec.ActiveDeadlineSeconds) * time.Second)
}

// live takes the next steps of a pod that shall run.
func (w *Worker) live() {
	now := time.Now()
	w.ensureVolumes(now)
	w.refreshVolumes(now)
	plan := Decide(w.view())
	switch {
	case plan.RestartAll:
		w.restartAll()
		return
	case plan.Finish:
		w.stage = ending
		w.end()
		return
	case plan.NewSandbox:
		w.ensureSandbox(plan.Attempt, now)
		return
	}
	for _, k := range plan.Kill {
		w.restart[k.Container.Name] = k.Restart
		if k.Replace && w.kills[k.ID] == nil {
			w.quietUntil = now.Add(replacement)
		}
		w.kill(k.Container, k.ID, k.Message, w.graceFor(k.Grace), nil)
	}
	w.actuate(now)
	if w.volState.done {
		w.startNext(plan.Start, now)
	}
}

// replacement is how long a container may take to be replaced before that is told. The kubelet, which looks at its containers
// once a second, tells of no replacement that is faster.
const replacement = time.Second

func (w *Worker) view() View {
	return View{Pod: w.pod, Sandbox: w.sandbox(), Attempts: w.attempts, Probes: w.probeStates(), Changed: definitionChanged, Restart: w.restart}
}

func (w *Worker) probeStates() map[string]probes.State {
	states := make(map[string]probes.State, len(w.probing))
	for id, p := range w.probing {
		states[id] = p.State()
	}
	return states
}

// ensureVolumes has the pod's volumes made, again and again until they are.
func (w *Worker) ensureVolumes(now time.Time) {
	if !w.volState.due(now) {
		return
	}
	w.volState.running = true
	w.stale = false
	pod := w.pod
	w.do(func() func() {
		err := os.MkdirAll(filepath.Join(w.cfg.Volumes.PodDir(pod.UID), "containers"), 0o750)
		if err == nil {
			err = w.vol.Setup(w.ctx, pod)
		}
		return func() {
			if err == nil {
				w.volState = job{done: true}
				return
			}
			w.volState.failed(time.Now(), 500*time.Millisecond, 2*time.Minute)
			w.volumeEvents(err)
		}
	})
}

func (w *Worker) volumeEvents(err error) {
	if w.ctx.Err() != nil {
		return
	}
	var joined interface{ Unwrap() []error }
	list := []error{err}
	if errors.As(err, &joined) {
		list = joined.Unwrap()
	}
	for _, e := range list {
		var one *volumes.Error
		if errors.As(e, &one) {
			w.cfg.Recorder.Event(w.pod, corev1.EventTypeWarning, "FailedMount", one.Error())
		} else {
			w.cfg.Recorder.Eventf(w.pod, corev1.EventTypeWarning, "Failed", "error making pod data directories: %v", e)
		}
	}
}

// refreshVolumes brings contents up to date after a change, and when a token is to be renewed.
func (w *Worker) refreshVolumes(now time.Time) {
	renew := w.vol.RenewAt()
	if !w.volState.done || w.refreshing || !w.stale && (renew.IsZero() || now.Before(renew)) {
		return
	}
	w.refreshing, w.stale = true, false
	pod := w.pod
	w.do(func() func() {
		err := w.vol.Refresh(w.ctx, pod)
		return func() {
			w.refreshing = false
			if err != nil && w.ctx.Err() == nil {
				// The old contents stay. A change of the object, or the next renewal, tries again.
				w.volumeEvents(err)
			}
		}
	})
}

// ensureSandbox has a sandbox made in place of one that is missing or dead.
func (w *Worker) ensureSandbox(attempt uint32, now time.Time) {
	if !w.sandboxJob.due(now) || w.starting != nil || len(w.kills) > 0 {
		return
	}
	w.sandboxJob.running = true
	old := slices.Clone(w.sandboxes)
	if len(old) > 0 {
		w.cfg.Recorder.Event(w.pod, corev1.EventTypeNormal, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
	}
	pod := w.pod
	w.do(func() func() {
		for _, s := range old {
			if err := w.cfg.Runtime.StopSandbox(w.ctx, s.ID); err != nil {
				return func() { w.sandboxFailed(err) }
			}
		}
		sandbox, err := w.makeSandbox(pod, attempt)
		return func() {
			if err != nil {
				w.sandboxFailed(err)
				return
			}
			w.sandboxJob = job{}
			// What failed in the old one may have failed because of it.
			clear(w.retryAt)
			clear(w.waiting)
			w.sandboxes = append([]runtime.Sandbox{sandbox}, w.sandboxes...)
			w.lookAgain = len(old) > 0
		}
	})
}

func (w *Worker) sandboxFailed(err error) {
	w.sandboxJob.failed(time.Now(), 2*time.Second, time.Minute)
	if w.ctx.Err() == nil {
		w.cfg.Recorder.Eventf(w.pod, corev1.EventTypeWarning, "FailedCreatePodSandBox", "Failed to create pod sandbox: %v", err)
	}
}

// startNext starts the first container of the list that may be started now. One is started at a time: a postStart hook holds
// up the containers after its own, as users have come to rely on.
func (w *Worker) startNext(list []Start, now time.Time) {
	if w.starting != nil || w.sandbox() == nil {
		return
	}
	for _, s := range list {
		if w.kills[w.lastID(s.Container.Name)] != nil || now.Before(w.retryAt[s.Container.Name]) || w.backingOff(s, now) {
			continue
		}
		w.start(s, now)
		return
	}
}

func (w *Worker) lastID(name string) string {
	if list := w.attempts[name]; len(list) > 0 {
		return list[0].ID
	}
	return ""
}

// backingOff says whether a container that failed must wait before it is started again, and shows that.
func (w *Worker) backingOff(s Start, now time.Time) bool {
	name := s.Container.Name
	list := w.attempts[name]
	if len(list) == 0 || list[0].State != runtime.Exited || s.Kind == Ephemeral {
		return false
	}
	last := list[0]
	if last.SandboxID != w.sandbox().ID {
		return false // it ended with its sandbox, not by itself
	}
	if definitionChanged(s.Container, &last) {
		delete(w.crash, name)
		return false
	}
	b := w.crash[name]
	if b == nil {
		b = &backoff{}
		w.crash[name] = b
	}
	wait := b.wait(last.FinishedAt, now, w.cfg.maxDelay())
	if wait == 0 {
		b.next(last.FinishedAt, now, w.cfg.maxDelay())
		return false
	}
	w.retryAt[name] = now.Add(wait)
	w.waiting[name] = status.Reason{Reason: "CrashLoopBackOff",
		Message: fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", b.delay, name, fullName(w.pod))}
	if !w.told[last.ID] {
		w.told[last.ID] = true
		w.containerEvent(s.Container, corev1.EventTypeWarning, "BackOff", fmt.Sprintf("Back-off restarting failed container %s in pod %s", name, fullName(w.pod)))
	}
	return true
}

// restartAll removes all containers, so that the pod begins anew in its sandbox.
func (w *Worker) restartAll() {
	if w.starting != nil {
		w.starting.cancel()
		return
	}
	w.resetting = true
	for _, s := range w.running() {
		if c := find(w.pod, s.Name); c != nil {
			w.kill(c, s.ID, fmt.Sprintf("Stopping container %s", s.Name), w.graceFor(nil), nil)
		}
	}
	if len(w.kills) > 0 {
		return
	}
	w.report() // while what ended is still known
	for name, list := range w.attempts {
		if isEphemeral(w.pod, name) {
			continue
		}
		for _, s := range list {
			if err := w.cfg.Runtime.RemoveContainer(w.ctx, s.ID); err != nil {
				w.log.Warn("container not removed", "container", name, "err", err)
			}
			w.dropLink(s)
		}
		delete(w.attempts, name)
	}
	w.report()
	w.resetting = false
	w.tell(func(*inbox) {}) // and go on
}

func isEphemeral(pod *corev1.Pod, name string) bool {
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			return true
		}
	}
	return false
}

// containerEvent tells of one of the pod's containers.
func (w *Worker) containerEvent(c *corev1.Container, kind, reason, message string) {
	w.cfg.Recorder.Event(containerRef(w.pod, c.Name), kind, reason, message)
}
