package fairness

import (
	"slices"
	"sort"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiff-project/skiff/apiserver/request"
)

// schema is a FlowSchema, ready to be matched.
type schema struct {
	name, level string
	uid         types.UID
	by          flowcontrolv1.FlowDistinguisherMethodType
	rules       []flowcontrolv1.PolicyRulesWithSubjects
}

const (
	levelExempt   = "exempt"
	levelCatchAll = "catch-all"
)

// withMandatory adds the two levels that must always exist, as upstream does while their objects do not.
func withMandatory(levels []*flowcontrolv1.PriorityLevelConfiguration) []*flowcontrolv1.PriorityLevelConfiguration {
	has := func(name string) bool {
		return slices.ContainsFunc(levels, func(l *flowcontrolv1.PriorityLevelConfiguration) bool { return l.Name == name })
	}
	levels = slices.Clone(levels)
	if !has(levelExempt) {
		levels = append(levels, &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: metav1.ObjectMeta{Name: levelExempt},
			Spec: flowcontrolv1.PriorityLevelConfigurationSpec{Type: flowcontrolv1.PriorityLevelEnablementExempt}})
	}
	if !has(levelCatchAll) {
		five := int32(5)
		levels = append(levels, &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: metav1.ObjectMeta{Name: levelCatchAll},
			Spec: flowcontrolv1.PriorityLevelConfigurationSpec{Type: flowcontrolv1.PriorityLevelEnablementLimited,
				Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{NominalConcurrencyShares: &five,
					LimitResponse: flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeReject}}}})
	}
	return levels
}

// sortSchemas orders by precedence, then name, and adds what catches the rest. A schema whose level does not exist
// matches nothing.
func sortSchemas(in []*flowcontrolv1.FlowSchema, levels map[string]*level) []schema {
	in = slices.Clone(in)
	sort.SliceStable(in, func(i, j int) bool {
		if a, b := in[i].Spec.MatchingPrecedence, in[j].Spec.MatchingPrecedence; a != b {
			return a < b
		}
		return in[i].Name < in[j].Name
	})
	masters := schema{name: levelExempt, level: levelExempt, rules: []flowcontrolv1.PolicyRulesWithSubjects{{
		Subjects:         []flowcontrolv1.Subject{{Kind: flowcontrolv1.SubjectKindGroup, Group: &flowcontrolv1.GroupSubject{Name: "system:masters"}}},
		ResourceRules:    []flowcontrolv1.ResourcePolicyRule{{Verbs: all, APIGroups: all, Resources: all, ClusterScope: true, Namespaces: all}},
		NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{{Verbs: all, NonResourceURLs: all}},
	}}}
	var out []schema
	for _, fs := range in {
		s := schema{name: fs.Name, uid: fs.UID, level: fs.Spec.PriorityLevelConfiguration.Name, rules: fs.Spec.Rules}
		if levels[s.level] == nil {
			continue
		}
		if m := fs.Spec.DistinguisherMethod; m != nil {
			s.by = m.Type
		}
		out = append(out, s)
	}
	if !slices.ContainsFunc(out, func(s schema) bool { return s.name == levelExempt }) {
		out = append([]schema{masters}, out...)
	}
	return append(out, schema{name: levelCatchAll, level: levelCatchAll, by: flowcontrolv1.FlowDistinguisherMethodByUserType})
}

var all = []string{"*"}

// classify finds the schema of a request. The last one takes all.
func (g *Gate) classify(r Request) *schema {
	last := len(g.schemas) - 1
	for i := range g.schemas[:last] {
		if g.schemas[i].matches(r) {
			return &g.schemas[i]
		}
	}
	return &g.schemas[last]
}

// flow tells requests of one schema apart.
func (s *schema) flow(r Request) string {
	switch s.by {
	case flowcontrolv1.FlowDistinguisherMethodByUserType:
		return r.User.Name
	case flowcontrolv1.FlowDistinguisherMethodByNamespaceType:
		return r.Info.Namespace
	}
	return ""
}

func (s *schema) matches(r Request) bool {
	for i := range s.rules {
		rule := &s.rules[i]
		if !slices.ContainsFunc(rule.Subjects, func(sub flowcontrolv1.Subject) bool { return isSubject(sub, r.User) }) {
			continue
		}
		if r.Info.IsResource {
			if slices.ContainsFunc(rule.ResourceRules, func(p flowcontrolv1.ResourcePolicyRule) bool { return isResource(&p, r.Info) }) {
				return true
			}
		} else if slices.ContainsFunc(rule.NonResourceRules, func(p flowcontrolv1.NonResourcePolicyRule) bool { return isPath(&p, r.Info) }) {
			return true
		}
	}
	return false
}

func isSubject(s flowcontrolv1.Subject, u *request.User) bool {
	switch {
	case s.User != nil:
		return s.User.Name == "*" || s.User.Name == u.Name
	case s.Group != nil:
		return s.Group.Name == "*" || slices.Contains(u.Groups, s.Group.Name)
	case s.ServiceAccount != nil:
		ns, name := s.ServiceAccount.Namespace, s.ServiceAccount.Name
		if name == "*" {
			return strings.HasPrefix(u.Name, "system:serviceaccount:"+ns+":")
		}
		return u.Name == "system:serviceaccount:"+ns+":"+name
	}
	return false
}

func isResource(p *flowcontrolv1.ResourcePolicyRule, i *request.Info) bool {
	resource := i.Resource
	if i.Subresource != "" {
		resource += "/" + i.Subresource
	}
	if !in(p.Verbs, i.Verb) || !in(p.APIGroups, i.Group) || !in(p.Resources, resource) {
		return false
	}
	if i.Namespace == "" || i.Resource == "namespaces" {
		return p.ClusterScope
	}
	return in(p.Namespaces, i.Namespace)
}

func isPath(p *flowcontrolv1.NonResourcePolicyRule, i *request.Info) bool {
	return in(p.Verbs, i.Verb) && slices.ContainsFunc(p.NonResourceURLs, func(path string) bool {
		if prefix, ok := strings.CutSuffix(path, "*"); ok {
			return strings.HasPrefix(i.Path, prefix)
		}
		return path == i.Path
	})
}

func in(list []string, s string) bool {
	return len(list) > 0 && list[0] == "*" || slices.Contains(list, s)
}
