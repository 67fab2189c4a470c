package flowcontrol

import (
	"fmt"
	"math"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

// preserveZeroShares once told v1beta3 that zero shares are meant.
const preserveZeroShares = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares"

// mostQueues bounds the memory of a level.
const mostQueues = 10 * 1000 * 1000

func validateLevel(_ *kinds.Request, p *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	var l check.List
	if _, has := p.Annotations[preserveZeroShares]; has {
		l.Add(field.Forbidden(field.NewPath("metadata", "annotations"), fmt.Sprintf("annotation '%s' is forbidden", preserveZeroShares)))
	}
	levelSpec(&l, p)
	if fixed, ok := fixedLevels[p.Name]; ok {
		have, but := p.Spec, ""
		if p.Name == exempt {
			// How many seats the exempt take is an administrator's choice.
			have.Exempt, but = fixed.Exempt, " except the 'spec.exempt' field"
		}
		if !apiequality.Semantic.DeepEqual(have, fixed) {
			l.Add(field.Invalid(specPath, p.Spec, fmt.Sprintf("spec of '%s'%s must equal the fixed value", p.Name, but)))
		}
	}
	l.All(validateLevelStatus(nil, p, nil))
	return l.ErrorList
}

func validateLevelStatus(_ *kinds.Request, p, _ *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	types := make([]string, len(p.Status.Conditions))
	for i := range types {
		types[i] = string(p.Status.Conditions[i].Type)
	}
	return conditions(types)
}

func levelSpec(l *check.List, p *flowcontrolv1.PriorityLevelConfiguration) {
	spec, kind := &p.Spec, specPath.Child("type")
	if (p.Name == exempt) != (spec.Type == flowcontrolv1.PriorityLevelEnablementExempt) {
		l.Add(field.Invalid(kind, spec.Type, "must be 'Exempt' if and only if `name` is 'exempt'"))
	}
	switch spec.Type {
	case flowcontrolv1.PriorityLevelEnablementExempt:
		if e, at := spec.Exempt, specPath.Child("exempt"); e != nil {
			shares(l, e.NominalConcurrencyShares, at)
			lendable(l, e.LendablePercent, at)
		}
	case flowcontrolv1.PriorityLevelEnablementLimited:
		if spec.Limited == nil {
			l.Add(field.Required(specPath.Child("limited"), ""))
		} else {
			limited(l, spec.Limited, specPath.Child("limited"))
		}
	default:
		check.RequiredOneOf(l, kind, spec.Type, flowcontrolv1.PriorityLevelEnablementExempt, flowcontrolv1.PriorityLevelEnablementLimited)
	}
	if spec.Limited != nil && spec.Type != flowcontrolv1.PriorityLevelEnablementLimited {
		l.Add(field.Forbidden(specPath.Child("limited"), ""))
	}
	if spec.Exempt != nil && spec.Type != flowcontrolv1.PriorityLevelEnablementExempt {
		l.Add(field.Forbidden(specPath.Child("exempt"), ""))
	}
}

func shares(l *check.List, n *int32, at *field.Path) {
	if n != nil && *n < 0 {
		l.Add(field.Invalid(at.Child("nominalConcurrencyShares"), *n, "must be a non-negative integer"))
	}
}

func lendable(l *check.List, percent *int32, at *field.Path) {
	if percent != nil && (*percent < 0 || *percent > 100) {
		l.Add(field.Invalid(at.Child("lendablePercent"), *percent, "must be between 0 and 100, inclusive"))
	}
}

func limited(l *check.List, c *flowcontrolv1.LimitedPriorityLevelConfiguration, at *field.Path) {
	shares(l, c.NominalConcurrencyShares, at)
	response, r := at.Child("limitResponse"), &c.LimitResponse
	queues := response.Child("queuing")
	switch r.Type {
	case flowcontrolv1.LimitResponseTypeReject:
	case flowcontrolv1.LimitResponseTypeQueue:
		if r.Queuing == nil {
			l.Add(field.Required(queues, ""))
		} else {
			queued(l, r.Queuing, queues)
		}
	default:
		check.RequiredOneOf(l, response.Child("type"), r.Type, flowcontrolv1.LimitResponseTypeQueue, flowcontrolv1.LimitResponseTypeReject)
	}
	if r.Queuing != nil && r.Type != flowcontrolv1.LimitResponseTypeQueue {
		l.Add(field.Forbidden(queues, ""))
	}
	lendable(l, c.LendablePercent, at)
	if p := c.BorrowingLimitPercent; p != nil && *p < 0 {
		l.Add(field.Invalid(at.Child("borrowingLimitPercent"), *p, "if specified, must be a non-negative integer"))
	}
}

func queued(l *check.List, q *flowcontrolv1.QueuingConfiguration, at *field.Path) {
	positive := func(name string, n int32) bool {
		if n <= 0 {
			l.Add(field.Invalid(at.Child(name), n, "must be positive"))
		}
		return n > 0
	}
	positive("queueLengthLimit", q.QueueLengthLimit)
	if positive("queues", q.Queues) && q.Queues > mostQueues {
		l.Add(field.Invalid(at.Child("queues"), q.Queues, fmt.Sprintf("must not be greater than %d", mostQueues)))
	}
	if !positive("handSize", q.HandSize) {
		return
	}
	if q.HandSize > q.Queues {
		l.Add(field.Invalid(at.Child("handSize"), q.HandSize, fmt.Sprintf("should not be greater than queues (%d)", q.Queues)))
	} else if entropyBits(q.Queues, q.HandSize) > hashBits {
		l.Add(field.Invalid(at.Child("handSize"), q.HandSize,
			fmt.Sprintf("required entropy bits of deckSize %d and handSize %d should not be greater than %d", q.Queues, q.HandSize, hashBits)))
	}
}

// hashBits are the bits of a flow's hash that hands are dealt from.
const hashBits = 60

// entropyBits are at most the bits that dealing a hand from a deck takes.
func entropyBits(deck, hand int32) int {
	return int(math.Ceil(math.Log2(float64(deck)) * float64(hand)))
}
