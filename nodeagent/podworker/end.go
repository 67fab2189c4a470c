package podworker

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/nodeagent/runtime"
	"github.com/skiff-project/skiff/nodeagent/status"
)

// end takes the next steps of a pod that shall not run any more: containers first, then sandbox and volumes.
func (w *Worker) end() {
	if w.starting != nil {
		w.starting.cancel()
	}
	w.killAll()
	if w.starting != nil || len(w.kills) > 0 || w.sandboxJob.running || w.volState.running || w.refreshing || w.resize.running {
		return
	}
	if len(w.running()) > 0 {
		w.lookAgain = true
		w.observe()
		if len(w.running()) > 0 {
			return
		}
	}
	now := time.Now()
	if w.takedown.done {
		w.stage = ended
		return
	}
	if !w.takedown.due(now) {
		return
	}
	w.takedown.running = true
	sandboxes := slices.Clone(w.sandboxes)
	w.do(func() func() {
		var errs []error
		for _, s := range sandboxes {
			errs = append(errs, w.cfg.Runtime.StopSandbox(w.ctx, s.ID))
		}
		errs = append(errs, w.vol.Teardown())
		err := errors.Join(errs...)
		return func() {
			if err != nil {
				w.takedown.failed(time.Now(), 500*time.Millisecond, 30*time.Second)
				if w.ctx.Err() == nil {
					w.log.Warn("pod not taken down, trying again", "err", err)
					w.cfg.Recorder.Eventf(w.pod, corev1.EventTypeWarning, "FailedKillPod", "error killing pod: %v", err)
				}
				return
			}
			w.takedown = job{done: true}
			for i := range w.sandboxes {
				w.sandboxes[i].State = runtime.SandboxNotReady
			}
			w.stage = ended
			w.cfg.Released(w.pod.UID)
		}
	})
}

// killAll stops what runs: all at once, but sidecars after those that may need them, in the reverse of their order.
func (w *Worker) killAll() {
	grace := gracePeriod(w.pod)
	if w.grace != nil {
		grace = time.Duration(*w.grace) * time.Second
	}
	if w.gone && w.pod.DeletionGracePeriodSeconds == nil {
		grace = gracePeriod(w.pod)
	}
	byName := map[string]runtime.ContainerStatus{}
	for _, s := range w.running() {
		byName[s.Name] = s
	}
	if len(byName) == 0 {
		return
	}
	var earlier []*kill
	stop := func(c *corev1.Container, ordered bool) {
		s, ok := byName[c.Name]
		if !ok {
			return
		}
		delete(byName, c.Name)
		var before []*kill
		if ordered {
			before = append(before, earlier...)
		}
		earlier = append(earlier, w.kill(c, s.ID, "Stopping container "+c.Name, grace, before))
	}
	for i := range w.pod.Spec.Containers {
		stop(&w.pod.Spec.Containers[i], false)
	}
	for i := len(w.pod.Spec.InitContainers) - 1; i >= 0; i-- {
		c := &w.pod.Spec.InitContainers[i]
		stop(c, status.IsSidecar(c))
	}
	for i := range w.pod.Spec.EphemeralContainers {
		c := corev1.Container(w.pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		stop(&c, false)
	}
	for name := range byName { // of an older specification
		stop(&corev1.Container{Name: name}, false)
	}
}

// rest is the state of a pod of which nothing runs: it waits to be deleted, and then to be gone.
func (w *Worker) rest() {
	switch {
	case w.gone:
		w.leave()
	case w.pod.DeletionTimestamp != nil:
		w.report()
		w.cfg.Status.Finish(w.pod.UID)
	}
}

// leave removes the last traces.
func (w *Worker) leave() {
	w.stage = leaving
	w.cfg.Status.Forget(w.pod.UID)
	w.takedown = job{running: true}
	sandboxes, pod := slices.Clone(w.sandboxes), w.pod
	var containers []runtime.ContainerStatus
	for _, list := range w.attempts {
		containers = append(containers, list...)
	}
	w.do(func() func() {
		var errs []error
		for _, s := range sandboxes {
			errs = append(errs, w.cfg.Runtime.RemoveSandbox(w.ctx, s.ID))
		}
		for _, s := range containers {
			if len(sandboxes) == 0 {
				errs = append(errs, w.cfg.Runtime.RemoveContainer(w.ctx, s.ID))
			}
			w.dropLink(s)
		}
		errs = append(errs, w.cfg.Volumes.Remove(pod.UID), os.RemoveAll(w.cfg.logDirectory(pod)))
		if err := errors.Join(errs...); err != nil {
			// The sweep for orphans finds what is left and tries again.
			w.log.Warn("pod not removed completely", "err", fmt.Errorf("remove: %w", err))
		}
		return func() { w.over = true }
	})
}
