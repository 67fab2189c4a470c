package podworker

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// resizing is a change of resources in place. What the node has granted (allocated) may be behind what the specification wants,
// and what the cgroups have (in force) behind that. Both are kept on disk: a restarted agent goes on where it was.
type resizing struct {
	known   bool
	granted map[string]corev1.ResourceRequirements // by container
	inForce map[string]corev1.ResourceRequirements
	running bool
	pending *corev1.PodCondition
	problem *corev1.PodCondition
	retryAt time.Time
	changed bool // a grant is newer than what is in force
}

// ledger is what is kept on disk.
type ledger struct {
	Granted map[string]corev1.ResourceRequirements `json:"granted"`
	InForce map[string]corev1.ResourceRequirements `json:"inForce"`
}

func (w *Worker) ledgerPath() string {
	return filepath.Join(w.cfg.Volumes.PodDir(w.pod.UID), "resources.json")
}

// allocated is pod with the resources that the node has granted in place of those wished for.
func (w *Worker) allocated(pod *corev1.Pod) *corev1.Pod {
	r := &w.resize
	wanted := requirements(pod)
	if !r.known {
		r.known = true
		var l ledger
		if raw, err := os.ReadFile(w.ledgerPath()); err == nil && json.Unmarshal(raw, &l) == nil && l.Granted != nil {
			r.granted, r.inForce = l.Granted, l.InForce
		} else {
			r.granted = shownRequirements(&pod.Status, wanted)
			r.inForce = maps.Clone(r.granted)
		}
	}
	if !same(r.granted, wanted) {
		w.askForRoom(pod, wanted)
	} else {
		r.pending, r.retryAt = nil, time.Time{}
	}
	if same(r.granted, wanted) {
		return pod
	}
	granted := pod.DeepCopy()
	apply(granted, r.granted)
	return granted
}

// shownRequirements are those that the API shows in force, where it does: a pod may have been resized while no agent ran.
func shownRequirements(s *corev1.PodStatus, wanted map[string]corev1.ResourceRequirements) map[string]corev1.ResourceRequirements {
	out := maps.Clone(wanted)
	for name, r := range wanted {
		c := statusOf(s, name)
		if c == nil || c.Resources == nil || c.State.Running == nil {
			continue
		}
		r.Limits, r.Requests = c.Resources.Limits, c.Resources.Requests
		out[name] = r
	}
	return out
}

func requirements(pod *corev1.Pod) map[string]corev1.ResourceRequirements {
	out := map[string]corev1.ResourceRequirements{}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			out[list[i].Name] = list[i].Resources
		}
	}
	return out
}

func same(a, b map[string]corev1.ResourceRequirements) bool {
	if len(a) != len(b) {
		return false
	}
	for name := range b {
		if !equality.Semantic.DeepEqual(a[name].Limits, b[name].Limits) || !equality.Semantic.DeepEqual(a[name].Requests, b[name].Requests) {
			return false
		}
	}
	return true
}

func apply(pod *corev1.Pod, to map[string]corev1.ResourceRequirements) {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if r, ok := to[list[i].Name]; ok {
				list[i].Resources.Limits, list[i].Resources.Requests = r.Limits, r.Requests
			}
		}
	}
}

// askForRoom asks the node for what the specification wants now.
func (w *Worker) askForRoom(pod *corev1.Pod, wanted map[string]corev1.ResourceRequirements) {
	r := &w.resize
	if w.stage != living || w.cfg.Allocate == nil {
		return
	}
	if refusal := w.cfg.Allocate(pod, r.granted); refusal != nil {
		refusal.ObservedGeneration = pod.Generation
		if r.pending == nil || r.pending.Reason != refusal.Reason || r.pending.Message != refusal.Message {
			kind := "ResizeDeferred"
			if refusal.Reason == corev1.PodReasonInfeasible {
				kind = "ResizeInfeasible"
			}
			w.cfg.Recorder.Eventf(pod, corev1.EventTypeWarning, kind, "Pod resize %s: %s", kind, refusal.Message)
		}
		r.pending = refusal
		if refusal.Reason == corev1.PodReasonDeferred {
			r.retryAt = time.Now().Add(10 * time.Second)
		}
		return
	}
	r.pending, r.retryAt = nil, time.Time{}
	r.granted, r.changed = wanted, true
	w.save()
	w.cfg.Recorder.Eventf(pod, corev1.EventTypeNormal, "ResizeStarted", "Pod resize started: %s", describe(pod))
}

func describe(pod *corev1.Pod) string {
	raw, _ := json.Marshal(requirements(pod))
	return fmt.Sprintf(`{"containers":%s,"generation":%d}`, raw, pod.Generation)
}

func (w *Worker) save() {
	raw, err := json.Marshal(ledger{Granted: w.resize.granted, InForce: w.resize.inForce})
	if err == nil {
		err = os.WriteFile(w.ledgerPath(), raw, 0o640)
	}
	if err != nil {
		w.log.Warn("resources not noted", "err", err)
	}
}

