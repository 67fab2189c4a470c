package admissionregistration

import (
	"strings"

	"github.com/google/cel-go/cel"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apicel "k8s.io/apiserver/pkg/cel"

	"github.com/skiff-project/skiff/apiserver/expression"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

// mostMatchConditions is upstream's limit.
const mostMatchConditions = 64

// known are the expressions of the object before an update: they were accepted once.
type known = sets.Set[string]

// Results that expressions have.
var (
	condition  = []*cel.Type{cel.BoolType}
	message    = []*cel.Type{cel.StringType}
	annotation = []*cel.Type{cel.StringType, cel.NullType}
	applied    = []*cel.Type{cel.ObjectType("Object")}
	patched    = []*cel.Type{cel.ListType(cel.ObjectType("JSONPatch"))}
)

// compile reports what is wrong with an expression. shown is the text that the error shows.
func compile(l *check.List, c *expression.Compiler, text, shown string, results []*cel.Type, scope expression.Scope, stored bool, at *field.Path) {
	c.Stored(stored)
	l.Add(celError(at, shown, c.Compile(text, scope, results...).Err))
}

func celError(at *field.Path, text string, err *apicel.Error) *field.Error {
	switch {
	case err == nil:
		return nil
	case err.Type == apicel.ErrorTypeRequired:
		return field.Required(at, err.Detail)
	case err.Type == apicel.ErrorTypeInvalid:
		return field.Invalid(at, text, err.Detail)
	default:
		return field.InternalError(at, err)
	}
}

func matchConditions(l *check.List, list []admissionv1.MatchCondition, params bool, old known, at *field.Path) {
	if len(list) > mostMatchConditions {
		l.Add(field.TooMany(at, len(list), mostMatchConditions))
	}
	names := map[string]bool{}
	plain := expression.NewCompiler(false)
	for i := range list {
		m, at := &list[i], at.Index(i)
		if text := strings.TrimSpace(m.Expression); l.Require(at.Child("expression"), text) {
			compile(l, plain, text, text, condition, expression.Scope{Params: params, Authorizer: true}, old.Has(text), at.Child("expression"))
		}
		if !l.Require(at.Child("name"), m.Name) {
			continue
		}
		l.Qualified(at.Child("name"), m.Name)
		if names[m.Name] {
			l.Add(field.Duplicate(at.Child("name"), m.Name))
		}
		names[m.Name] = true
	}
}

func conditionTexts(into known, list []admissionv1.MatchCondition) {
	for i := range list {
		into.Insert(list[i].Expression)
	}
}

// variables declares a policy's variables, in order, so that each may use those before it.
func variables(l *check.List, c *expression.Compiler, list []admissionv1.Variable, params bool, old known, at *field.Path) {
	for i := range list {
		v, at := &list[i], at.Index(i)
		if strings.TrimSpace(v.Name) == "" {
			l.Add(field.Required(at.Child("name"), "name is not specified"))
		} else if !identifier(v.Name) {
			l.Add(field.Invalid(at.Child("name"), v.Name, "must be a valid CEL identifier"))
		}
		if strings.TrimSpace(v.Expression) == "" {
			l.Add(field.Required(at.Child("expression"), "expression is not specified"))
		} else {
			c.Stored(old.Has(v.Expression))
			l.Add(celError(at.Child("expression"), v.Expression, c.Variable(v.Name, v.Expression, expression.Scope{Params: params, Authorizer: true}).Err))
		}
	}
}

// keywords of CEL cannot be names.
var keywords = sets.New("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if",
	"import", "let", "loop", "package", "namespace", "return", "var", "void", "while")

func identifier(name string) bool {
	for i, r := range name {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != "" && !keywords.Has(name)
}
