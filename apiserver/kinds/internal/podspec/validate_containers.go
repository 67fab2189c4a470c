package podspec

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

func (c *specCheck) containers() {
	at := child(c.at, "containers")
	if len(c.spec.Containers) == 0 {
		c.Add(field.Required(at, ""))
		return
	}
	names := sets.New[string]()
	for i := range c.spec.Containers {
		ctr, p := &c.spec.Containers[i], index(at, i)
		c.container(ctr, p)
		if names.Has(ctr.Name) {
			c.Add(field.Duplicate(p.Child("name"), ctr.Name))
		}
		names.Insert(ctr.Name)
		c.lifecycle(ctr, p)
		c.probes(ctr, p)
		c.restartRules(ctr, p)
	}
	c.hostPortsOnce(c.spec.Containers, at)
}

func (c *specCheck) initContainers() {
	at := child(c.at, "initContainers")
	names := sets.New[string]()
	for i := range c.spec.Containers {
		names.Insert(c.spec.Containers[i].Name)
	}
	for i := range c.spec.InitContainers {
		ctr, p := &c.spec.InitContainers[i], index(at, i)
		c.container(ctr, p)
		c.restartRules(ctr, p)
		if names.Has(ctr.Name) {
			c.Add(field.Duplicate(p.Child("name"), ctr.Name))
		} else if ctr.Name != "" {
			names.Insert(ctr.Name)
		}
		c.hostPortsOnce(c.spec.InitContainers[i:i+1], at)
		if restartable(ctr) {
			c.lifecycle(ctr, p)
			c.probes(ctr, p)
			continue
		}
		const onlySidecars = "may not be set for init containers without restartPolicy=Always"
		for name, set := range map[string]bool{"lifecycle": ctr.Lifecycle != nil, "livenessProbe": ctr.LivenessProbe != nil,
			"readinessProbe": ctr.ReadinessProbe != nil, "startupProbe": ctr.StartupProbe != nil} {
			if set {
				c.Add(field.Forbidden(p.Child(name), onlySidecars))
			}
		}
		for j, policy := range ctr.ResizePolicy {
			if policy.RestartPolicy == corev1.RestartContainer {
				c.Add(field.Invalid(p.Child("resizePolicy").Index(j).Child("restartPolicy"), policy.RestartPolicy,
					"must not be set to 'RestartContainer' for non-sidecar initContainers"))
			}
		}
	}
}

// ephemeralFields are the fields of a container that one added for debugging may have.
var ephemeralFields = sets.New("Name", "Image", "Command", "Args", "WorkingDir", "EnvFrom", "Env", "VolumeMounts", "VolumeDevices",
	"TerminationMessagePath", "TerminationMessagePolicy", "ImagePullPolicy", "SecurityContext", "Stdin", "StdinOnce", "TTY")

func (c *specCheck) ephemeralContainers() {
	at := child(c.at, "ephemeralContainers")
	others, names := sets.New[string](), sets.New[string]()
	for _, list := range [][]corev1.Container{c.spec.Containers, c.spec.InitContainers} {
		for i := range list {
			others.Insert(list[i].Name)
			names.Insert(list[i].Name)
		}
	}
	for i := range c.spec.EphemeralContainers {
		e, p := &c.spec.EphemeralContainers[i], index(at, i)
		ctr := (*corev1.Container)(&e.EphemeralContainerCommon)
		c.container(ctr, p)
		c.imageTrimmed(ctr, p)
		if names.Has(e.Name) {
			c.Add(field.Duplicate(p.Child("name"), e.Name))
		}
		names.Insert(e.Name)
		if e.TargetContainerName != "" && !others.Has(e.TargetContainerName) {
			c.Add(field.NotFound(p.Child("targetContainerName"), e.TargetContainerName))
		}
		v := reflect.ValueOf(e.EphemeralContainerCommon)
		for k := range v.NumField() {
			if name := v.Type().Field(k).Name; !ephemeralFields.Has(name) && !v.Field(k).IsZero() {
				c.Add(field.Forbidden(p.Child(strings.ToLower(name[:1])+name[1:]), "cannot be set for an Ephemeral Container"))
			}
		}
		for k, m := range e.VolumeMounts {
			if m.SubPath != "" {
				c.Add(field.Forbidden(p.Child("volumeMounts").Index(k).Child("subPath"), "cannot be set for an Ephemeral Container"))
			}
			if m.SubPathExpr != "" {
				c.Add(field.Forbidden(p.Child("volumeMounts").Index(k).Child("subPathExpr"), "cannot be set for an Ephemeral Container"))
			}
		}
	}
}

