package status

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// IsSidecar says whether an init container keeps running beside the others.
func IsSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// ShouldRestart says whether a container that ended with code is started again: by the first rule that matches the code, else
// by its own policy, else by the pod's.
func ShouldRestart(c *corev1.Container, spec *corev1.PodSpec, code int32) bool {
	if c.RestartPolicy != nil {
		if rule := MatchingRule(c, code); rule != nil {
			switch rule.Action {
			case corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers:
				return true
			}
		}
		switch *c.RestartPolicy {
		case corev1.ContainerRestartPolicyAlways:
			return true
		case corev1.ContainerRestartPolicyOnFailure:
			return code != 0
		case corev1.ContainerRestartPolicyNever:
			return false
		}
	}
	switch spec.RestartPolicy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return code != 0
	}
	return true
}

// ShouldRestartInit is ShouldRestart for an init container, which has done its work once it ended with 0.
func ShouldRestartInit(c *corev1.Container, spec *corev1.PodSpec, code int32) bool {
	if IsSidecar(c) {
		return true
	}
	return code != 0 && ShouldRestart(c, spec, code)
}

// MatchingRule is the first of a container's restart rules that speaks about code, or nil.
func MatchingRule(c *corev1.Container, code int32) *corev1.ContainerRestartRule {
	for i := range c.RestartPolicyRules {
		on := c.RestartPolicyRules[i].ExitCodes
		if on == nil {
			continue
		}
		in := slices.Contains(on.Values, code)
		if in && on.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn || !in && on.Operator == corev1.ContainerRestartRuleOnExitCodesOpNotIn {
			return &c.RestartPolicyRules[i]
		}
	}
	return nil
}
