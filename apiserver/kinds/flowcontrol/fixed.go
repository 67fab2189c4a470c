package flowcontrol

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/utils/ptr"
)

// exempt is the name of the schema and the level of requests that never wait, catchAll that of those that nobody else
// takes. Requests would be lost without them, so what they say is fixed.
const (
	exempt   = flowcontrolv1.FlowSchemaNameExempt
	catchAll = flowcontrolv1.FlowSchemaNameCatchAll
)

var fixedSchemas = map[string]flowcontrolv1.FlowSchemaSpec{
	exempt: {PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: exempt}, MatchingPrecedence: 1,
		Rules: allOf("system:masters")},
	catchAll: {PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: catchAll}, MatchingPrecedence: 10000,
		DistinguisherMethod: &flowcontrolv1.FlowDistinguisherMethod{Type: flowcontrolv1.FlowDistinguisherMethodByUserType},
		Rules:               allOf("system:unauthenticated", "system:authenticated")},
}

// allOf are the rules that match all requests of some groups.
func allOf(groups ...string) []flowcontrolv1.PolicyRulesWithSubjects {
	all := []string{everything}
	rule := flowcontrolv1.PolicyRulesWithSubjects{
		ResourceRules:    []flowcontrolv1.ResourcePolicyRule{{Verbs: all, APIGroups: all, Resources: all, Namespaces: all, ClusterScope: true}},
		NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{{Verbs: all, NonResourceURLs: all}},
	}
	for _, g := range groups {
		rule.Subjects = append(rule.Subjects, flowcontrolv1.Subject{Kind: flowcontrolv1.SubjectKindGroup, Group: &flowcontrolv1.GroupSubject{Name: g}})
	}
	return []flowcontrolv1.PolicyRulesWithSubjects{rule}
}

var fixedLevels = map[string]flowcontrolv1.PriorityLevelConfigurationSpec{
	exempt: {Type: flowcontrolv1.PriorityLevelEnablementExempt, Exempt: &flowcontrolv1.ExemptPriorityLevelConfiguration{
		NominalConcurrencyShares: ptr.To[int32](0), LendablePercent: ptr.To[int32](0)}},
	catchAll: {Type: flowcontrolv1.PriorityLevelEnablementLimited, Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{
		NominalConcurrencyShares: ptr.To[int32](5), LendablePercent: ptr.To[int32](0),
		LimitResponse: flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeReject}}},
}