// container checks what containers of all sorts have in common.
func (c *specCheck) container(ctr *corev1.Container, at *field.Path) {
	if c.Require(child(at, "name"), ctr.Name) {
		c.Label(child(at, "name"), ctr.Name)
	}
	c.Require(child(at, "image"), ctr.Image)
	check.RequiredOneOf(&c.List, child(at, "terminationMessagePolicy"), ctr.TerminationMessagePolicy,
		corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)
	c.ports(ctr.Ports, child(at, "ports"))
	c.env(ctr.Env, child(at, "env"))
	c.envFrom(ctr.EnvFrom, child(at, "envFrom"))
	c.mounts(ctr, child(at, "volumeMounts"))
	c.devices(ctr, child(at, "volumeDevices"))
	c.pullPolicy(ctr.ImagePullPolicy, child(at, "imagePullPolicy"))
	c.resources(&ctr.Resources, child(at, "resources"), containerResource)
	c.resizePolicy(ctr.ResizePolicy, child(at, "resizePolicy"))
	c.containerSecurity(ctr.SecurityContext, child(at, "securityContext"))
}

func (c *specCheck) imageTrimmed(ctr *corev1.Container, at *field.Path) {
	if strings.TrimSpace(ctr.Image) != ctr.Image {
		c.Add(field.Invalid(at.Child("image"), ctr.Image, "must not have leading or trailing whitespace"))
	}
}

func (c *specCheck) pullPolicy(p corev1.PullPolicy, at *field.Path) {
	check.RequiredOneOf(&c.List, at, p, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)
}

func (c *specCheck) ports(ports []corev1.ContainerPort, at *field.Path) {
	names := sets.New[string]()
	for i, p := range ports {
		idx := index(at, i)
		if p.Name != "" {
			if messages := validation.IsValidPortName(p.Name); len(messages) > 0 {
				c.Messages(child(idx, "name"), p.Name, messages)
			} else if names.Has(p.Name) {
				c.Add(field.Duplicate(idx.Child("name"), p.Name))
			} else {
				names.Insert(p.Name)
			}
		}
		if p.ContainerPort == 0 {
			c.Add(field.Required(idx.Child("containerPort"), ""))
		} else {
			c.Messages(child(idx, "containerPort"), p.ContainerPort, validation.IsValidPortNum(int(p.ContainerPort)))
		}
		if p.HostPort != 0 {
			c.Messages(child(idx, "hostPort"), p.HostPort, validation.IsValidPortNum(int(p.HostPort)))
		}
		check.RequiredOneOf(&c.List, child(idx, "protocol"), p.Protocol, check.Protocols...)
	}
}

// hostPortsOnce: a port of the host is one container's.
func (c *specCheck) hostPortsOnce(containers []corev1.Container, at *field.Path) {
	taken := sets.New[string]()
	for i := range containers {
		for k, p := range containers[i].Ports {
			if p.HostPort == 0 {
				continue
			}
			key := fmt.Sprintf("%s/%s/%d", p.Protocol, p.HostIP, p.HostPort)
			if taken.Has(key) {
				c.Add(field.Duplicate(at.Index(i).Child("ports").Index(k).Child("hostPort"), key))
			}
			taken.Insert(key)
		}
	}
}

func (c *specCheck) resizePolicy(policies []corev1.ContainerResizePolicy, at *field.Path) {
	seen := sets.New[corev1.ResourceName]()
	for i, p := range policies {
		if seen.Has(p.ResourceName) {
			c.Add(field.Duplicate(at.Index(i), p.ResourceName))
		}
		seen.Insert(p.ResourceName)
		check.RequiredOneOf(&c.List, at, p.ResourceName, corev1.ResourceCPU, corev1.ResourceMemory)
		check.RequiredOneOf(&c.List, at, p.RestartPolicy, corev1.NotRequired, corev1.RestartContainer)
		if c.spec.RestartPolicy == corev1.RestartPolicyNever && p.RestartPolicy != corev1.NotRequired {
			c.Add(field.Invalid(at, p.RestartPolicy, "must be 'NotRequired' when pod `restartPolicy` is 'Never'"))
		}
	}
}

