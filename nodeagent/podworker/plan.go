package podworker

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/nodeagent/probes"
	"github.com/skiff-project/skiff/nodeagent/runtime"
	"github.com/skiff-project/skiff/nodeagent/status"
)

// View is what a decision is made from.
type View struct {
	Pod *corev1.Pod
	// Sandbox is the newest one of the pod, nil when it never had one.
	Sandbox *runtime.Sandbox
	// Attempts are the containers by name, newest first.
	Attempts map[string][]runtime.ContainerStatus
	Probes   map[string]probes.State // by container id
	// Changed says whether a running container was made from another definition than the pod has now.
	Changed func(c *corev1.Container, s *runtime.ContainerStatus) bool
	// Restart names containers that were stopped in order to be started again, whatever their policy says.
	Restart map[string]bool
}

// Plan is what is missing.
type Plan struct {
	// NewSandbox asks for a sandbox with this attempt; an older one is to be stopped first.
	NewSandbox bool
	Attempt    uint32
	// Start lists containers to start, in their order.
	Start []Start
	Kill  []Kill
	// Finish says that nothing will run any more: the pod is to be taken down.
	Finish bool
	// RestartAll says that a restart rule has all containers removed and started afresh.
	RestartAll bool
}

// ContainerKind is which of a pod's three lists a container stands in.
type ContainerKind int

// The kinds of container.
const (
	Init ContainerKind = iota
	App
	Ephemeral
)

// Start is a container to start.
type Start struct {
	Container *corev1.Container
	Kind      ContainerKind
	Target    string // whose PID namespace an ephemeral container joins
}

// Kill is a container to stop, with the words of its event.
type Kill struct {
	Container *corev1.Container
	ID        string
	Message   string
	// Grace overrides the pod's grace period, for a probe that has one of its own.
	Grace *int64
	// Restart says that it is to be started again even if its policy is not to.
	Restart bool
	// Replace says that it is healthy and only stopped to be made anew from a changed definition.
	Replace bool
}

// Decide works out what a pod that shall run is missing.
func Decide(v View) Plan {
	if v.restartAll() {
		return Plan{RestartAll: true}
	}
	if v.Sandbox == nil || v.Sandbox.State != runtime.SandboxReady {
		return v.withoutSandbox()
	}
	var p Plan
	v.ephemeral(&p)
	if !v.init(&p) {
		return p
	}
	v.apps(&p)
	return p
}

// withoutSandbox is for a pod whose sandbox is missing or dead: all begins anew, unless the pod is over.
func (v *View) withoutSandbox() Plan {
	p := Plan{NewSandbox: true}
	if v.Sandbox == nil {
		return p
	}
	p.Attempt = v.Sandbox.Pod.Attempt + 1
	if v.Pod.Spec.RestartPolicy == corev1.RestartPolicyNever && len(v.Attempts) > 0 {
		return Plan{Finish: true}
	}
	created, left := false, false
	for i := range v.Pod.Spec.Containers {
		c := &v.Pod.Spec.Containers[i]
		last := v.last(c.Name)
		created = created || last != nil
		left = left || !(runsOnce(c, v.Pod) && last != nil && last.State == runtime.Exited && last.ExitCode == 0)
	}
	if created && !left {
		return Plan{Finish: true}
	}
	return p
}

func runsOnce(c *corev1.Container, pod *corev1.Pod) bool {
	if c.RestartPolicy != nil {
		return *c.RestartPolicy == corev1.ContainerRestartPolicyOnFailure
	}
	return pod.Spec.RestartPolicy == corev1.RestartPolicyOnFailure
}

func (v *View) last(name string) *runtime.ContainerStatus {
	if list := v.Attempts[name]; len(list) > 0 {
		return &list[0]
	}
	return nil
}

// active is the newest attempt in the sandbox of now.
func (v *View) active(name string) *runtime.ContainerStatus {
	if s := v.last(name); s != nil && s.SandboxID == v.Sandbox.ID {
		return s
	}
	return nil
}

// restartAll says whether a container ended in a way for which a rule restarts the whole pod.
func (v *View) restartAll() bool {
	for _, list := range [][]corev1.Container{v.Pod.Spec.InitContainers, v.Pod.Spec.Containers} {
		for i := range list {
			s := v.last(list[i].Name)
			if s == nil || s.State != runtime.Exited {
				continue
			}
			if r := status.MatchingRule(&list[i], s.ExitCode); r != nil && r.Action == corev1.ContainerRestartRuleActionRestartAllContainers {
				return true
			}
		}
	}
	return false
}

func (v *View) ephemeral(p *Plan) {
	for i := range v.Pod.Spec.EphemeralContainers {
		e := &v.Pod.Spec.EphemeralContainers[i]
		if v.last(e.Name) == nil { // they are never restarted
			c := corev1.Container(e.EphemeralContainerCommon)
			p.Start = append(p.Start, Start{Container: &c, Kind: Ephemeral, Target: e.TargetContainerName})
		}
	}
}

// initialized says whether an app container has been started in the sandbox of now: the init containers are done then.
func (v *View) initialized() bool {
	for i := range v.Pod.Spec.Containers {
		if s := v.active(v.Pod.Spec.Containers[i].Name); s != nil && (s.State == runtime.Running || s.State == runtime.Exited) {
			return true
		}
	}
	return false
}

