package flowcontrol

import (
	"testing"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/kindtest"
)

const everybody = `subjects: [{kind: Group, group: {name: g}}], nonResourceRules: [{verbs: ["*"], nonResourceURLs: ["*"]}]`

func TestFlowSchemas(t *testing.T) {
	kindtest.Run(t, FlowSchema, "mine", []kindtest.Case{
		{Name: "one rule", Object: `spec: {priorityLevelConfiguration: {name: l}, rules: [{` + everybody + `}]}`},
		{Name: "no level", Object: `spec: {}`, Want: []string{"must reference a priority level"}},
		{Name: "before everybody else", Object: `spec: {matchingPrecedence: 1, priorityLevelConfiguration: {name: l}}`, Want: []string{"only the schema named 'exempt' may have matchingPrecedence 1"}},
		{Name: "a user who is a group", Object: `spec: {priorityLevelConfiguration: {name: l}, rules: [{subjects: [{kind: User, group: {name: g}}], nonResourceRules: [{verbs: [get], nonResourceURLs: [/]}]}]}`,
			Want: []string{"user is required when subject kind is 'User'", "group is forbidden when subject kind is not 'Group'"}},
		{Name: "no namespace and not of the cluster", Object: `spec: {priorityLevelConfiguration: {name: l}, rules: [{subjects: [{kind: Group, group: {name: g}}], resourceRules: [{verbs: [get], apiGroups: [""], resources: [pods]}]}]}`,
			Want: []string{"must supply at least one namespace"}},
		{Name: "a star inside a path", Object: `spec: {priorityLevelConfiguration: {name: l}, rules: [{subjects: [{kind: Group, group: {name: g}}], nonResourceRules: [{verbs: [get], nonResourceURLs: [/a*]}]}]}`,
			Want: []string{"wildcard can only do suffix matching"}},
	})
	kindtest.Run(t, FlowSchema, "exempt", []kindtest.Case{
		{Name: "what is fixed", Object: `spec: {matchingPrecedence: 1, priorityLevelConfiguration: {name: exempt}}`, Want: []string{"spec of 'exempt' must equal the fixed value"}},
	})
}

func TestPriorityLevels(t *testing.T) {
	kindtest.Run(t, PriorityLevelConfiguration, "mine", []kindtest.Case{
		{Name: "queues", Object: `spec: {type: Limited, limited: {limitResponse: {type: Queue, queuing: {}}}}`},
		{Name: "exempt, by another name", Object: `spec: {type: Exempt}`, Want: []string{"must be 'Exempt' if and only if `name` is 'exempt'"}},
		{Name: "limited, and not how", Object: `spec: {type: Limited}`, Want: []string{"spec.limited: Required value"}},
		{Name: "queues that nobody waits in", Object: `spec: {type: Limited, limited: {limitResponse: {type: Reject, queuing: {}}}}`, Want: []string{"queuing: Forbidden"}},
		{Name: "a hand that no hash can deal", Object: `spec: {type: Limited, limited: {limitResponse: {type: Queue, queuing: {queues: 512, handSize: 8}}}}`,
			Want: []string{"required entropy bits of deckSize 512 and handSize 8 should not be greater than 60"}},
	})
	kindtest.Run(t, PriorityLevelConfiguration, "exempt", []kindtest.Case{
		{Name: "seats of the exempt are a choice", Object: `spec: {type: Exempt, exempt: {nominalConcurrencyShares: 5}}`},
	})
}
