package apiextensions

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	apicel "k8s.io/apiserver/pkg/cel"

	"github.com/skiff-project/skiff/apiserver/expression"
)

// What rules may cost by upstream's estimate: one, and all of a schema.
const (
	costliestRule   = 10000000
	costliestSchema = 100000000
)

// celScope is what the compiler knows about a schema from those above it: types, and how often an object can contain what
// the schema describes.
type celScope struct {
	schema *apiextensions.JSONSchemaProps
	parent *celScope
	pick   func(parent *celTypes) *celTypes // the schema's types among the parent's
	ruled  bool                             // some schema above, or this, has rules
	count  uint64                           // how often; valid if bounded
	bound  bool
	cost   *totalCost

	types *celTypes
	err   error
}

type celTypes struct {
	schema *structuralschema.Structural
	decl   *apicel.DeclType
}

func rootScope(s *apiextensions.JSONSchemaProps) *celScope {
	return &celScope{schema: s, ruled: len(s.XValidations) > 0, count: 1, bound: true, cost: &totalCost{}}
}

func (c *celScope) child(s *apiextensions.JSONSchemaProps, pick func(*celTypes) *celTypes) *celScope {
	if c == nil {
		return nil
	}
	out := &celScope{schema: s, parent: c, pick: pick, ruled: c.ruled || s != nil && len(s.XValidations) > 0, cost: c.cost}
	if c.schema == nil || !c.bound {
		return out
	}
	if most, ok := elements(c.schema); ok {
		out.count, out.bound = times(c.count, most), true
	}
	return out
}

// elements is how many of what is below a schema there can be in one value.
func elements(s *apiextensions.JSONSchemaProps) (most uint64, bounded bool) {
	limit := func(n *int64) (uint64, bool) {
		if n == nil {
			return 0, false
		}
		return uint64(max(*n, 0)), true
	}
	switch {
	case s.Type == "object" && s.AdditionalProperties != nil:
		return limit(s.MaxProperties)
	case s.Type == "array":
		return limit(s.MaxItems)
	}
	return 1, true
}

// times multiplies; too much is the most there is.
func times(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	if high != 0 {
		return math.MaxUint64
	}
	return low
}

func (c *celScope) property(s *apiextensions.JSONSchemaProps, name string) *celScope {
	return c.child(s, func(p *celTypes) *celTypes {
		schema := p.schema.Properties[name]
		// Fields of unknown types, and names that cannot be written, are left out of CEL altogether.
		if escaped, ok := apicel.Escape(name); ok {
			if f, ok := p.decl.Fields[escaped]; ok {
				return &celTypes{&schema, f.Type}
			}
		}
		return nil
	})
}

func (c *celScope) items(s *apiextensions.JSONSchemaProps) *celScope {
	return c.child(s, func(p *celTypes) *celTypes {
		if p.schema.Items == nil {
			return nil
		}
		return &celTypes{p.schema.Items, p.decl.ElemType}
	})
}

func (c *celScope) values(s *apiextensions.JSONSchemaProps) *celScope {
	return c.child(s, func(p *celTypes) *celTypes {
		if p.schema.AdditionalProperties == nil {
			return nil
		}
		return &celTypes{p.schema.AdditionalProperties.Structural, p.decl.ElemType}
	})
}

// find makes the types once, from the parent's where it can. Nil without rules.
func (c *celScope) find() (*celTypes, error) {
	if c == nil || !c.ruled {
		return nil, nil
	}
	if c.types != nil || c.err != nil {
		return c.types, c.err
	}
	above, err := c.parent.find()
	if err != nil {
		c.err = err
		return nil, err
	}
	if above != nil && c.pick != nil {
		if c.types = c.pick(above); c.types != nil {
			return c.types, nil
		}
	}
	structural, err := structuralschema.NewStructural(c.schema)
	if err != nil {
		c.err = err
		return nil, err
	}
	decl := model.SchemaDeclType(structural, c.parent == nil || c.schema.XEmbeddedResource)
	if decl == nil {
		c.err = errors.New("unable to convert structural schema to CEL declarations")
		return nil, c.err
	}
	c.types = &celTypes{structural, decl}
	return c.types, nil
}