// init plans for the init containers and says whether the apps may be looked at.
func (v *View) init(p *Plan) bool {
	list := v.Pod.Spec.InitContainers
	if len(list) == 0 {
		return true
	}
	if v.initialized() {
		for i := range list {
			if status.IsSidecar(&list[i]) {
				v.sidecar(&list[i], p)
			}
		}
		return true
	}
	// Finished ones may have been removed from the runtime: the last that is known counts.
	at := len(list) - 1
	for at >= 0 && v.active(list[at].Name) == nil {
		at--
	}
	for i := range max(at, 0) {
		if status.IsSidecar(&list[i]) {
			v.sidecar(&list[i], p)
		}
	}
	if at < 0 {
		p.Start = append(p.Start, Start{Container: &list[0], Kind: Init})
		return false
	}
	done, failed := v.initDone(&list[at], p)
	switch {
	case failed:
		p.Finish, p.Start = true, nil
		return false
	case !done:
		return false
	case at+1 < len(list):
		p.Start = append(p.Start, Start{Container: &list[at+1], Kind: Init})
		return false
	}
	return true
}

// initDone looks at the init container that is at work: done lets the next one start, failed ends the pod.
func (v *View) initDone(c *corev1.Container, p *Plan) (done, failed bool) {
	if status.IsSidecar(c) {
		v.sidecar(c, p)
		s := v.active(c.Name)
		return s.State == runtime.Running && v.started(c, s), false
	}
	s := v.active(c.Name)
	switch s.State {
	case runtime.Running:
		return false, false
	case runtime.Exited:
		if s.ExitCode == 0 {
			return true, false
		}
		if !status.ShouldRestartInit(c, &v.Pod.Spec, s.ExitCode) && !v.Restart[c.Name] {
			return false, true
		}
	}
	p.Start = append(p.Start, Start{Container: c, Kind: Init})
	return false, false
}

func (v *View) started(c *corev1.Container, s *runtime.ContainerStatus) bool {
	if c.StartupProbe == nil {
		return true
	}
	return v.Probes[s.ID].Started
}

// sidecar keeps an init container running that is to run always.
func (v *View) sidecar(c *corev1.Container, p *Plan) {
	s := v.active(c.Name)
	if s == nil || s.State != runtime.Running {
		p.Start = append(p.Start, Start{Container: c, Kind: Init})
		return
	}
	state := v.Probes[s.ID]
	switch {
	case state.Unhealthy != nil:
		p.Kill = append(p.Kill, Kill{Container: c, ID: s.ID, Grace: state.Unhealthy.Grace, Restart: true,
			Message: fmt.Sprintf("Init container %s failed %s probe", c.Name, word(state.Unhealthy.Kind))})
	case v.Changed(c, s):
		p.Kill = append(p.Kill, Kill{Container: c, ID: s.ID, Restart: true, Replace: true, Message: fmt.Sprintf("Init container %s definition changed", c.Name)})
	}
}

func word(k probes.Kind) string {
	if k == probes.Startup {
		return "startup"
	}
	return "liveness"
}

func (v *View) apps(p *Plan) {
	kept, starting := 0, 0
	for i := range v.Pod.Spec.Containers {
		c := &v.Pod.Spec.Containers[i]
		s := v.last(c.Name)
		if s == nil || s.State != runtime.Running {
			if v.shouldStart(c, s) {
				p.Start = append(p.Start, Start{Container: c, Kind: App})
				starting++
			}
			continue
		}
		k, ok := v.shouldKill(c, s)
		switch {
		case !ok:
			kept++
		default:
			if k.Restart {
				k.Message += ", will be restarted"
				starting++
			}
			p.Kill = append(p.Kill, k)
		}
	}
	if kept == 0 && starting == 0 {
		// Sidecars do not keep a pod alive.
		*p = Plan{Finish: true, Kill: p.Kill}
	}
}

func (v *View) shouldStart(c *corev1.Container, s *runtime.ContainerStatus) bool {
	switch {
	case s == nil, s.State == runtime.Created, s.State == runtime.Unknown, v.Restart[c.Name]:
		return true
	}
	return status.ShouldRestart(c, &v.Pod.Spec, s.ExitCode)
}

func (v *View) shouldKill(c *corev1.Container, s *runtime.ContainerStatus) (Kill, bool) {
	k := Kill{Container: c, ID: s.ID, Restart: v.Pod.Spec.RestartPolicy != corev1.RestartPolicyNever}
	if c.RestartPolicy != nil {
		k.Restart = *c.RestartPolicy != corev1.ContainerRestartPolicyNever
	}
	state := v.Probes[s.ID]
	switch {
	case v.Changed(c, s):
		k.Message, k.Restart, k.Replace = fmt.Sprintf("Container %s definition changed", c.Name), true, true
	case state.Unhealthy != nil:
		k.Message, k.Grace = fmt.Sprintf("Container %s failed %s probe", c.Name, word(state.Unhealthy.Kind)), state.Unhealthy.Grace
	default:
		return Kill{}, false
	}
	return k, true
}
