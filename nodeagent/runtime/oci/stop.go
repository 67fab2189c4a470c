package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// StopContainer implements runtime.Runtime. A second call with a shorter grace kills while the first still waits; both
// return when the container has ended.
func (r *Runtime) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	c, err := r.get(id)
	if err != nil {
		return nil
	}
	process, err := c.running()
	if err != nil {
		return nil
	}
	if grace > 0 {
		if err := process.Signal(unix.Signal(c.StopSignal)); err != nil && !errors.Is(err, os.ErrProcessDone) {
			r.log.Warn("stop signal could not be sent", "container", id, "error", err)
		}
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-c.done:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("stop container %s: %w", c.Config.Name, ctx.Err())
		case <-timer.C:
		}
	}
	if err := process.Signal(unix.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill container %s: %w", c.Config.Name, err)
	}
	r.cgroups.Kill(c.Group)
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop container %s: %w", c.Config.Name, ctx.Err())
	}
}

// UpdateResources implements runtime.Runtime. It writes the control group's files; a container that was not started yet
// is started with the new limits.
func (r *Runtime) UpdateResources(_ context.Context, id string, res runtime.Resources) error {
	c, err := r.get(id)
	if err != nil {
		return err
	}
	c.lifecycle.Lock()
	defer c.lifecycle.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	// What cannot be changed in place stays.
	old := c.Config.Resources
	res.OOMScoreAdj = old.OOMScoreAdj
	if res.PidsLimit == 0 {
		res.PidsLimit = old.PidsLimit
	}
	if res.HugepageLimits == nil {
		res.HugepageLimits = old.HugepageLimits
	}
	switch c.State {
	case runtime.Running:
		if err := r.cgroups.Update(c.Group, res); err != nil {
			return fmt.Errorf("update container %s: %w", c.Config.Name, err)
		}
	case runtime.Created:
		c.Config.Resources = res
		if err := r.respec(c); err != nil {
			return fmt.Errorf("update container %s: %w", c.Config.Name, err)
		}
	default:
		return fmt.Errorf("update container %s: it is not running", c.Config.Name)
	}
	c.Config.Resources = res
	return r.save(c)
}

// respec puts changed limits into the bundle.
func (r *Runtime) respec(c *container) error {
	spec, err := r.readSpec(c.ID)
	if err != nil {
		return err
	}
	if spec.Linux.Resources, _, err = linuxResources(c); err != nil {
		return err
	}
	return r.writeSpec(c, spec)
}
