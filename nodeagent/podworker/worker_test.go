package podworker

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"

	"github.com/skiff-project/skiff/nodeagent/podfiles"
	"github.com/skiff-project/skiff/nodeagent/runtime"
	"github.com/skiff-project/skiff/nodeagent/status"
	"github.com/skiff-project/skiff/nodeagent/volumes"
)

// rig is a node with one pod worker on a fake runtime.
type rig struct {
	t       *testing.T
	ctx     context.Context
	cancel  context.CancelFunc
	runtime *fakeRuntime
	images  *fakeImages
	cfg     *Config
	events  *record.FakeRecorder

	mu       sync.Mutex
	shown    corev1.PodStatus
	finished bool
	over     bool
	maps     map[string]*corev1.ConfigMap
	wake     chan struct{}
	worker   *Worker
	pod      *corev1.Pod
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, runtime: newFake(), images: &fakeImages{have: map[string]bool{}}, events: record.NewFakeRecorder(1000), maps: map[string]*corev1.ConfigMap{}, wake: make(chan struct{}, 1)}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	vols, err := volumes.New(volumes.Config{Root: t.TempDir(), HostIPs: func() []string { return []string{"192.0.2.1"} }, Allocatable: func() corev1.ResourceList { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	capacity := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("4Gi"), corev1.ResourceCPU: resource.MustParse("4")}
	r.cfg = &Config{
		Runtime: r.runtime, RuntimeName: "fake", Images: r.images, Volumes: vols, Objects: r, Status: r, Recorder: r.events,
		Log: slog.New(slog.DiscardHandler), Resolver: podfiles.Resolver{ClusterDNS: []string{"10.96.0.10"}, ClusterDomain: "cluster.local"},
		HostsFile: "/etc/hosts", Services: func() ([]*corev1.Service, bool) { return nil, true }, HostIPs: func() []string { return []string{"192.0.2.1"} },
		Capacity: func() corev1.ResourceList { return capacity }, Allocatable: func() corev1.ResourceList { return capacity },
		LogRoot: t.TempDir(), Released: func(types.UID) {}, Finished: func(types.UID) { r.set(func() { r.over = true }) },
	}
	t.Cleanup(func() {
		r.cancel()
		if r.worker != nil {
			select {
			case <-r.worker.Done():
			case <-time.After(5 * time.Second):
				t.Error("the worker did not end with its context")
			}
		}
	})
	return r
}

func (r *rig) set(f func()) {
	r.mu.Lock()
	f()
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *rig) Set(_ *corev1.Pod, s corev1.PodStatus) { r.set(func() { r.shown = s }) }
func (r *rig) Get(types.UID) (corev1.PodStatus, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.shown, r.shown.Phase != ""
}
func (r *rig) Finish(types.UID) { r.set(func() { r.finished = true }) }
func (r *rig) Forget(types.UID) {}
func (r *rig) ConfigMap(_, name string) (*corev1.ConfigMap, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.maps[name]; m != nil {
		return m, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "configmap"}, name)
}
func (r *rig) Secret(_, name string) (*corev1.Secret, error) {
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secret"}, name)
}

func (r *rig) isFinished(corev1.PodStatus) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.finished
}

func (r *rig) run(pod *corev1.Pod) {
	r.pod = pod
	r.start(Found{})
}

func (r *rig) start(found Found) {
	ctx, cancel := context.WithCancel(r.ctx)
	r.cancel = cancel
	events := r.runtime.Events(ctx)
	w := New(ctx, r.cfg, r.pod, found)
	r.worker = w
	go func() {
		for {
			select {
			case <-events:
				w.Look()
			case <-ctx.Done():
				return
			}
		}
	}()
}

// until waits for a state of the pod, and shows the last one when it does not come.
func (r *rig) until(what string, ok func(s corev1.PodStatus) bool) corev1.PodStatus {
	r.t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		r.mu.Lock()
		s := r.shown
		r.mu.Unlock()
		if ok(s) {
			return s
		}
		select {
		case <-r.wake:
		case <-time.After(5 * time.Millisecond): // the runtime's journal wakes nobody
		case <-deadline:
			r.t.Fatalf("never came to be: %s\nphase %s %s %s\ncontainers %+v\ninit %+v\nruntime %v", what, s.Phase, s.Reason, s.Message, s.ContainerStatuses, s.InitContainerStatuses, r.runtime.Journal())
		}
	}
}

