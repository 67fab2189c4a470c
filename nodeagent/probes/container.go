package probes

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Kind says which of a container's three probes is meant; the words are those of Events.
type Kind string

const (
	Startup   Kind = "Startup"
	Liveness  Kind = "Liveness"
	Readiness Kind = "Readiness"
)

// Config is what a Container needs to know.
type Config struct {
	Container *corev1.Container
	PodIP     string
	StartedAt time.Time
	// Resumed says that the container ran before this agent did: it is then believed to be as Started and Ready say until its
	// probes tell otherwise, so that restarting an agent takes no pod out of service.
	Resumed, Started, Ready bool
	Exec                    Exec
	// Changed is called, from any goroutine, after State has changed.
	Changed func()
	// Event tells the user about a failed check.
	Event func(reason, message string)
	// Observe counts a check, for metrics.
	Observe func(kind Kind, o Outcome, took time.Duration)
}

// State is what the probes say.
type State struct {
	Started, Ready bool
	// Unhealthy is the probe that wants the container restarted, with its words; nil while all is well.
	Unhealthy *Verdict
}

// Verdict is a probe's judgement that a container must be restarted.
type Verdict struct {
	Kind Kind
	// Grace is the probe's own terminationGracePeriodSeconds, nil where it has none.
	Grace *int64
}

// Container is the probing of one running container. Its methods may be called from any goroutine.
type Container struct {
	cfg    Config
	ctx    context.Context
	cancel context.CancelFunc

	mu    sync.Mutex
	state State
	loops map[Kind]*loop
}

// loop is one probe: its timer and how often in a row it has said the same.
type loop struct {
	kind  Kind
	probe *corev1.Probe
	timer *time.Timer
	last  Outcome
	run   int32
	held  bool
}

// Watch begins to probe a container. Stop ends it.
func Watch(ctx context.Context, cfg Config) *Container {
	c := &Container{cfg: cfg, loops: map[Kind]*loop{}}
	c.ctx, c.cancel = context.WithCancel(ctx)
	spec := cfg.Container
	c.state.Started = spec.StartupProbe == nil || (cfg.Resumed && cfg.Started)
	c.state.Ready = c.state.Started && (spec.ReadinessProbe == nil || (cfg.Resumed && cfg.Ready))
	c.mu.Lock()
	defer c.mu.Unlock()
	if spec.StartupProbe != nil && !c.state.Started {
		c.begin(Startup, spec.StartupProbe)
	}
	if c.state.Started {
		c.beginOthers()
	}
	return c
}

func (c *Container) beginOthers() {
	c.begin(Liveness, c.cfg.Container.LivenessProbe)
	c.begin(Readiness, c.cfg.Container.ReadinessProbe)
}

func (c *Container) begin(kind Kind, probe *corev1.Probe) {
	if probe == nil || c.loops[kind] != nil || c.ctx.Err() != nil {
		return
	}
	l := &loop{kind: kind, probe: probe}
	wait := time.Until(c.cfg.StartedAt.Add(time.Duration(probe.InitialDelaySeconds) * time.Second))
	if c.cfg.Resumed && wait <= 0 {
		// After an agent's restart all probes of the node would fire at once.
		wait = rand.N(period(probe))
	}
	l.timer = time.AfterFunc(max(wait, 0), func() { c.fire(l) })
	c.loops[kind] = l
}

func period(p *corev1.Probe) time.Duration {
	if p.PeriodSeconds < 1 {
		return 10 * time.Second
	}
	return time.Duration(p.PeriodSeconds) * time.Second
}

// Stop ends all probing. It does not wait for a check that runs.
func (c *Container) Stop() {
	c.cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.loops {
		l.timer.Stop()
	}
}

// StopRestarting ends the probes that could have the container restarted: it is being taken down. Readiness goes on, since
// a Service must learn when the container serves no longer.
func (c *Container) StopRestarting() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, kind := range []Kind{Startup, Liveness} {
		if l := c.loops[kind]; l != nil {
			l.held = true
			l.timer.Stop()
		}
	}
}

// State is what the probes say now.
func (c *Container) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

const tries = 3

func (c *Container) fire(l *loop) {
	begun := time.Now()
	var outcome Outcome
	var output string
	var err error
	for range tries {
		outcome, output, err = Check(c.ctx, l.probe, Target{Container: c.cfg.Container, PodIP: c.cfg.PodIP, Exec: c.cfg.Exec})
		if err == nil || c.ctx.Err() != nil {
			break
		}
	}
	if c.ctx.Err() != nil {
		return
	}
	if c.cfg.Observe != nil {
		c.cfg.Observe(l.kind, outcome, time.Since(begun))
	}
	c.mu.Lock()
	held := l.held
	c.mu.Unlock()
	if held {
		return
	}
	c.tell(l, outcome, output, err)
	changed := err == nil && c.take(l, outcome)
	c.mu.Lock()
	if !l.held && c.ctx.Err() == nil {
		l.timer.Reset(max(period(l.probe)-time.Since(begun), 0))
	}
	c.mu.Unlock()
	if changed && c.cfg.Changed != nil {
		c.cfg.Changed()
	}
}

func (c *Container) tell(l *loop, outcome Outcome, output string, err error) {
	switch {
	case c.cfg.Event == nil:
	case err != nil:
		c.cfg.Event("Unhealthy", string(l.kind)+" probe errored and resulted in unknown state: "+err.Error())
	case outcome == Failure:
		c.cfg.Event("Unhealthy", string(l.kind)+" probe failed: "+output)
	case outcome == Warning:
		c.cfg.Event("ProbeWarning", string(l.kind)+" probe warning: "+output)
	}
}

// take counts an outcome and, once it has been said often enough, draws the consequence. It says whether State changed.
func (c *Container) take(l *loop, outcome Outcome) bool {
	if outcome == Warning {
		outcome = Success
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.run > 0 && l.last == outcome {
		l.run++
	} else {
		l.last, l.run = outcome, 1
	}
	if outcome == Success && l.run < max(l.probe.SuccessThreshold, 1) || outcome == Failure && l.run < threshold(l.probe) {
		return false
	}
	before := c.state
	switch {
	case l.kind == Readiness:
		c.state.Ready = outcome == Success
	case outcome == Failure:
		l.held = true // until there is a new container
		c.state.Unhealthy = &Verdict{Kind: l.kind, Grace: l.probe.TerminationGracePeriodSeconds}
	case l.kind == Startup:
		l.held = true
		c.state.Started = true
		c.state.Ready = c.cfg.Container.ReadinessProbe == nil
		c.beginOthers()
	}
	return c.state != before
}

func threshold(p *corev1.Probe) int32 {
	if p.FailureThreshold < 1 {
		return 3
	}
	return p.FailureThreshold
}
