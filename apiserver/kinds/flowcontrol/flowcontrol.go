package flowcontrol

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/fill"
)

// FlowSchema sorts requests into flows.
var FlowSchema = kinds.Define(kinds.Row[*flowcontrolv1.FlowSchema]{
	Resource: "flowschemas", StatusResetsMeta: true, StatusResets: []string{"metadata", "spec"},
	Default:  func(f *flowcontrolv1.FlowSchema) { fill.Empty(&f.Spec.MatchingPrecedence, 1000) },
	Validate: validateSchema, Revalidate: true, ValidateStatus: validateSchemaStatus,
	Columns: []kinds.Column[*flowcontrolv1.FlowSchema]{
		kinds.NameColumn[*flowcontrolv1.FlowSchema](),
		{Name: "PriorityLevel", Description: kinds.Doc(flowcontrolv1.PriorityLevelConfigurationReference{}, "name"),
			Cell: func(f *flowcontrolv1.FlowSchema) any { return f.Spec.PriorityLevelConfiguration.Name }},
		{Name: "MatchingPrecedence", Description: kinds.Doc(flowcontrolv1.FlowSchemaSpec{}, "matchingPrecedence"),
			Cell: func(f *flowcontrolv1.FlowSchema) any { return int64(f.Spec.MatchingPrecedence) }},
		{Name: "DistinguisherMethod", Description: kinds.Doc(flowcontrolv1.FlowSchemaSpec{}, "distinguisherMethod"),
			Cell: func(f *flowcontrolv1.FlowSchema) any {
				if f.Spec.DistinguisherMethod == nil {
					return "<none>"
				}
				return string(f.Spec.DistinguisherMethod.Type)
			}},
		kinds.AgeColumn[*flowcontrolv1.FlowSchema](),
		{Name: "MissingPL", Description: "references a broken or non-existent PriorityLevelConfiguration", Cell: dangling},
	},
})

// dangling shows whether the level that a schema names is missing.
func dangling(f *flowcontrolv1.FlowSchema) any {
	for _, c := range f.Status.Conditions {
		if c.Type == flowcontrolv1.FlowSchemaConditionDangling {
			return string(c.Status)
		}
	}
	return "?"
}

// PriorityLevelConfiguration bounds what the requests of its flows may take.
var PriorityLevelConfiguration = kinds.Define(kinds.Row[*flowcontrolv1.PriorityLevelConfiguration]{
	Resource: "prioritylevelconfigurations", StatusResetsMeta: true, StatusResets: []string{"spec", "metadata"},
	Default: defaultLevel, Validate: validateLevel, Revalidate: true, ValidateStatus: validateLevelStatus,
	Columns: []kinds.Column[*flowcontrolv1.PriorityLevelConfiguration]{
		kinds.NameColumn[*flowcontrolv1.PriorityLevelConfiguration](),
		{Name: "Type", Description: kinds.Doc(flowcontrolv1.PriorityLevelConfigurationSpec{}, "type"),
			Cell: func(p *flowcontrolv1.PriorityLevelConfiguration) any { return string(p.Spec.Type) }},
		{Name: "NominalConcurrencyShares", Description: kinds.Doc(flowcontrolv1.LimitedPriorityLevelConfiguration{}, "nominalConcurrencyShares"),
			Cell: func(p *flowcontrolv1.PriorityLevelConfiguration) any {
				if p.Spec.Limited == nil || p.Spec.Limited.NominalConcurrencyShares == nil {
					return "<none>"
				}
				return *p.Spec.Limited.NominalConcurrencyShares
			}},
		{Name: "Queues", Description: kinds.Doc(flowcontrolv1.QueuingConfiguration{}, "queues"),
			Cell: queuing(func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.Queues })},
		{Name: "HandSize", Description: kinds.Doc(flowcontrolv1.QueuingConfiguration{}, "handSize"),
			Cell: queuing(func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.HandSize })},
		{Name: "QueueLengthLimit", Description: kinds.Doc(flowcontrolv1.QueuingConfiguration{}, "queueLengthLimit"),
			Cell: queuing(func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.QueueLengthLimit })},
		kinds.AgeColumn[*flowcontrolv1.PriorityLevelConfiguration](),
	},
})

// queuing shows a number of the queues of a level, if it has any.
func queuing(number func(*flowcontrolv1.QueuingConfiguration) int32) func(*flowcontrolv1.PriorityLevelConfiguration) any {
	return func(p *flowcontrolv1.PriorityLevelConfiguration) any {
		if p.Spec.Limited == nil || p.Spec.Limited.LimitResponse.Queuing == nil {
			return "<none>"
		}
		return number(p.Spec.Limited.LimitResponse.Queuing)
	}
}

func defaultLevel(p *flowcontrolv1.PriorityLevelConfiguration) {
	if e := p.Spec.Exempt; e != nil {
		fill.Nil(&e.NominalConcurrencyShares, 0)
		fill.Nil(&e.LendablePercent, 0)
	}
	if l := p.Spec.Limited; l != nil {
		fill.Nil(&l.NominalConcurrencyShares, 30)
		fill.Nil(&l.LendablePercent, 0)
		if q := l.LimitResponse.Queuing; q != nil {
			fill.Empty(&q.HandSize, 8)
			fill.Empty(&q.Queues, 64)
			fill.Empty(&q.QueueLengthLimit, 50)
		}
	}
}