func (r *rig) untilOver() {
	r.t.Helper()
	select {
	case <-r.worker.Done():
	case <-time.After(10 * time.Second):
		r.t.Fatalf("the worker did not end\nruntime %v", r.runtime.Journal())
	}
}

func (r *rig) update(change func(*corev1.Pod)) {
	p := r.pod.DeepCopy()
	change(p)
	p.Generation++
	r.pod = p
	r.worker.Update(p)
}

func (r *rig) delete(seconds int64) {
	r.update(func(p *corev1.Pod) {
		now := metav1.Now()
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &now, &seconds
	})
}

func container(name string, change ...func(*corev1.Container)) corev1.Container {
	c := corev1.Container{Name: name, Image: "image:1", ImagePullPolicy: corev1.PullIfNotPresent, TerminationMessagePath: "/dev/termination-log"}
	for _, f := range change {
		f(&c)
	}
	return c
}

func sidecar(c *corev1.Container) {
	p := corev1.ContainerRestartPolicyAlways
	c.RestartPolicy = &p
}

func testPod(policy corev1.RestartPolicy, init []corev1.Container, apps ...corev1.Container) *corev1.Pod {
	grace := int64(2)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "uid", Generation: 1, ResourceVersion: "1"},
		Spec:       corev1.PodSpec{RestartPolicy: policy, InitContainers: init, Containers: apps, TerminationGracePeriodSeconds: &grace},
	}
}