// conditions are those of the resize, for the status.
func (r *resizing) conditions() []corev1.PodCondition {
	var out []corev1.PodCondition
	if r.pending != nil {
		out = append(out, *r.pending)
	}
	switch {
	case r.problem != nil:
		out = append(out, *r.problem)
	case r.running || r.changed:
		out = append(out, corev1.PodCondition{Type: corev1.PodResizeInProgress, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()})
	}
	return out
}

// actual are the resources in force, for the status.
func (w *Worker) actual() map[string]corev1.ResourceRequirements { return w.resize.inForce }

// actuate brings a grant into force: the pod's cgroup grows before its containers and shrinks after them; a container whose
// policy wants that is restarted instead.
func (w *Worker) actuate(now time.Time) {
	r := &w.resize
	if !r.retryAt.IsZero() && !now.Before(r.retryAt) {
		r.retryAt = time.Time{}
		w.pod = w.allocated(w.pod)
	}
	if r.running || w.starting != nil || w.sandbox() == nil || same(r.granted, r.inForce) {
		if same(r.granted, r.inForce) {
			r.changed = false
		}
		return
	}
	type update struct {
		name, id  string
		resources runtime.Resources
	}
	var updates []update
	next := maps.Clone(r.granted)
	for _, list := range [][]corev1.Container{w.pod.Spec.InitContainers, w.pod.Spec.Containers} {
		for i := range list {
			c := &list[i]
			before, after := r.inForce[c.Name], r.granted[c.Name]
			running := w.attempts[c.Name]
			if same(map[string]corev1.ResourceRequirements{"": before}, map[string]corev1.ResourceRequirements{"": after}) || len(running) == 0 || running[0].State != runtime.Running {
				continue
			}
			if wantsRestart(c, before, after) {
				w.restart[c.Name] = true
				w.kill(c, running[0].ID, fmt.Sprintf("Container %s resize requires restart", c.Name), w.graceFor(nil), nil)
				continue
			}
			updates = append(updates, update{c.Name, running[0].ID, containerResources(w.pod, c, w.cfg.memoryCapacity())})
		}
	}
	old := w.pod.DeepCopy()
	apply(old, r.inForce)
	from, to := podResourceLimits(old), podResourceLimits(w.pod)
	sandbox := w.sandbox().ID
	r.running = true
	w.do(func() func() {
		err := w.cfg.Runtime.UpdatePodResources(w.ctx, sandbox, larger(from, to))
		for _, u := range updates {
			if err == nil {
				err = w.cfg.Runtime.UpdateResources(w.ctx, u.id, u.resources)
			}
		}
		if err == nil {
			err = w.cfg.Runtime.UpdatePodResources(w.ctx, sandbox, to)
		}
		return func() { w.actuated(next, err) }
	})
}

func (w *Worker) actuated(next map[string]corev1.ResourceRequirements, err error) {
	r := &w.resize
	r.running = false
	w.lookAgain = true
	if err != nil {
		if w.ctx.Err() != nil {
			return
		}
		r.problem = &corev1.PodCondition{Type: corev1.PodResizeInProgress, Status: corev1.ConditionTrue, Reason: corev1.PodReasonError,
			Message: err.Error(), ObservedGeneration: w.pod.Generation, LastTransitionTime: metav1.Now()}
		w.cfg.Recorder.Eventf(w.pod, corev1.EventTypeWarning, "ResizeError", "Pod resize error: %v", err)
		r.retryAt = time.Now().Add(10 * time.Second)
		return
	}
	r.inForce, r.problem = next, nil
	r.changed = !same(r.granted, r.inForce)
	w.save()
	if !r.changed {
		w.cfg.Recorder.Eventf(w.pod, corev1.EventTypeNormal, "ResizeCompleted", "Pod resize completed: %s", describe(w.pod))
	}
}

func wantsRestart(c *corev1.Container, before, after corev1.ResourceRequirements) bool {
	for _, p := range c.ResizePolicy {
		if p.RestartPolicy == corev1.RestartContainer && (differs(before.Limits, after.Limits, p.ResourceName) || differs(before.Requests, after.Requests, p.ResourceName)) {
			return true
		}
	}
	return false
}

func differs(a, b corev1.ResourceList, name corev1.ResourceName) bool {
	var x, y resource.Quantity
	x, y = a[name], b[name]
	return x.Cmp(y) != 0
}

// larger is, of each limit, the one that lets more through (0 lets all through).
func larger(a, b runtime.Resources) runtime.Resources {
	out := b
	out.CPUShares = max(a.CPUShares, b.CPUShares)
	if a.CPUQuota == 0 || b.CPUQuota == 0 {
		out.CPUQuota = 0
	} else {
		out.CPUQuota = max(a.CPUQuota, b.CPUQuota)
	}
	if a.MemoryLimit == 0 || b.MemoryLimit == 0 {
		out.MemoryLimit = 0
	} else {
		out.MemoryLimit = max(a.MemoryLimit, b.MemoryLimit)
	}
	return out
}
