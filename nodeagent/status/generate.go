package status

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/nodeagent/probes"
	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// Reason is why a container waits, in the words of its status.
type Reason struct{ Reason, Message string }

// Seen is what the pod worker knows about its pod.
type Seen struct {
	RuntimeName string // the scheme of container ids
	Sandboxes   []runtime.Sandbox
	// Containers are all attempts by container name, newest first.
	Containers map[string][]runtime.ContainerStatus
	Probes     map[string]probes.State // by container id
	Messages   map[string]string       // termination messages by container id
	Waiting    map[string]Reason       // why a container is not running although it should
	Actual     map[string]corev1.ResourceRequirements
	// ImageVolumes are the digests of image volumes by volume name.
	ImageVolumes      map[string]string
	HostIPs           []string
	QOS               corev1.PodQOSClass
	RecursiveReadOnly bool
	// PodResources and PodAllocated are the pod's own share; nil where the pod has no resources of its own.
	PodResources *corev1.ResourceRequirements
	PodAllocated corev1.ResourceList
	// Terminal says that no container of the pod will be started any more.
	Terminal bool
	// RestartingAll says that a restart rule has all containers removed and started afresh.
	RestartingAll bool
	// Ended, when set, is why the node ended the pod: evicted, over its deadline, refused.
	Ended *Ended
	// Resize holds the conditions of a resize in place that waits or is under way.
	Resize []corev1.PodCondition
}

// Ended overrides the phase that containers have.
type Ended struct {
	Phase           corev1.PodPhase
	Reason, Message string
	// Disruption is the message of a DisruptionTarget condition (reason TerminationByKubelet); "" for none.
	Disruption string
}

type generator struct {
	pod      *corev1.Pod
	seen     Seen
	terminal bool
}

// Generate works out the status to show. reported is the status shown so far: what is known no better is kept, and times of
// conditions that did not change stay.
func Generate(pod *corev1.Pod, reported *corev1.PodStatus, seen Seen, now time.Time) corev1.PodStatus {
	g := &generator{pod: pod, seen: seen, terminal: seen.Terminal}
	s := corev1.PodStatus{
		ObservedGeneration: pod.Generation,
		QOSClass:           seen.QOS,
		NominatedNodeName:  pod.Status.NominatedNodeName,
		StartTime:          reported.StartTime,
		Resources:          seen.PodResources,
		AllocatedResources: seen.PodAllocated,

		ResourceClaimStatuses:       pod.Status.ResourceClaimStatuses,
		ExtendedResourceClaimStatus: pod.Status.ExtendedResourceClaimStatus,
	}
	if s.StartTime == nil {
		t := metav1.NewTime(now)
		s.StartTime = &t
	}
	g.containers(&s, reported)
	g.phase(&s, reported)
	g.conditions(&s, reported, now)
	g.addresses(&s, reported)
	return s
}

func (g *generator) containers(s, reported *corev1.PodStatus) {
	spec := &g.pod.Spec
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		s.InitContainerStatuses = append(s.InitContainerStatuses, g.container(c, named(reported.InitContainerStatuses, c.Name), true, false))
	}
	for i := range spec.Containers {
		c := &spec.Containers[i]
		s.ContainerStatuses = append(s.ContainerStatuses, g.container(c, named(reported.ContainerStatuses, c.Name), false, false))
	}
	for i := range spec.EphemeralContainers {
		c := corev1.Container(spec.EphemeralContainers[i].EphemeralContainerCommon)
		s.EphemeralContainerStatuses = append(s.EphemeralContainerStatuses, g.container(&c, named(reported.EphemeralContainerStatuses, c.Name), false, true))
	}
}

func (g *generator) phase(s, reported *corev1.PodStatus) {
	all := append(append([]corev1.ContainerStatus{}, s.InitContainerStatuses...), s.ContainerStatuses...)
	s.Phase = Phase(g.pod, all, g.terminal, g.appActive())
	if over(reported.Phase) && !over(s.Phase) {
		s.Phase = reported.Phase
	}
	if over(g.pod.Status.Phase) {
		s.Phase = g.pod.Status.Phase // the way back from Failed and Succeeded does not exist
	}
	if s.Phase == reported.Phase {
		s.Reason, s.Message = reported.Reason, reported.Message
	}
	if e := g.seen.Ended; e != nil {
		s.Phase, s.Reason, s.Message = e.Phase, e.Reason, e.Message
	}
}

// appActive says whether an app container runs, or has ended in the sandbox of now.
func (g *generator) appActive() bool {
	for i := range g.pod.Spec.Containers {
		for _, a := range g.seen.Containers[g.pod.Spec.Containers[i].Name] {
			if len(g.seen.Sandboxes) > 0 && a.SandboxID == g.seen.Sandboxes[0].ID && (a.State == runtime.Running || a.State == runtime.Exited) {
				return true
			}
		}
	}
	return false
}

