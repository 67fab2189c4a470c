package cri

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	api "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

const (
	relistPeriod = time.Second
	retryPeriod  = time.Second
	backlog      = 1024
)

// events has one source, the stream of the runtime or lists in its place, while there are subscribers.
type events struct {
	mu          sync.Mutex
	subscribers map[chan runtime.Event]bool // true: something was lost
	stop        context.CancelFunc
}

// Events implements runtime.Runtime.
func (r *Runtime) Events(ctx context.Context) <-chan runtime.Event {
	ch := make(chan runtime.Event, backlog)
	e := &r.events
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.subscribers == nil {
		e.subscribers = map[chan runtime.Event]bool{}
	}
	e.subscribers[ch] = false
	if e.stop == nil {
		var source context.Context
		source, e.stop = context.WithCancel(context.WithoutCancel(ctx))
		go r.listen(source)
	}
	context.AfterFunc(ctx, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.subscribers, ch)
		close(ch)
		if len(e.subscribers) == 0 {
			e.stop()
			e.stop = nil
		}
	})
	return ch
}

func (e *events) publish(event runtime.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for ch, lost := range e.subscribers {
		if lost && len(ch) < backlog-1 {
			ch <- runtime.Event{Kind: runtime.Missed}
			e.subscribers[ch] = false
		}
		if len(ch) < backlog-1 { // the last place is kept for Missed
			ch <- event
			continue
		}
		e.subscribers[ch] = true
	}
}

// listen reads the runtime's stream and begins anew when it breaks off. What happened in between is told as Missed.
func (r *Runtime) listen(ctx context.Context) {
	for ctx.Err() == nil {
		err := r.read(ctx)
		if status.Code(err) == codes.Unimplemented {
			r.relist(ctx)
			return
		}
		if ctx.Err() == nil {
			r.log.Warn("events of the container runtime broke off", "error", err)
			wait(ctx, retryPeriod)
			r.events.publish(runtime.Event{Kind: runtime.Missed})
		}
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

var kinds = map[api.ContainerEventType]runtime.EventKind{
	api.ContainerEventType_CONTAINER_CREATED_EVENT: runtime.ContainerCreated, api.ContainerEventType_CONTAINER_STARTED_EVENT: runtime.ContainerStarted,
	api.ContainerEventType_CONTAINER_STOPPED_EVENT: runtime.ContainerExited, api.ContainerEventType_CONTAINER_DELETED_EVENT: runtime.ContainerRemoved,
}

func (r *Runtime) read(ctx context.Context) error {
	stream, err := r.runtime.GetContainerEvents(ctx, &api.GetEventsRequest{})
	if err != nil {
		return err
	}
	for {
		e, err := stream.Recv()
		if err != nil {
			return err
		}
		s := e.GetPodSandboxStatus()
		event := runtime.Event{Kind: kinds[e.ContainerEventType], PodUID: s.GetMetadata().GetUid(), SandboxID: s.GetId(), ContainerID: e.ContainerId}
		if e.ContainerId == s.GetId() { // the sandbox is a container among others here
			if event.Kind != runtime.ContainerExited {
				continue
			}
			event.Kind, event.ContainerID = runtime.SandboxStopped, ""
		}
		r.events.publish(event)
	}
}

// relist compares lists: for runtimes without events.
func (r *Runtime) relist(ctx context.Context) {
	var before map[string]seen
	for ctx.Err() == nil {
		now, err := r.look(ctx)
		if err == nil {
			if before != nil {
				r.compare(before, now)
			}
			before = now
		}
		wait(ctx, relistPeriod)
	}
}

// seen is a sandbox or container in a list.
type seen struct {
	event runtime.Event // without kind
	state runtime.ContainerState
	ready bool
}

func (r *Runtime) look(ctx context.Context) (map[string]seen, error) {
	out := map[string]seen{}
	sandboxes, err := r.runtime.ListPodSandbox(ctx, &api.ListPodSandboxRequest{})
	if err != nil {
		return nil, err
	}
	for _, s := range sandboxes.Items {
		out[s.Id] = seen{event: runtime.Event{PodUID: s.GetMetadata().GetUid(), SandboxID: s.Id}, ready: s.State == api.PodSandboxState_SANDBOX_READY}
	}
	containers, err := r.runtime.ListContainers(ctx, &api.ListContainersRequest{})
	if err != nil {
		return nil, err
	}
	for _, c := range containers.Containers {
		out[c.Id] = seen{event: runtime.Event{PodUID: c.Labels[labelPodUID], SandboxID: c.PodSandboxId, ContainerID: c.Id}, state: states[c.State]}
	}
	return out, nil
}

func (r *Runtime) compare(before, now map[string]seen) {
	tell := func(s seen, kind runtime.EventKind) {
		s.event.Kind = kind
		r.events.publish(s.event)
	}
	for id, s := range now {
		old, had := before[id]
		switch {
		case s.event.ContainerID == "":
			// One that came and died between two looks has stopped, too.
			if (!had || old.ready) && !s.ready {
				tell(s, runtime.SandboxStopped)
			}
		case had && old.state == s.state:
		case s.state == runtime.Created:
			tell(s, runtime.ContainerCreated)
		case s.state == runtime.Running:
			tell(s, runtime.ContainerStarted)
		default:
			tell(s, runtime.ContainerExited)
		}
	}
	for id, old := range before {
		if _, still := now[id]; !still {
			kind := runtime.ContainerRemoved
			if old.event.ContainerID == "" {
				kind = runtime.SandboxStopped
			}
			tell(old, kind)
		}
	}
}
