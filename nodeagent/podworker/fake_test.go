package podworker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// fakeRuntime keeps sandboxes and containers in memory and refuses what the real one refuses: containers in a sandbox that is
// gone or stopped, the same attempt twice, starting twice, mounting what is not there.
type fakeRuntime struct {
	mu         sync.Mutex
	next       int
	sandboxes  map[string]*runtime.Sandbox
	containers map[string]*fakeContainer
	watchers   []chan runtime.Event
	journal    []string

	// behave is asked what a container does once started; nil: it runs until it is stopped.
	behave func(c *fakeContainer)
	// exec answers ExecSync.
	exec func(c *fakeContainer, command []string) (runtime.ExecResult, error)
	// sandboxErr makes RunSandbox fail.
	sandboxErr error
}

type fakeContainer struct {
	runtime.ContainerStatus
	config runtime.ContainerConfig
	r      *fakeRuntime
	stop   chan time.Duration
	ended  chan struct{}
	// deaf containers ignore the stop signal.
	deaf atomic.Bool
}

func newFake() *fakeRuntime {
	return &fakeRuntime{sandboxes: map[string]*runtime.Sandbox{}, containers: map[string]*fakeContainer{}}
}

var errRefused = errors.New("refused")

func (r *fakeRuntime) note(format string, args ...any) {
	r.journal = append(r.journal, fmt.Sprintf(format, args...))
}

func (r *fakeRuntime) Journal() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.journal)
}

func (r *fakeRuntime) publish(e runtime.Event) {
	for _, w := range r.watchers {
		w <- e
	}
}

func (r *fakeRuntime) Version(context.Context) (runtime.Version, error) {
	return runtime.Version{Name: "fake", Version: "1"}, nil
}
func (r *fakeRuntime) Ready(context.Context) error                 { return nil }
func (r *fakeRuntime) SetPodCIDRs(context.Context, []string) error { return nil }

func (r *fakeRuntime) RunSandbox(_ context.Context, c runtime.SandboxConfig) (runtime.Sandbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sandboxErr != nil {
		return runtime.Sandbox{}, r.sandboxErr
	}
	for _, s := range r.sandboxes {
		if s.Pod.UID == c.Pod.UID && (s.State == runtime.SandboxReady || s.Pod.Attempt == c.Pod.Attempt) {
			return runtime.Sandbox{}, fmt.Errorf("%w: pod %s has sandbox %s", errRefused, c.Pod.Name, s.ID)
		}
	}
	r.next++
	s := &runtime.Sandbox{ID: "s" + strconv.Itoa(r.next), Pod: c.Pod, State: runtime.SandboxReady, CreatedAt: time.Now(), IPs: []string{"10.0.0." + strconv.Itoa(r.next)}, LogDirectory: c.LogDirectory}
	r.sandboxes[s.ID] = s
	r.note("sandbox %d", c.Pod.Attempt)
	return *s, nil
}

func (r *fakeRuntime) StopSandbox(ctx context.Context, id string) error {
	r.mu.Lock()
	s := r.sandboxes[id]
	if s != nil {
		s.State = runtime.SandboxNotReady // before any container ends
	}
	var own []*fakeContainer
	for _, c := range r.containers {
		if c.SandboxID == id {
			own = append(own, c)
		}
	}
	r.mu.Unlock()
	if s == nil {
		return nil
	}
	for _, c := range own {
		if err := r.StopContainer(ctx, c.ID, 0); err != nil {
			return err
		}
	}
	return nil
}

func (r *fakeRuntime) RemoveSandbox(ctx context.Context, id string) error {
	if err := r.StopSandbox(ctx, id); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for cid, c := range r.containers {
		if c.SandboxID == id {
			delete(r.containers, cid)
		}
	}
	delete(r.sandboxes, id)
	return nil
}

func (r *fakeRuntime) Sandboxes(context.Context) ([]runtime.Sandbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []runtime.Sandbox
	for _, s := range r.sandboxes {
		out = append(out, *s)
	}
	return out, nil
}