func isReady(s corev1.PodStatus) bool {
	return slices.ContainsFunc(s.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func ends(code int32, names ...string) func(*fakeContainer) {
	return func(c *fakeContainer) {
		if slices.Contains(names, c.Name) {
			c.exit(code)
		}
	}
}

func (r *rig) sawEvent(part string) bool {
	for {
		select {
		case e := <-r.events.Events:
			if strings.Contains(e, part) {
				return true
			}
		default:
			return false
		}
	}
}

func TestInitContainersAndSidecarsStartInOrderAndStopInReverse(t *testing.T) {
	r := newRig(t)
	r.runtime.behave = ends(0, "i1", "i2")
	r.run(testPod(corev1.RestartPolicyAlways, []corev1.Container{container("i1"), container("s1", sidecar), container("i2"), container("s2", sidecar)}, container("a"), container("b")))
	s := r.until("ready", isReady)
	if s.Phase != corev1.PodRunning || s.PodIP == "" || s.QOSClass != corev1.PodQOSBestEffort {
		t.Errorf("status %+v", s)
	}
	want := []string{"sandbox 0", "start i1 0", "exit i1 0", "start s1 0", "start i2 0", "exit i2 0", "start s2 0", "start a 0", "start b 0"}
	if got := r.runtime.Journal(); !slices.Equal(got, want) {
		t.Errorf("journal %q", got)
	}
	r.delete(2)
	r.until("finished", r.isFinished)
	var exits []string
	for _, line := range r.runtime.Journal() {
		if strings.HasPrefix(line, "exit") {
			exits = append(exits, strings.Fields(line)[1])
		}
	}
	exits = exits[2:] // those of the init containers
	if len(exits) != 4 || !slices.Contains(exits[:2], "a") || !slices.Contains(exits[:2], "b") || exits[2] != "s2" || exits[3] != "s1" {
		t.Errorf("sidecars do not end last and in reverse: %v", exits)
	}
	r.worker.Gone()
	r.untilOver()
	if n := len(r.runtime.sandboxes) + len(r.runtime.containers); n != 0 {
		t.Errorf("%d sandboxes and containers are left", n)
	}
}

func TestRestartPolicies(t *testing.T) {
	always, never := corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever
	rule := corev1.ContainerRestartRule{Action: corev1.ContainerRestartRuleActionRestart, ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}}}
	tests := []struct {
		name   string
		policy corev1.RestartPolicy
		change func(*corev1.Container)
		code   int32
		phase  corev1.PodPhase
		again  bool
	}{
		{name: "Always restarts a success", policy: corev1.RestartPolicyAlways, code: 0, phase: corev1.PodRunning, again: true},
		{name: "OnFailure does not restart a success", policy: corev1.RestartPolicyOnFailure, code: 0, phase: corev1.PodSucceeded},
		{name: "OnFailure restarts a failure", policy: corev1.RestartPolicyOnFailure, code: 1, phase: corev1.PodRunning, again: true},
		{name: "Never fails", policy: corev1.RestartPolicyNever, code: 1, phase: corev1.PodFailed},
		{name: "Never succeeds", policy: corev1.RestartPolicyNever, code: 0, phase: corev1.PodSucceeded},
		{name: "a container's own policy wins", policy: corev1.RestartPolicyNever, code: 0, change: func(c *corev1.Container) { c.RestartPolicy = &always }, phase: corev1.PodRunning, again: true},
		{name: "a container's rule wins over its policy", policy: corev1.RestartPolicyNever, code: 42, change: func(c *corev1.Container) {
			c.RestartPolicy, c.RestartPolicyRules = &never, []corev1.ContainerRestartRule{rule}
		}, phase: corev1.PodRunning, again: true},
		{name: "a rule for another code does not", policy: corev1.RestartPolicyAlways, code: 41, change: func(c *corev1.Container) {
			c.RestartPolicy, c.RestartPolicyRules = &never, []corev1.ContainerRestartRule{rule}
		}, phase: corev1.PodFailed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.runtime.behave = func(c *fakeContainer) {
				if c.Attempt == 0 {
					c.exit(tt.code)
				}
			}
			c := container("a")
			if tt.change != nil {
				tt.change(&c)
			}
			r.run(testPod(tt.policy, nil, c))
			s := r.until(string(tt.phase), func(s corev1.PodStatus) bool {
				return s.Phase == tt.phase && (!tt.again || len(s.ContainerStatuses) == 1 && s.ContainerStatuses[0].RestartCount == 1)
			})
			if tt.again {
				if end := s.ContainerStatuses[0].LastTerminationState.Terminated; end == nil || end.ExitCode != tt.code {
					t.Errorf("last state %+v", end)
				}
			} else if end := s.ContainerStatuses[0].State.Terminated; end == nil || end.ExitCode != tt.code {
				t.Errorf("state %+v", s.ContainerStatuses[0].State)
			}
		})
	}
}

func TestCrashLoopBacksOff(t *testing.T) {
	r := newRig(t)
	r.runtime.behave = ends(1, "a")
	r.run(testPod(corev1.RestartPolicyAlways, nil, container("a")))
	s := r.until("back-off", func(s corev1.PodStatus) bool {
		return len(s.ContainerStatuses) == 1 && s.ContainerStatuses[0].State.Waiting != nil && s.ContainerStatuses[0].State.Waiting.Reason == "CrashLoopBackOff"
	})
	c := s.ContainerStatuses[0]
	if want := "back-off 10s restarting failed container=a pod=p_ns(uid)"; c.State.Waiting.Message != want || c.RestartCount != 1 || s.Phase != corev1.PodRunning {
		t.Errorf("phase %s container %+v", s.Phase, c)
	}
	if !r.sawEvent("Back-off restarting failed container a in pod p_ns(uid)") {
		t.Error("no BackOff event")
	}
}

func TestImageChangeRestartsOneContainerAlone(t *testing.T) {
	r := newRig(t)
	r.run(testPod(corev1.RestartPolicyNever, nil, container("a"), container("b")))
	before := r.until("ready", isReady)
	r.update(func(p *corev1.Pod) { p.Spec.Containers[0].Image = "image:2" })
	after := r.until("new image", func(s corev1.PodStatus) bool { return isReady(s) && s.ContainerStatuses[0].Image == "image:2" })
	if after.ContainerStatuses[0].RestartCount != 1 || after.ContainerStatuses[1].ContainerID != before.ContainerStatuses[1].ContainerID || after.PodIP != before.PodIP {
		t.Errorf("before %+v\nafter %+v", before, after)
	}
	if after.ObservedGeneration != 2 {
		t.Errorf("observedGeneration %d", after.ObservedGeneration)
	}
}

