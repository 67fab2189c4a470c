package podworker

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/nodeagent/probes"
	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// resume takes over what an earlier agent left.
func (w *Worker) resume(found Found) {
	w.sandboxes = found.Sandboxes
	slices.SortFunc(w.sandboxes, func(a, b runtime.Sandbox) int { return b.CreatedAt.Compare(a.CreatedAt) })
	for _, s := range found.Containers {
		w.attempts[s.Name] = append(w.attempts[s.Name], s)
	}
	for name, list := range w.attempts {
		slices.SortFunc(list, func(a, b runtime.ContainerStatus) int { return b.CreatedAt.Compare(a.CreatedAt) })
		if d, err := time.ParseDuration(list[0].Annotations[annotationBackoff]); err == nil && d > 0 {
			w.crash[name] = &backoff{delay: d, since: list[0].CreatedAt}
		}
		for _, s := range list {
			w.seen(s, true)
		}
	}
	w.pod = w.allocated(w.pod)
	w.lookAgain = true
}

// observe reads again what can have changed: containers that had not ended, and then the newest sandbox. In this order: a sandbox
// is lost before its containers end with it, so that a container whose end is seen here is never taken for one that ended by itself
// in a sandbox that lives, and restarted in there.
func (w *Worker) observe() {
	for _, list := range w.attempts {
		for i := range list {
			if list[i].State != runtime.Exited {
				w.observeContainer(&list[i])
			}
		}
	}
	for i := range w.sandboxes {
		if i > 0 && w.sandboxes[i].State != runtime.SandboxReady {
			continue
		}
		s, err := w.cfg.Runtime.Sandbox(w.ctx, w.sandboxes[i].ID)
		switch {
		case errors.Is(err, runtime.ErrNotFound):
			w.sandboxes[i].State = runtime.SandboxNotReady
		case err == nil:
			w.sandboxes[i] = s
		}
	}
}

func (w *Worker) observeContainer(known *runtime.ContainerStatus) {
	s, err := w.cfg.Runtime.ContainerStatus(w.ctx, known.ID)
	switch {
	case errors.Is(err, runtime.ErrNotFound):
		known.State = runtime.Unknown
	case err == nil:
		*known = s
	default:
		return
	}
	w.seen(*known, false)
}

// seen draws the conclusions from a container's state: a running one is probed, an ended one leaves a message.
func (w *Worker) seen(s runtime.ContainerStatus, resumed bool) {
	switch s.State {
	case runtime.Running:
		if w.probing[s.ID] == nil {
			w.probe(s, resumed)
		}
	case runtime.Exited, runtime.Unknown:
		if p := w.probing[s.ID]; p != nil {
			p.Stop()
			delete(w.probing, s.ID)
		}
		if _, read := w.messages[s.ID]; !read && s.State == runtime.Exited {
			w.messages[s.ID] = terminationMessage(s)
		}
	}
}

func (w *Worker) probe(s runtime.ContainerStatus, resumed bool) {
	c := find(w.pod, s.Name)
	if c == nil || c.LivenessProbe == nil && c.ReadinessProbe == nil && c.StartupProbe == nil {
		return
	}
	cfg := probes.Config{
		Container: c, PodIP: w.podIP(), StartedAt: s.StartedAt, Resumed: resumed,
		Exec: func(ctx context.Context, command []string, timeout time.Duration) ([]byte, int, error) {
			return w.exec(ctx, s.ID, command, timeout)
		},
		Changed: w.Look,
		Event: func(reason, message string) {
			w.containerEvent(c, corev1.EventTypeWarning, reason, message)
		},
		Observe: w.cfg.ObserveProbe,
	}
	if shown := statusOf(&w.pod.Status, s.Name); resumed && shown != nil && strings.HasSuffix(shown.ContainerID, s.ID) {
		cfg.Started = shown.Started != nil && *shown.Started
		cfg.Ready = shown.Ready
	}
	w.probing[s.ID] = probes.Watch(w.ctx, cfg)
}

func (w *Worker) exec(ctx context.Context, id string, command []string, timeout time.Duration) ([]byte, int, error) {
	r, err := w.cfg.Runtime.ExecSync(ctx, id, command, timeout)
	if errors.Is(err, runtime.ErrExecTimeout) {
		err = errors.Join(probes.ErrExecTimeout, err)
	}
	return bytes.Join([][]byte{r.Stdout, r.Stderr}, nil), r.ExitCode, err
}

func statusOf(s *corev1.PodStatus, name string) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

func (w *Worker) stopProbes() {
	for _, p := range w.probing {
		p.Stop()
	}
}

func (w *Worker) sandbox() *runtime.Sandbox {
	if len(w.sandboxes) == 0 {
		return nil
	}
	return &w.sandboxes[0]
}

// podIPs are those of a sandbox, or the node's for a pod on the host network.
func (w *Worker) podIPs() []string {
	if w.pod.Spec.HostNetwork {
		return w.cfg.HostIPs()
	}
	if s := w.sandbox(); s != nil {
		return s.IPs
	}
	return nil
}

func (w *Worker) podIP() string {
	if ips := w.podIPs(); len(ips) > 0 {
		return ips[0]
	}
	return ""
}

// running lists the containers that have not ended.
func (w *Worker) running() []runtime.ContainerStatus {
	var out []runtime.ContainerStatus
	for _, list := range w.attempts {
		for _, s := range list {
			if s.State == runtime.Running || s.State == runtime.Created {
				out = append(out, s)
			}
		}
	}
	return out
}