// totalCost sums the rules of a schema up.
type totalCost struct {
	sum   uint64
	worst []ruleCost
}

type ruleCost struct {
	at   *field.Path
	cost uint64
}

func (t *totalCost) add(at *field.Path, cost uint64) {
	var over uint64
	if t.sum, over = bits.Add64(t.sum, cost, 0); over != 0 {
		t.sum = math.MaxUint64
	}
	// What is less than a hundredth of the limit is not worth a word, and the four worst are enough.
	if cost < costliestSchema/100 {
		return
	}
	t.worst = append(t.worst, ruleCost{at, cost})
	slices.SortStableFunc(t.worst, func(a, b ruleCost) int { return cmp.Compare(b.cost, a.cost) })
	t.worst = t.worst[:min(len(t.worst), 4)]
}

func (t *totalCost) exceeded(at *field.Path) field.ErrorList {
	if t.sum <= costliestSchema {
		return nil
	}
	var errs field.ErrorList
	for _, w := range t.worst {
		errs = append(errs, field.Forbidden(w.at, "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"))
	}
	return append(errs, tooCostly(at, "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema", t.sum, costliestSchema))
}

func tooCostly(at *field.Path, what string, cost, limit uint64) *field.Error {
	factor := float64(cost) / float64(limit)
	text := fmt.Sprintf("%.1fx", factor)
	switch {
	case factor > 100:
		text = "more than 100x"
	case factor < 1.5:
		text = fmt.Sprintf("%fx", factor) // 1.0x would say nothing
	}
	return field.Forbidden(at, what+" exceeds budget by factor of "+text+
		" (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)")
}

// compile checks the expressions of a schema's rules.
func (w *schemaWalker) compile(s *apiextensions.JSONSchemaProps, at *field.Path, here place, scope *celScope) field.ErrorList {
	types, err := scope.find()
	if err != nil {
		return field.ErrorList{field.InternalError(at, fmt.Errorf("internal error: failed to construct type information for x-kubernetes-validations rules: %s", err))}
	}
	if types == nil {
		return field.ErrorList{field.InternalError(at, errors.New("internal error: failed to retrieve type information for x-kubernetes-validations"))}
	}
	results, err := cel.Compile(types.schema, types.decl, celconfig.PerCallLimit, expression.Base(), w.known)
	if err != nil {
		return field.ErrorList{field.InternalError(at, err)}
	}
	var errs field.ErrorList
	for i, r := range results {
		rule, at := &s.XValidations[i], at.Index(i)
		cost := times(r.MaxCost, r.MaxCardinality)
		if scope.bound {
			cost = times(r.MaxCost, scope.count)
		}
		if !w.unchanged && cost > costliestRule {
			errs = append(errs, tooCostly(at.Child("rule"), "estimated rule cost", cost, costliestRule))
		}
		scope.cost.add(at.Child("rule"), cost)
		switch {
		case r.Error == nil:
		case r.Error.Type == apicel.ErrorTypeRequired:
			errs = append(errs, field.Required(at.Child("rule"), r.Error.Detail))
		default:
			errs = append(errs, field.Invalid(at.Child("rule"), *rule, r.Error.Detail))
		}
		if r.MessageExpressionError != nil {
			errs = append(errs, field.Invalid(at.Child("messageExpression"), *rule, r.MessageExpressionError.Detail))
		} else if r.MessageExpression != nil {
			if !w.unchanged && r.MessageExpressionMaxCost > costliestRule {
				errs = append(errs, tooCostly(at.Child("messageExpression"), "estimated messageExpression cost", r.MessageExpressionMaxCost, costliestRule))
			}
			scope.cost.add(at.Child("messageExpression"), r.MessageExpressionMaxCost)
		}
		if r.UsesOldSelf {
			if here.uncorrelated != nil {
				errs = append(errs, field.Invalid(at.Child("rule"), rule.Rule, fmt.Sprintf("oldSelf cannot be used on the uncorrelatable portion of the schema within %v", here.uncorrelated)))
			}
		} else if rule.OptionalOldSelf != nil {
			errs = append(errs, field.Invalid(at.Child("optionalOldSelf"), *rule.OptionalOldSelf, "may not be set if oldSelf is not used in rule"))
		}
	}
	return errs
}