func (c *specCheck) restartRules(ctr *corev1.Container, at *field.Path) {
	policy := child(at, "restartPolicy")
	if ctr.RestartPolicy == nil {
		if len(ctr.RestartPolicyRules) == 0 {
			return
		}
		c.Add(field.Required(policy, "must specify restartPolicy when restart rules are used"))
	} else {
		check.OneOf(&c.List, policy, *ctr.RestartPolicy, corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure)
	}
	const mostRules, mostCodes = 20, 255
	if n := len(ctr.RestartPolicyRules); n > mostRules {
		c.Add(field.TooMany(at.Child("restartPolicyRules"), n, mostRules))
	}
	for i, rule := range ctr.RestartPolicyRules {
		p := index(child(at, "restartPolicyRules"), i)
		check.OneOf(&c.List, child(p, "action"), rule.Action, corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers)
		if rule.ExitCodes == nil {
			c.Add(field.Required(p.Child("exitCodes"), "must be specified"))
			continue
		}
		check.OneOf(&c.List, child(p, "exitCodes", "operator"), rule.ExitCodes.Operator, corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn)
		if n := len(rule.ExitCodes.Values); n > mostCodes {
			c.Add(field.TooMany(p.Child("exitCodes", "values"), n, mostCodes))
		}
	}
}

func (c *specCheck) lifecycle(ctr *corev1.Container, at *field.Path) {
	l := ctr.Lifecycle
	if l == nil {
		return
	}
	at = child(at, "lifecycle")
	for name, h := range map[string]*corev1.LifecycleHandler{"postStart": l.PostStart, "preStop": l.PreStop} {
		if h != nil {
			c.handler(handler{exec: h.Exec, http: h.HTTPGet, tcp: h.TCPSocket, sleep: h.Sleep}, child(at, name))
		}
	}
	if l.StopSignal != nil {
		c.stopSignal(*l.StopSignal, child(at, "stopSignal"))
	}
}

func (c *specCheck) stopSignal(s corev1.Signal, at *field.Path) {
	switch {
	case c.spec.OS == nil:
		c.Add(field.Forbidden(at, "may not be set for containers with empty `spec.os.name`"))
	case c.spec.OS.Name == corev1.Windows:
		check.OneOf(&c.List, at, s, corev1.SIGKILL, corev1.SIGTERM)
	case c.spec.OS.Name == corev1.Linux:
		check.OneOf(&c.List, at, s, linuxSignals()...)
	}
}

// linuxSignals are the signals that may stop a container, sorted.
func linuxSignals() []corev1.Signal {
	names := strings.Fields("ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN RTMAX")
	for i := 1; i <= 15; i++ {
		names = append(names, fmt.Sprintf("RTMIN+%d", i))
		if i < 15 {
			names = append(names, fmt.Sprintf("RTMAX-%d", i))
		}
	}
	slices.Sort(names)
	out := make([]corev1.Signal, len(names))
	for i, n := range names {
		out[i] = corev1.Signal("SIG" + n)
	}
	return out
}

func (c *specCheck) probes(ctr *corev1.Container, at *field.Path) {
	for _, p := range []struct {
		name  string
		probe *corev1.Probe
	}{{"livenessProbe", ctr.LivenessProbe}, {"readinessProbe", ctr.ReadinessProbe}, {"startupProbe", ctr.StartupProbe}} {
		if p.probe == nil {
			continue
		}
		at := child(at, p.name)
		c.probe(p.probe, at)
		if p.name == "readinessProbe" {
			if p.probe.TerminationGracePeriodSeconds != nil {
				c.Add(field.Invalid(at.Child("terminationGracePeriodSeconds"), p.probe.TerminationGracePeriodSeconds, "must not be set for readinessProbes"))
			}
		} else if p.probe.SuccessThreshold != 1 {
			c.Add(field.Invalid(at.Child("successThreshold"), p.probe.SuccessThreshold, "must be 1"))
		}
	}
}