func TestRestartedAgentTouchesNothing(t *testing.T) {
	r := newRig(t)
	r.run(testPod(corev1.RestartPolicyAlways, nil, container("a", func(c *corev1.Container) {
		c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"probe"}}}, PeriodSeconds: 60}
	})))
	s := r.until("ready", isReady)
	journal := r.runtime.Journal()
	r.cancel()
	<-r.worker.Done()
	sandboxes, _ := r.runtime.Sandboxes(r.ctx)
	containers, _ := r.runtime.Containers(r.ctx)
	r.pod = r.pod.DeepCopy()
	r.pod.Status = s
	r.ctx = context.Background()
	r.set(func() { r.shown = corev1.PodStatus{} })
	r.start(Found{Sandboxes: sandboxes, Containers: containers})
	again := r.until("ready without a probe", isReady)
	if !slices.Equal(journal, r.runtime.Journal()) {
		t.Errorf("the runtime was touched: %q, then %q", journal, r.runtime.Journal())
	}
	if again.ContainerStatuses[0].ContainerID != s.ContainerStatuses[0].ContainerID || again.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("status %+v", again.ContainerStatuses[0])
	}
}

func TestMissingConfigMapIsWaitedFor(t *testing.T) {
	r := newRig(t)
	r.run(testPod(corev1.RestartPolicyAlways, nil, container("a", func(c *corev1.Container) {
		c.Env = []corev1.EnvVar{{Name: "X", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "m"}, Key: "k"}}}}
	})))
	s := r.until("CreateContainerConfigError", func(s corev1.PodStatus) bool {
		return len(s.ContainerStatuses) == 1 && s.ContainerStatuses[0].State.Waiting != nil && s.ContainerStatuses[0].State.Waiting.Reason == "CreateContainerConfigError"
	})
	if m := s.ContainerStatuses[0].State.Waiting.Message; m != `configmap "m" not found` {
		t.Errorf("message %q", m)
	}
	r.set(func() { r.maps["m"] = &corev1.ConfigMap{Data: map[string]string{"k": "v"}} })
	r.worker.ObjectsChanged()
	r.until("ready", isReady)
}

func TestImagePullBackOff(t *testing.T) {
	r := newRig(t)
	r.run(testPod(corev1.RestartPolicyAlways, nil, container("a", func(c *corev1.Container) { c.Image = "missing/image:1" })))
	waiting := func(reason string) func(corev1.PodStatus) bool {
		return func(s corev1.PodStatus) bool {
			return len(s.ContainerStatuses) == 1 && s.ContainerStatuses[0].State.Waiting != nil && s.ContainerStatuses[0].State.Waiting.Reason == reason
		}
	}
	r.until("ErrImagePull", waiting("ErrImagePull"))
	s := r.until("ImagePullBackOff", waiting("ImagePullBackOff"))
	if want := `Back-off pulling image "missing/image:1": ErrImagePull: not in the registry`; s.ContainerStatuses[0].State.Waiting.Message != want {
		t.Errorf("message %q", s.ContainerStatuses[0].State.Waiting.Message)
	}
	if s.Phase != corev1.PodPending {
		t.Errorf("phase %s", s.Phase)
	}
	// A corrected image is tried at once.
	r.update(func(p *corev1.Pod) { p.Spec.Containers[0].Image = "image:2" })
	r.until("ready", isReady)
}

