package podworker

import (
	"context"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/nodeagent/probes"
	"github.com/skiff-project/skiff/nodeagent/runtime"
	"github.com/skiff-project/skiff/nodeagent/status"
	"github.com/skiff-project/skiff/nodeagent/volumes"
)

// stage of a pod's life.
type stage int

const (
	living  stage = iota // is brought to and kept as its specification says
	ending               // containers are being stopped, sandbox and volumes taken away
	ended                // nothing runs; the object is still there
	leaving              // the object is gone; the last traces are being removed
)

// Worker owns one pod. Its exported methods may be called from any goroutine; they leave a message and return.
type Worker struct {
	cfg  *Config
	log  *slog.Logger
	done chan struct{}

	mu     sync.Mutex
	inbox  inbox
	signal chan struct{}
	// results are the ends of tasks, run by the owner.
	results chan func()
	tasks   sync.WaitGroup

	// What follows belongs to run.

	ctx   context.Context
	pod   *corev1.Pod
	stage stage
	over  bool
	gone  bool
	ended *status.Ended
	grace *int64 // of an eviction; nil: the pod's own

	vol        *volumes.Pod
	volState   job
	sandboxJob job
	takedown   job
	refreshing bool
	stale      bool // contents of volumes are to be brought up to date
	lookAgain  bool
	sandboxes  []runtime.Sandbox
	attempts   map[string][]runtime.ContainerStatus
	probing    map[string]*probes.Container
	messages   map[string]string
	waiting    map[string]status.Reason
	retryAt    map[string]time.Time // by container: no attempt to start before
	crash      map[string]*backoff
	told       map[string]bool // back-offs already told about, by container id
	pulls      *pulls
	starting   *starting
	kills      map[string]*kill
	restart    map[string]bool
	resetting  bool
	imageRefs  map[string]string
	resize     resizing
	// quietUntil holds back reports while a container is replaced: that it is not ready for a moment is no news.
	quietUntil time.Time
	// silent: the API shows all there is to say already.
	silent bool
}

// inbox collects messages until the owner takes them; newer ones replace older ones.
type inbox struct {
	pod     *corev1.Pod
	gone    bool
	ended   *status.Ended
	grace   *int64
	look    bool
	objects bool
}

// job is something that is done once, tried again when it fails.
type job struct {
	running, done bool
	retryAt       time.Time
	delay         time.Duration
}

func (j *job) due(now time.Time) bool { return !j.running && !j.done && !now.Before(j.retryAt) }

func (j *job) failed(now time.Time, first, most time.Duration) {
	j.running = false
	j.delay = min(max(2*j.delay, first), most)
	j.retryAt = now.Add(j.delay)
}

// New starts the worker of a pod. It ends, leaving all as it is, when ctx does, or when nothing is left of the pod.
func New(ctx context.Context, cfg *Config, pod *corev1.Pod, found Found) *Worker {
	w := newWorker(ctx, cfg, pod)
	w.silent = over(pod.Status.Phase) && len(found.Containers) == 0
	go w.run(found)
	return w
}

func newWorker(ctx context.Context, cfg *Config, pod *corev1.Pod) *Worker {
	return &Worker{
		cfg: cfg, log: cfg.Log.With("pod", pod.Namespace+"/"+pod.Name), done: make(chan struct{}),
		signal: make(chan struct{}, 1), results: make(chan func()), ctx: ctx, pod: pod,
		vol: cfg.Volumes.For(pod.UID), attempts: map[string][]runtime.ContainerStatus{}, probing: map[string]*probes.Container{},
		messages: map[string]string{}, waiting: map[string]status.Reason{}, retryAt: map[string]time.Time{}, crash: map[string]*backoff{},
		told: map[string]bool{}, pulls: newPulls(), kills: map[string]*kill{}, restart: map[string]bool{}, imageRefs: map[string]string{},
	}
}

// Refused starts the worker of a pod that the node does not take: it only waits for the pod to be deleted. The caller has told
// the API why.
func Refused(ctx context.Context, cfg *Config, pod *corev1.Pod) *Worker {
	w := newWorker(ctx, cfg, pod)
	w.stage, w.silent = ended, true
	go w.run(Found{})
	return w
}

// Abandoned starts a worker for containers whose pod is gone: it ends them as their pod would have been ended.
func Abandoned(ctx context.Context, cfg *Config, pod runtime.Pod, found Found) *Worker {
	w := New(ctx, cfg, restored(pod, found.Containers), found)
	w.Gone()
	return w
}

// Update gives the worker a newer object of its pod.
func (w *Worker) Update(pod *corev1.Pod) { w.tell(func(in *inbox) { in.pod = pod }) }