func (g *generator) conditions(s, reported *corev1.PodStatus, now time.Time) {
	for _, c := range g.pod.Status.Conditions {
		if !Owned(c.Type) {
			s.Conditions = append(s.Conditions, c)
		}
	}
	gen := g.pod.Generation
	if e := g.seen.Ended; e != nil && e.Disruption != "" {
		s.Conditions = replace(s.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, ObservedGeneration: gen,
			Reason: corev1.PodReasonTerminationByKubelet, Message: e.Disruption})
	} else if c := conditionOf(reported.Conditions, corev1.DisruptionTarget); c != nil {
		s.Conditions = replace(s.Conditions, *c)
	}
	if !g.terminal {
		s.Conditions = append(s.Conditions, g.seen.Resize...)
	}
	all := append(append([]corev1.ContainerStatus{}, s.InitContainerStatuses...), s.ContainerStatuses...)
	sandbox := verdict{ok: len(g.seen.Sandboxes) > 0 && g.seen.Sandboxes[0].State == runtime.SandboxReady}
	containers := containersReady(g.pod, all, s.Phase)
	s.Conditions = append(s.Conditions,
		sandbox.condition(corev1.PodReadyToStartContainers, gen),
		initialized(g.pod, all, s.Phase, reported.Conditions).condition(corev1.PodInitialized, gen),
		ready(g.pod, containers, s.Conditions).condition(corev1.PodReady, gen),
		containers.condition(corev1.ContainersReady, gen),
		verdict{ok: true}.condition(corev1.PodScheduled, gen))
	if canRestartAll(g.pod) {
		s.Conditions = append(s.Conditions, g.restartingAll(s.Phase))
	}
	stamp(s.Conditions, reported.Conditions, now)
}

func canRestartAll(pod *corev1.Pod) bool {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for _, r := range list[i].RestartPolicyRules {
				if r.Action == corev1.ContainerRestartRuleActionRestartAllContainers {
					return true
				}
			}
		}
	}
	return false
}

func (g *generator) restartingAll(phase corev1.PodPhase) corev1.PodCondition {
	v := verdict{}
	switch {
	case phase == corev1.PodSucceeded:
		v.reason = "PodCompleted"
	case phase == corev1.PodFailed:
		v.reason = "PodFailed"
	case g.seen.RestartingAll:
		v = verdict{ok: true, reason: "RestartAllContainersStarted", message: "container exited with restart policy rule"}
	}
	return v.condition(corev1.AllContainersRestarting, 0)
}

func replace(list []corev1.PodCondition, c corev1.PodCondition) []corev1.PodCondition {
	if old := conditionOf(list, c.Type); old != nil {
		*old = c
		return list
	}
	return append(list, c)
}

// stamp keeps the times of conditions that have the status they had, and dates the others.
func stamp(conditions, old []corev1.PodCondition, now time.Time) {
	for i := range conditions {
		c := &conditions[i]
		if was := conditionOf(old, c.Type); was != nil && was.Status == c.Status && !was.LastTransitionTime.IsZero() {
			c.LastTransitionTime, c.LastProbeTime = was.LastTransitionTime, was.LastProbeTime
		} else if c.LastTransitionTime.IsZero() || Owned(c.Type) {
			c.LastTransitionTime = metav1.NewTime(now)
		}
	}
}

func (g *generator) addresses(s, reported *corev1.PodStatus) {
	if len(g.seen.HostIPs) > 0 {
		s.HostIP = g.seen.HostIPs[0]
		for _, ip := range g.seen.HostIPs {
			s.HostIPs = append(s.HostIPs, corev1.HostIP{IP: ip})
		}
	}
	var ips []string
	switch {
	case g.pod.Spec.HostNetwork && len(reported.PodIPs) > 0:
		s.PodIP, s.PodIPs = reported.PodIP, reported.PodIPs // immutable once told
		return
	case g.pod.Spec.HostNetwork:
		ips = g.seen.HostIPs
	case len(g.seen.Sandboxes) > 0 && g.seen.Sandboxes[0].State == runtime.SandboxReady:
		ips = g.seen.Sandboxes[0].IPs
	default:
		s.PodIP, s.PodIPs = reported.PodIP, reported.PodIPs
		return
	}
	for _, ip := range ips {
		s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: ip})
	}
	if len(ips) > 0 {
		s.PodIP = ips[0]
	}
}

// over says whether a phase is final.
func over(p corev1.PodPhase) bool { return p == corev1.PodFailed || p == corev1.PodSucceeded }