func TestDeleteShortensAGracePeriodThatRuns(t *testing.T) {
	r := newRig(t)
	r.runtime.behave = func(c *fakeContainer) { c.deaf.Store(true) }
	r.run(testPod(corev1.RestartPolicyAlways, nil, container("a")))
	r.until("ready", isReady)
	begun := time.Now()
	r.delete(600)
	r.until("stopping", func(corev1.PodStatus) bool { return slices.Contains(r.runtime.Journal(), "stop a 10m0s") })
	r.delete(1)
	r.until("finished", r.isFinished)
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.shown; s.Phase != corev1.PodFailed || s.ContainerStatuses[0].State.Terminated == nil || s.ContainerStatuses[0].State.Terminated.ExitCode != 137 {
		t.Errorf("status %+v", s)
	}
}

func TestPreStopHookRunsWithinTheGracePeriod(t *testing.T) {
	r := newRig(t)
	hook := make(chan struct{})
	r.runtime.exec = func(*fakeContainer, []string) (runtime.ExecResult, error) { <-hook; return runtime.ExecResult{}, nil }
	r.run(testPod(corev1.RestartPolicyAlways, nil, container("a", func(c *corev1.Container) {
		c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"drain"}}}}
	})))
	r.until("ready", isReady)
	r.delete(5)
	r.until("hook", func(corev1.PodStatus) bool { return slices.Contains(r.runtime.Journal(), "exec a drain") })
	if slices.ContainsFunc(r.runtime.Journal(), func(l string) bool { return strings.HasPrefix(l, "stop a") }) {
		t.Error("stopped before the hook had ended")
	}
	close(hook)
	r.until("finished", r.isFinished)
}

func TestFailedPostStartHookKillsTheContainer(t *testing.T) {
	r := newRig(t)
	r.runtime.exec = func(*fakeContainer, []string) (runtime.ExecResult, error) {
		return runtime.ExecResult{ExitCode: 1, Stderr: []byte("no")}, nil
	}
	r.run(testPod(corev1.RestartPolicyNever, nil, container("a", func(c *corev1.Container) {
		c.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"init"}}}}
	})))
	r.until("over", func(s corev1.PodStatus) bool { return over(s.Phase) })
	if !r.sawEvent("PostStartHook failed") {
		t.Error("no event")
	}
}

func TestEvictionAndDeadline(t *testing.T) {
	t.Run("an evicted pod fails with reason and condition", func(t *testing.T) {
		r := newRig(t)
		r.run(testPod(corev1.RestartPolicyAlways, nil, container("a")))
		r.until("ready", isReady)
		zero := int64(0)
		r.worker.End(status.Ended{Phase: corev1.PodFailed, Reason: "Evicted", Message: "low", Disruption: "low"}, &zero)
		s := r.until("Evicted", func(s corev1.PodStatus) bool {
			return s.Phase == corev1.PodFailed && s.ContainerStatuses[0].State.Terminated != nil
		})
		if s.Reason != "Evicted" || !slices.ContainsFunc(s.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.DisruptionTarget }) {
			t.Errorf("status %+v", s)
		}
	})
	t.Run("a pod ends at its deadline", func(t *testing.T) {
		r := newRig(t)
		pod := testPod(corev1.RestartPolicyAlways, nil, container("a"))
		one := int64(1)
		pod.Spec.ActiveDeadlineSeconds = &one
		r.run(pod)
		s := r.until("DeadlineExceeded", func(s corev1.PodStatus) bool {
			return s.Reason == "DeadlineExceeded" && s.ContainerStatuses[0].State.Terminated != nil
		})
		if s.Phase != corev1.PodFailed || s.Message != "Pod was active on the node longer than the specified deadline" {
			t.Errorf("status %+v", s)
		}
	})
}

func TestLostSandboxIsMadeAnew(t *testing.T) {
	r := newRig(t)
	r.runtime.behave = ends(0, "i")
	r.run(testPod(corev1.RestartPolicyAlways, []corev1.Container{container("i")}, container("a")))
	first := r.until("ready", isReady)
	if err := r.runtime.StopSandbox(r.ctx, "s1"); err != nil {
		t.Fatal(err)
	}
	r.worker.Look()
	second := r.until("ready again", func(s corev1.PodStatus) bool { return isReady(s) && s.PodIP != first.PodIP })
	if second.ContainerStatuses[0].RestartCount != 1 || second.InitContainerStatuses[0].RestartCount != 1 {
		t.Errorf("status %+v %+v", second.InitContainerStatuses, second.ContainerStatuses)
	}
}

