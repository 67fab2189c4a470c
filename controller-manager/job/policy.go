package job

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// judgement is what the pod failure policy says about one failed pod.
type judgement struct {
	action  batchv1.PodFailurePolicyAction // of the first rule that matches, "" if none does
	message string                         // why the Job fails, for FailJob
}

// counts says that the failure counts towards the limits.
func (j judgement) counts() bool { return j.action != batchv1.PodFailurePolicyActionIgnore }

func judge(policy *batchv1.PodFailurePolicy, pod *corev1.Pod) judgement {
	if policy == nil {
		return judgement{}
	}
	for i, rule := range policy.Rules {
		if rule.OnExitCodes != nil {
			if c := exitedWith(pod, rule.OnExitCodes); c != nil {
				return judgement{rule.Action, fmt.Sprintf("Container %s for pod %s/%s failed with exit code %v matching %v rule at index %d",
					c.Name, pod.Namespace, pod.Name, c.State.Terminated.ExitCode, rule.Action, i)}
			}
			continue
		}
		for _, c := range pod.Status.Conditions {
			for _, pattern := range rule.OnPodConditions {
				if c.Type == pattern.Type && c.Status == pattern.Status {
					return judgement{rule.Action, fmt.Sprintf("Pod %s/%s has condition %v matching %v rule at index %d",
						pod.Namespace, pod.Name, c.Type, rule.Action, i)}
				}
			}
		}
	}
	return judgement{}
}

// exitedWith answers the container that the rule is about, if one of the pod's matches.
func exitedWith(pod *corev1.Pod, rule *batchv1.PodFailurePolicyOnExitCodesRequirement) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses} {
		for i := range list {
			c := &list[i]
			if c.State.Terminated == nil || c.State.Terminated.ExitCode == 0 || (rule.ContainerName != nil && *rule.ContainerName != c.Name) {
				continue
			}
			in := slices.Contains(rule.Values, c.State.Terminated.ExitCode)
			if (rule.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn && in) || (rule.Operator == batchv1.PodFailurePolicyOnExitCodesOpNotIn && !in) {
				return c
			}
		}
	}
	return nil
}

// successByPolicy answers the message of the first rule of the success policy that is met.
func successByPolicy(policy *batchv1.SuccessPolicy, completions int, succeeded indexes) (string, bool) {
	if policy == nil || len(succeeded) == 0 {
		return "", false
	}
	for i, rule := range policy.Rules {
		met := false
		if rule.SucceededIndexes != nil {
			required := parseIndexes(*rule.SucceededIndexes, completions)
			have := succeeded.common(required)
			met = len(required) > 0 && (have == required.count() || (rule.SucceededCount != nil && have >= int(*rule.SucceededCount)))
		} else if rule.SucceededCount != nil {
			met = succeeded.count() >= int(*rule.SucceededCount)
		}
		if met {
			return fmt.Sprintf("Matched rules at index %d", i), true
		}
	}
	return "", false
}