// Gone tells that the object does not exist any more.
func (w *Worker) Gone() { w.tell(func(in *inbox) { in.gone = true }) }

// End has the pod ended by the node, with a phase and the reason for it. A grace of nil is the pod's own.
func (w *Worker) End(e status.Ended, grace *int64) {
	w.tell(func(in *inbox) { in.ended, in.grace = &e, grace })
}

// Look tells that something about the pod's containers may have changed.
func (w *Worker) Look() { w.tell(func(in *inbox) { in.look = true }) }

// ObjectsChanged tells that a ConfigMap or Secret that the pod refers to has changed, or Services have become known.
func (w *Worker) ObjectsChanged() { w.tell(func(in *inbox) { in.objects = true }) }

// Done is closed when the worker has ended.
func (w *Worker) Done() <-chan struct{} { return w.done }

func (w *Worker) tell(change func(*inbox)) {
	w.mu.Lock()
	change(&w.inbox)
	w.mu.Unlock()
	select {
	case w.signal <- struct{}{}:
	default: // it has not taken the last one yet, and will see this one with it
	}
}

func (w *Worker) run(found Found) {
	defer close(w.done)
	defer w.tasks.Wait()
	defer w.stopProbes()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	w.resume(found)
	for {
		w.take()
		w.sync()
		if w.over {
			w.cfg.Finished(w.pod.UID)
			return
		}
		timer.Reset(w.sleep())
		select {
		case <-w.ctx.Done():
			return
		case <-w.signal:
		case finish := <-w.results:
			finish()
		case <-timer.C:
		}
	}
}

// do runs work on a goroutine of its own. What it returns is run by the owner.
func (w *Worker) do(work func() func()) {
	w.tasks.Go(func() {
		finish := work()
		select {
		case w.results <- finish:
		case <-w.ctx.Done():
		}
	})
}

func (w *Worker) take() {
	w.mu.Lock()
	in := w.inbox
	w.inbox = inbox{}
	w.mu.Unlock()
	if in.pod != nil {
		w.changed(in.pod)
	}
	w.gone = w.gone || in.gone
	if in.ended != nil && w.ended == nil {
		w.ended, w.grace = in.ended, in.grace
	}
	w.lookAgain = w.lookAgain || in.look
	if in.objects {
		w.stale = true
		w.retryNow()
	}
}

// changed takes a newer object. Containers that wait for a retry try at once when something that might matter to them is different.
func (w *Worker) changed(pod *corev1.Pod) {
	before := w.pod
	w.pod = w.allocated(pod)
	if before.Generation != pod.Generation || before.ResourceVersion == "" {
		for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for i := range list {
				if c := find(before, list[i].Name); c == nil || c.Image != list[i].Image {
					delete(w.retryAt, list[i].Name)
					delete(w.crash, list[i].Name)
				}
			}
		}
		w.stale = true
	} else if !sameMeta(before, pod) {
		w.stale = true // downward API files
	}
}

func sameMeta(a, b *corev1.Pod) bool {
	return sameMap(a.Labels, b.Labels) && sameMap(a.Annotations, b.Annotations)
}

func sameMap(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || w != v {
			return false
		}
	}
	return true
}

// retryNow forgets the pauses after failures that a changed object may have cured.
func (w *Worker) retryNow() {
	w.volState.retryAt = time.Time{}
	for name, why := range w.waiting {
		if why.Reason == "CreateContainerConfigError" {
			delete(w.retryAt, name)
		}
	}
}

// sync looks at what is, does the next steps, and reports.
func (w *Worker) sync() {
	if w.lookAgain {
		w.lookAgain = false
		w.observe()
	}
	if w.stage == living && w.mustEnd() {
		w.stage = ending
	}
	switch w.stage {
	case living:
		w.live()
	case ending:
		w.end()
	}
	if w.stage == ended {
		w.rest()
	}
	if w.stage != leaving && !w.over {
		w.report()
	}
}

// sleep is how long nothing is to do unless something happens.
func (w *Worker) sleep() time.Duration {
	now := time.Now()
	next := now.Add(10 * time.Minute)
	earlier := func(t time.Time) {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	for _, j := range []*job{&w.volState, &w.sandboxJob, &w.takedown} {
		if !j.running && !j.done {
			earlier(j.retryAt)
		}
	}
	if w.stage == living {
		for _, t := range w.retryAt {
			earlier(t)
		}
		earlier(w.vol.RenewAt())
		earlier(w.deadline())
		earlier(w.resize.retryAt)
		earlier(w.quietUntil)
	}
	return max(next.Sub(now), time.Millisecond)
}

func find(pod *corev1.Pod, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			c := corev1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
			return &c
		}
	}
	return nil
}
