package audit

import (
	"fmt"
	"os"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"sigs.k8s.io/yaml"

	"github.com/skiff-project/skiff/apiserver/request"
)

// LoadPolicy reads and checks a policy file.
func LoadPolicy(file string) (*auditv1.Policy, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("audit policy: %w", err)
	}
	policy := &auditv1.Policy{}
	if err := yaml.UnmarshalStrict(text, policy); err != nil {
		return nil, fmt.Errorf("audit policy %s: %w", file, err)
	}
	if policy.APIVersion != auditv1.SchemeGroupVersion.String() || policy.Kind != "Policy" {
		return nil, fmt.Errorf("audit policy %s is a %s %s and not an %s Policy", file, policy.APIVersion, policy.Kind, auditv1.SchemeGroupVersion)
	}
	if len(policy.Rules) == 0 {
		return nil, fmt.Errorf("audit policy %s has no rules", file)
	}
	if bad := badStage(policy.OmitStages); bad != "" {
		return nil, fmt.Errorf("audit policy %s: omitStages: %q is not one of %v", file, bad, stages)
	}
	for i, rule := range policy.Rules {
		if bad := badStage(rule.OmitStages); bad != "" {
			return nil, fmt.Errorf("audit policy %s: rules[%d].omitStages: %q is not one of %v", file, i, bad, stages)
		}
		for _, path := range rule.NonResourceURLs {
			if path != "*" && (!strings.HasPrefix(path, "/") || strings.ContainsAny(strings.TrimSuffix(path, "*"), "*")) {
				return nil, fmt.Errorf("audit policy %s: rules[%d].nonResourceURLs: %q must begin with a / and may end in a *", file, i, path)
			}
		}
		for _, group := range rule.Resources {
			if len(group.ResourceNames) > 0 && len(group.Resources) == 0 {
				return nil, fmt.Errorf("audit policy %s: rules[%d].resources: using resourceNames requires at least one resource", file, i)
			}
		}
		if !slices.Contains([]auditv1.Level{auditv1.LevelNone, auditv1.LevelMetadata, auditv1.LevelRequest, auditv1.LevelRequestResponse}, rule.Level) {
			return nil, fmt.Errorf("audit policy %s: rules[%d].level: %q is not one of None, Metadata, Request, RequestResponse", file, i, rule.Level)
		}
		if len(rule.NonResourceURLs) > 0 && (len(rule.Resources) > 0 || len(rule.Namespaces) > 0) {
			return nil, fmt.Errorf("audit policy %s: rules[%d]: rules cannot apply to both regular resources and non-resource URLs", file, i)
		}
	}
	return policy, nil
}

var stages = []auditv1.Stage{auditv1.StageRequestReceived, auditv1.StageResponseStarted, auditv1.StageResponseComplete, auditv1.StagePanic}

func badStage(list []auditv1.Stage) auditv1.Stage {
	for _, s := range list {
		if !slices.Contains(stages, s) {
			return s
		}
	}
	return ""
}

// verdict is what the policy says about one request.
type verdict struct {
	level       auditv1.Level
	omit        []auditv1.Stage
	omitManaged bool
}

// judge finds the first rule that matches.
func judge(p *auditv1.Policy, user *request.User, info *request.Info) verdict {
	for i := range p.Rules {
		rule := &p.Rules[i]
		if !matches(rule, user, info) {
			continue
		}
		v := verdict{level: rule.Level, omit: append(slices.Clone(p.OmitStages), rule.OmitStages...), omitManaged: p.OmitManagedFields}
		if rule.OmitManagedFields != nil {
			v.omitManaged = *rule.OmitManagedFields
		}
		return v
	}
	return verdict{level: auditv1.LevelNone}
}

func matches(rule *auditv1.PolicyRule, user *request.User, info *request.Info) bool {
	if len(rule.Users) > 0 && (user == nil || !slices.Contains(rule.Users, user.Name)) {
		return false
	}
	if len(rule.UserGroups) > 0 && (user == nil || !slices.ContainsFunc(user.Groups, func(g string) bool { return slices.Contains(rule.UserGroups, g) })) {
		return false
	}
	if len(rule.Verbs) > 0 && !slices.Contains(rule.Verbs, info.Verb) {
		return false
	}
	switch {
	case len(rule.Namespaces) > 0 || len(rule.Resources) > 0:
		return info.IsResource && (len(rule.Namespaces) == 0 || slices.Contains(rule.Namespaces, info.Namespace)) &&
			(len(rule.Resources) == 0 || slices.ContainsFunc(rule.Resources, func(g auditv1.GroupResources) bool { return matchesResource(g, info) }))
	case len(rule.NonResourceURLs) > 0:
		return !info.IsResource && slices.ContainsFunc(rule.NonResourceURLs, func(path string) bool {
			prefix, wild := strings.CutSuffix(path, "*")
			return wild && strings.HasPrefix(info.Path, prefix) || path == info.Path
		})
	}
	return true
}

func matchesResource(g auditv1.GroupResources, info *request.Info) bool {
	if g.Group != info.Group {
		return false
	}
	if len(g.Resources) == 0 {
		return true
	}
	if len(g.ResourceNames) > 0 && !slices.Contains(g.ResourceNames, info.Name) {
		return false
	}
	return slices.ContainsFunc(g.Resources, func(r string) bool {
		switch {
		case info.Subresource == "":
			return r == info.Resource || r == "*"
		case r == "*", r == info.Resource+"/"+info.Subresource, r == info.Resource+"/*", r == "*/"+info.Subresource:
			return true
		}
		return false
	})
}

// everything is the policy without a file: metadata of all requests.
func everything() *auditv1.Policy {
	return &auditv1.Policy{TypeMeta: metav1.TypeMeta{APIVersion: auditv1.SchemeGroupVersion.String(), Kind: "Policy"},
		Rules: []auditv1.PolicyRule{{Level: auditv1.LevelMetadata}}}
}