func TestLivenessProbeRestarts(t *testing.T) {
	r := newRig(t)
	r.runtime.exec = func(c *fakeContainer, _ []string) (runtime.ExecResult, error) {
		if c.Attempt == 0 {
			return runtime.ExecResult{ExitCode: 1, Stdout: []byte("sick")}, nil
		}
		return runtime.ExecResult{}, nil
	}
	r.run(testPod(corev1.RestartPolicyAlways, nil, container("a", func(c *corev1.Container) {
		c.LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"alive"}}}, PeriodSeconds: 1, FailureThreshold: 1}
	})))
	r.until("restarted", func(s corev1.PodStatus) bool { return isReady(s) && s.ContainerStatuses[0].RestartCount == 1 })
	if !r.sawEvent("Container a failed liveness probe, will be restarted") {
		t.Error("no Killing event")
	}
}

func TestResizeInPlace(t *testing.T) {
	r := newRig(t)
	r.cfg.Allocate = func(pod *corev1.Pod, _ map[string]corev1.ResourceRequirements) *corev1.PodCondition {
		if q := pod.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU]; q.MilliValue() > 1000 {
			return &corev1.PodCondition{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: corev1.PodReasonInfeasible, Message: "too much"}
		}
		return nil
	}
	cpu := func(s string) func(*corev1.Container) {
		return func(c *corev1.Container) {
			c.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(s)}
		}
	}
	r.run(testPod(corev1.RestartPolicyAlways, nil, container("a", cpu("100m"))))
	before := r.until("ready", isReady)
	r.update(func(p *corev1.Pod) { cpu("500m")(&p.Spec.Containers[0]) })
	after := r.until("resized", func(s corev1.PodStatus) bool {
		c := s.ContainerStatuses[0]
		return c.Resources != nil && c.Resources.Requests.Cpu().MilliValue() == 500 && c.AllocatedResources.Cpu().MilliValue() == 500
	})
	if after.ContainerStatuses[0].ContainerID != before.ContainerStatuses[0].ContainerID || !slices.Contains(r.runtime.Journal(), "resize a 512") {
		t.Errorf("journal %q", r.runtime.Journal())
	}
	r.update(func(p *corev1.Pod) { cpu("2")(&p.Spec.Containers[0]) })
	s := r.until("infeasible", func(s corev1.PodStatus) bool {
		return slices.ContainsFunc(s.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodResizePending && c.Reason == corev1.PodReasonInfeasible
		})
	})
	if s.ContainerStatuses[0].Resources.Requests.Cpu().MilliValue() != 500 {
		t.Errorf("resources %+v", s.ContainerStatuses[0].Resources)
	}
}

func TestContainersOfAPodThatIsGoneAreEnded(t *testing.T) {
	r := newRig(t)
	r.run(testPod(corev1.RestartPolicyAlways, nil, container("a")))
	r.until("ready", isReady)
	r.cancel()
	<-r.worker.Done()
	sandboxes, _ := r.runtime.Sandboxes(r.ctx)
	containers, _ := r.runtime.Containers(r.ctx)
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	r.worker = Abandoned(ctx, r.cfg, sandboxes[0].Pod, Found{Sandboxes: sandboxes, Containers: containers})
	r.untilOver()
	if n := len(r.runtime.sandboxes) + len(r.runtime.containers); n != 0 {
		t.Errorf("%d sandboxes and containers are left", n)
	}
}

func TestStartErrorOfAMissingCommand(t *testing.T) {
	r := newRig(t)
	r.run(testPod(corev1.RestartPolicyNever, nil, container("a", func(c *corev1.Container) { c.Command = []string{"/missing"} })))
	s := r.until("failed", func(s corev1.PodStatus) bool { return s.Phase == corev1.PodFailed })
	if end := s.ContainerStatuses[0].State.Terminated; end == nil || end.Reason != runtime.ReasonStartError || end.ExitCode != 128 {
		t.Errorf("state %+v", s.ContainerStatuses[0].State)
	}
}