func (r *fakeRuntime) Sandbox(_ context.Context, id string) (runtime.Sandbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.sandboxes[id]; s != nil {
		return *s, nil
	}
	return runtime.Sandbox{}, runtime.ErrNotFound
}

func (r *fakeRuntime) CreateContainer(_ context.Context, c runtime.ContainerConfig) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sandboxes[c.SandboxID]
	if s == nil || s.State != runtime.SandboxReady {
		return "", fmt.Errorf("%w: sandbox %s is not ready", errRefused, c.SandboxID)
	}
	for _, other := range r.containers {
		if other.SandboxID == c.SandboxID && other.Name == c.Name && (other.Attempt == c.Attempt || other.State == runtime.Running) {
			return "", fmt.Errorf("%w: container %s exists with attempt %d", errRefused, c.Name, other.Attempt)
		}
	}
	r.next++
	f := &fakeContainer{r: r, config: c, stop: make(chan time.Duration, 16), ended: make(chan struct{})}
	f.ContainerStatus = runtime.ContainerStatus{ID: "c" + strconv.Itoa(r.next), SandboxID: c.SandboxID, Pod: s.Pod, Name: c.Name, Attempt: c.Attempt,
		State: runtime.Created, CreatedAt: time.Now(), Image: c.ImageRef, ImageID: c.Image, Labels: c.Labels, Annotations: c.Annotations, Mounts: c.Mounts}
	r.containers[f.ID] = f
	return f.ID, nil
}

func (r *fakeRuntime) StartContainer(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.containers[id]
	switch {
	case c == nil:
		return runtime.ErrNotFound
	case c.State != runtime.Created:
		return fmt.Errorf("%w: container is %s", errRefused, c.State)
	}
	r.note("start %s %d", c.Name, c.Attempt)
	if len(c.config.Command) > 0 && c.config.Command[0] == "/missing" {
		c.State, c.ExitCode, c.Reason, c.FinishedAt = runtime.Exited, 128, runtime.ReasonStartError, time.Now()
		close(c.ended)
		return errors.New("exec: /missing: no such file")
	}
	c.State, c.StartedAt, c.PID = runtime.Running, time.Now(), r.next
	go c.life()
	if r.behave != nil {
		go r.behave(c)
	}
	return nil
}

// life ends the container when it is told to stop: at once, or for a deaf one when the grace period is over.
func (c *fakeContainer) life() {
	var deadline <-chan time.Time
	for {
		select {
		case grace := <-c.stop:
			if !c.deaf.Load() {
				c.exit(0)
				return
			}
			deadline = time.After(grace)
		case <-deadline:
			c.exit(137)
			return
		case <-c.ended:
			return
		}
	}
}

// exit ends the container.
func (c *fakeContainer) exit(code int32) {
	c.r.mu.Lock()
	if c.State != runtime.Running {
		c.r.mu.Unlock()
		return
	}
	c.State, c.ExitCode, c.FinishedAt, c.Reason, c.PID = runtime.Exited, code, time.Now(), runtime.ReasonCompleted, 0
	if code != 0 {
		c.Reason = runtime.ReasonError
	}
	c.r.note("exit %s %d", c.Name, code)
	close(c.ended)
	e := runtime.Event{Kind: runtime.ContainerExited, PodUID: c.Pod.UID, ContainerID: c.ID}
	c.r.mu.Unlock()
	c.r.publish(e)
}

func (r *fakeRuntime) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	r.mu.Lock()
	c := r.containers[id]
	if c == nil || c.State == runtime.Exited {
		r.mu.Unlock()
		return nil
	}
	r.note("stop %s %v", c.Name, grace.Round(time.Second))
	if c.State == runtime.Created {
		c.State, c.ExitCode, c.FinishedAt = runtime.Exited, 137, time.Now()
		close(c.ended)
		r.mu.Unlock()
		return nil
	}
	r.mu.Unlock()
	c.stop <- grace
	select {
	case <-c.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *fakeRuntime) RemoveContainer(ctx context.Context, id string) error {
	if err := r.StopContainer(ctx, id, 0); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.containers, id)
	return nil
}