func (c *specCheck) probe(p *corev1.Probe, at *field.Path) {
	c.handler(handler{exec: p.Exec, http: p.HTTPGet, tcp: p.TCPSocket, grpc: p.GRPC}, at)
	c.NotNegative(child(at, "initialDelaySeconds"), int64(p.InitialDelaySeconds))
	c.NotNegative(child(at, "timeoutSeconds"), int64(p.TimeoutSeconds))
	c.NotNegative(child(at, "periodSeconds"), int64(p.PeriodSeconds))
	c.NotNegative(child(at, "successThreshold"), int64(p.SuccessThreshold))
	c.NotNegative(child(at, "failureThreshold"), int64(p.FailureThreshold))
	if t := p.TerminationGracePeriodSeconds; t != nil && *t <= 0 {
		c.Add(field.Invalid(at.Child("terminationGracePeriodSeconds"), *t, "must be greater than 0"))
	}
}

// handler is an action of a probe or of a hook.
type handler struct {
	exec  *corev1.ExecAction
	http  *corev1.HTTPGetAction
	tcp   *corev1.TCPSocketAction
	grpc  *corev1.GRPCAction
	sleep *corev1.SleepAction
}

// handler: exactly one action, the first of which counts.
func (c *specCheck) handler(h handler, at *field.Path) {
	found := false
	one := func(name string, set bool, look func(at *field.Path)) {
		switch {
		case !set:
		case found:
			c.Add(field.Forbidden(at.Child(name), "may not specify more than 1 handler type"))
		default:
			found = true
			look(child(at, name))
		}
	}
	one("exec", h.exec != nil, func(at *field.Path) {
		if len(h.exec.Command) == 0 {
			c.Add(field.Required(at.Child("command"), ""))
		}
	})
	one("httpGet", h.http != nil, func(at *field.Path) { c.httpGet(h.http, at) })
	one("tcpSocket", h.tcp != nil, func(at *field.Path) { c.portOrName(h.tcp.Port, child(at, "port")) })
	one("grpc", h.grpc != nil, func(at *field.Path) {
		c.portOrName(intstr.FromInt32(h.grpc.Port), child(at, "port"))
		if h.grpc.Mode != nil {
			check.OneOf(&c.List, child(at, "mode"), *h.grpc.Mode, corev1.GRPCProbeModePlaintext, corev1.GRPCProbeModeTLS)
		}
	})
	one("sleep", h.sleep != nil, func(at *field.Path) {
		if grace := c.spec.TerminationGracePeriodSeconds; grace != nil && (h.sleep.Seconds < 0 || h.sleep.Seconds > *grace) {
			c.Add(field.Invalid(at, h.sleep.Seconds, fmt.Sprintf("must be non-negative and less than terminationGracePeriodSeconds (%d)", *grace)))
		}
	})
	if !found {
		c.Add(field.Required(at, "must specify a handler type"))
	}
}

func (c *specCheck) httpGet(h *corev1.HTTPGetAction, at *field.Path) {
	c.Require(child(at, "path"), h.Path)
	c.portOrName(h.Port, child(at, "port"))
	check.OneOf(&c.List, child(at, "scheme"), h.Scheme, corev1.URISchemeHTTP, corev1.URISchemeHTTPS)
	for _, header := range h.HTTPHeaders {
		c.Rule(child(at, "httpHeaders"), header.Name, validation.IsHTTPHeaderName)
	}
	if h.Protocol == nil {
		return
	}
	known := []corev1.HTTPProtocol{corev1.HTTPProtocolHTTP1, corev1.HTTPProtocolHTTP2}
	switch {
	case !slices.Contains(known, *h.Protocol):
		c.Add(field.NotSupported(at.Child("protocol"), *h.Protocol, known))
	case *h.Protocol == corev1.HTTPProtocolHTTP2 && h.Scheme != corev1.URISchemeHTTP:
		c.Add(field.Invalid(at.Child("protocol"), *h.Protocol, "is only supported with HTTP (H2C)"))
	case *h.Protocol == corev1.HTTPProtocolHTTP2 && h.Host != "":
		c.Add(field.Invalid(at.Child("host"), h.Host, "must be empty when `protocol` is \"HTTP2\""))
	}
}

func (c *specCheck) portOrName(port intstr.IntOrString, at *field.Path) {
	if port.Type == intstr.Int {
		c.Messages(at, port.IntValue(), validation.IsValidPortNum(port.IntValue()))
		return
	}
	c.Rule(at, port.StrVal, validation.IsValidPortName)
}
