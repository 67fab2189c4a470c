package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/nodeagent/process"
	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// container as kept on disk; the unexported fields are the agent's own.
type container struct {
	ID      string
	Config  runtime.ContainerConfig
	Pod     runtime.Pod
	Command string // of the OCI runtime
	Group   string // control group
	LogPath string // absolute
	ImageID string // as shown in status
	User    runtime.User
	// StopSignal is the number that StopContainer sends.
	StopSignal int
	// ImageMounts are image volumes to unmount.
	ImageMounts []string `json:",omitempty"`

	State      runtime.ContainerState
	CreatedAt  time.Time
	StartedAt  time.Time
	FinishedAt time.Time
	ExitCode   int32
	Reason     string
	Message    string
	Process    process.ID
	Conmon     process.ID

	mu      sync.Mutex    // guards State and all below it, and Config.Resources
	done    chan struct{} // closed when Exited
	removed bool
	// lifecycle is held by start and remove, which must not meet.
	lifecycle sync.Mutex
}

func (r *Runtime) get(id string) (*container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.all[id]
	if !ok {
		return nil, fmt.Errorf("container %s: %w", id, runtime.ErrNotFound)
	}
	return c, nil
}

// save needs c.mu. No sync: after a crash of the machine no container is left that it could tell about.
func (r *Runtime) save(c *container) error {
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	path := r.file(c.ID, "container.json")
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// load finds the containers of a former agent.
func (r *Runtime) load() error {
	entries, err := os.ReadDir(filepath.Join(r.config.Root, "containers"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		c := &container{ID: e.Name(), done: make(chan struct{})}
		data, err := os.ReadFile(r.file(c.ID, "container.json"))
		if err == nil {
			err = json.Unmarshal(data, c)
		}
		if err == nil {
			_, err = r.sandboxes.Get(c.Config.SandboxID)
		}
		r.all[c.ID] = c
		if err != nil {
			r.log.Warn("what is left of a container is removed", "container", e.Name(), "error", err)
			if err := r.RemoveContainer(context.Background(), c.ID); err != nil {
				r.log.Warn("what is left of a container cannot be removed", "container", e.Name(), "error", err)
			}
			continue
		}
		r.resume(c)
	}
	return nil
}

// resume goes on with a container as a former agent left it.
func (r *Runtime) resume(c *container) {
	switch c.State {
	case runtime.Exited:
		close(c.done)
	case runtime.Created:
		// The agent may have died while it was starting it, before anything was recorded.
		if _, err := os.Stat(r.file(c.ID, "conmon.pid")); err == nil {
			r.cgroups.Kill(c.Group)
			r.ended(c, startFailed("the node agent was restarted while the container was starting"))
		}
	case runtime.Running:
		if r.held(c) {
			r.cgroups.Kill(c.Group) // conmon records the end
		}
		r.watch(c)
	}
}

// held says whether the OCI runtime still waits for the signal to run the command.
func (r *Runtime) held(c *container) bool {
	_, err := os.Stat(filepath.Join(r.runRoot(), c.ID, "exec.fifo"))
	return err == nil
}

// watch waits for the end of the container's monitor.
func (r *Runtime) watch(c *container) {
	conmon := c.Conmon
	go func() {
		if err := conmon.Wait(context.Background()); err != nil {
			r.log.Warn("container monitor cannot be watched", "container", c.ID, "error", err)
		}
		conmon.Reap()
		r.ended(c, r.readEnd(c))
	}()
}

// end is how a container ended.
type end struct {
	at              time.Time
	code            int32
	reason, message string
}

func startFailed(message string) end {
	return end{at: time.Now(), code: 128, reason: runtime.ReasonStartError, message: message}
}

// readEnd reads what conmon recorded.
func (r *Runtime) readEnd(c *container) end {
	data, err := os.ReadFile(r.exitFile(c.ID))
	info, statErr := os.Stat(r.exitFile(c.ID))
	var code int32
	if err == nil {
		_, err = fmt.Sscan(string(data), &code)
	}
	if err = errors.Join(err, statErr); err != nil {
		// Conmon was killed. Without it nobody reads the container's output: end it.
		r.cgroups.Kill(c.Group)
		e := end{at: time.Now(), code: 137, reason: runtime.ReasonError, message: "the container monitor died"}
		if r.oomKilled(c) {
			e.reason = runtime.ReasonOOMKilled
		}
		return e
	}
	e := end{at: info.ModTime(), code: code, reason: runtime.ReasonError}
	switch {
	case code == 0:
		e.reason = runtime.ReasonCompleted
	case r.oomKilled(c):
		e.reason = runtime.ReasonOOMKilled
	}
	return e
}

// oomKilled asks the control group, which outlives its processes until the container is removed, and conmon's note, for
// kernels that keep no count.
func (r *Runtime) oomKilled(c *container) bool {
	if r.cgroups.OOMKills(c.Group) > 0 {
		return true
	}
	_, err := os.Stat(r.file(c.ID, "oom"))
	return err == nil
}

// ended records the end of a container once and tells about it.
func (r *Runtime) ended(c *container, e end) {
	// What the first process left behind in a shared PID namespace ends with it.
	r.cgroups.Kill(c.Group)
	c.mu.Lock()
	if c.State == runtime.Exited {
		c.mu.Unlock()
		return
	}
	c.State, c.FinishedAt, c.ExitCode, c.Reason, c.Message = runtime.Exited, e.at, e.code, e.reason, e.message
	if c.StartedAt.After(c.FinishedAt) {
		c.FinishedAt = c.StartedAt // the file's clock is coarser
	}
	var err error
	if !c.removed {
		err = r.save(c)
	}
	c.mu.Unlock()
	if err != nil {
		r.log.Error("end of container is not recorded", "container", c.ID, "error", err)
	}
	close(c.done)
	r.publish(runtime.ContainerExited, c)
}

func (r *Runtime) publish(kind runtime.EventKind, c *container) {
	r.events.publish(runtime.Event{Kind: kind, PodUID: c.Pod.UID, SandboxID: c.Config.SandboxID, ContainerID: c.ID})
}

// Containers implements runtime.Runtime, oldest first.
func (r *Runtime) Containers(context.Context) ([]runtime.ContainerStatus, error) {
	r.mu.Lock()
	list := make([]*container, 0, len(r.all))
	for _, c := range r.all {
		list = append(list, c)
	}
	r.mu.Unlock()
	out := make([]runtime.ContainerStatus, 0, len(list))
	for _, c := range list {
		out = append(out, c.status())
	}
	slices.SortFunc(out, func(a, b runtime.ContainerStatus) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return out, nil
}

// ContainerStatus implements runtime.Runtime.
func (r *Runtime) ContainerStatus(_ context.Context, id string) (runtime.ContainerStatus, error) {
	c, err := r.get(id)
	if err != nil {
		return runtime.ContainerStatus{}, err
	}
	return c.status(), nil
}

func (c *container) status() runtime.ContainerStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := runtime.ContainerStatus{
		ID: c.ID, SandboxID: c.Config.SandboxID, Pod: c.Pod, Name: c.Config.Name, Attempt: c.Config.Attempt,
		State: c.State, CreatedAt: c.CreatedAt, StartedAt: c.StartedAt, FinishedAt: c.FinishedAt,
		ExitCode: c.ExitCode, Reason: c.Reason, Message: c.Message,
		Image: c.Config.ImageRef, ImageID: c.ImageID, LogPath: c.LogPath, Mounts: c.Config.Mounts,
		TTY: c.Config.TTY, Stdin: c.Config.Stdin, User: &c.User, Resource: c.Config.Resources,
		StopSignal: unix.SignalName(unix.Signal(c.StopSignal)), Labels: c.Config.Labels, Annotations: c.Config.Annotations,
	}
	if c.State == runtime.Running {
		s.PID = c.Process.PID
	}
	return s
}

// running returns the process of a running container.
func (c *container) running() (process.ID, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.State != runtime.Running {
		return process.ID{}, fmt.Errorf("container %s (%s) is not running", c.Config.Name, c.ID)
	}
	return c.Process, nil
}