func (r *fakeRuntime) Containers(context.Context) ([]runtime.ContainerStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []runtime.ContainerStatus
	for _, c := range r.containers {
		out = append(out, c.ContainerStatus)
	}
	return out, nil
}

func (r *fakeRuntime) ContainerStatus(_ context.Context, id string) (runtime.ContainerStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.containers[id]; c != nil {
		return c.ContainerStatus, nil
	}
	return runtime.ContainerStatus{}, runtime.ErrNotFound
}

func (r *fakeRuntime) UpdateResources(_ context.Context, id string, res runtime.Resources) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.containers[id]
	if c == nil {
		return runtime.ErrNotFound
	}
	c.Resource = res
	r.note("resize %s %d", c.Name, res.CPUShares)
	return nil
}

func (r *fakeRuntime) UpdatePodResources(context.Context, string, runtime.Resources) error {
	return nil
}

func (r *fakeRuntime) ExecSync(_ context.Context, id string, command []string, _ time.Duration) (runtime.ExecResult, error) {
	r.mu.Lock()
	c := r.containers[id]
	exec := r.exec
	if c == nil || c.State != runtime.Running {
		r.mu.Unlock()
		return runtime.ExecResult{}, fmt.Errorf("%w: container is not running", errRefused)
	}
	r.note("exec %s %s", c.Name, command[0])
	r.mu.Unlock()
	if exec == nil {
		return runtime.ExecResult{}, nil
	}
	return exec(c, command)
}

func (r *fakeRuntime) Exec(context.Context, string, runtime.ExecOptions) (int, error) { return 0, nil }
func (r *fakeRuntime) Attach(context.Context, string, runtime.AttachOptions) error    { return nil }
func (r *fakeRuntime) PortForward(context.Context, string, int32, io.ReadWriteCloser) error {
	return nil
}
func (r *fakeRuntime) ReopenLog(context.Context, string) error { return nil }
func (r *fakeRuntime) Events(ctx context.Context) <-chan runtime.Event {
	ch := make(chan runtime.Event, 256)
	r.mu.Lock()
	r.watchers = append(r.watchers, ch)
	r.mu.Unlock()
	return ch
}
func (r *fakeRuntime) ContainerStats(context.Context, string) (runtime.Stats, error) {
	return runtime.Stats{}, nil
}
func (r *fakeRuntime) PodStats(context.Context, string) (runtime.PodStats, error) {
	return runtime.PodStats{}, nil
}

// fakeImages has every image but those named missing/....
type fakeImages struct {
	mu    sync.Mutex
	pulls int
	have  map[string]bool
}

func (f *fakeImages) Pull(_ context.Context, ref string, _ []runtime.RegistryAuth, _ func(runtime.Progress)) (runtime.Image, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pulls++
	if ref == "missing/image:1" && !f.have[ref] {
		return runtime.Image{}, errors.New("not in the registry")
	}
	return runtime.Image{ID: "sha256:" + ref, Size: 5}, nil
}

func (f *fakeImages) Status(_ context.Context, ref string) (runtime.Image, error) {
	if ref == "missing/image:1" {
		return runtime.Image{}, runtime.ErrNotFound
	}
	zero := int64(0)
	return runtime.Image{ID: "sha256:" + ref, UID: &zero}, nil
}
func (f *fakeImages) List(context.Context) ([]runtime.Image, error) { return nil, nil }
func (f *fakeImages) Remove(context.Context, string) error          { return nil }
func (f *fakeImages) Import(context.Context, io.Reader, func(runtime.Progress)) ([]runtime.Image, error) {
	return nil, nil
}
func (f *fakeImages) Usage(context.Context) (runtime.ImageUsage, error) {
	return runtime.ImageUsage{}, nil
}
