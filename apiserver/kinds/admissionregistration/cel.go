package admissionregistration

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/cel-go/cel"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apicel "k8s.io/apiserver/pkg/cel"

	"github.com/skiff-project/skiff/apiserver/expressions"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

// mostMatchConditions is upstream's limit.
const mostMatchConditions = 64

// known are the expressions of the object before an update: they were accepted once.
type known = sets.Set[string]

// compile reports what is wrong with an expression. shown is the text that the error shows.
func compile(l *check.List, c *expressions.Compiler, text, shown string, results []*cel.Type, v expressions.Vocabulary, stored bool, at *field.Path) {
	if _, err := c.Compile(text, results, v, stored); err != nil {
		l.Add(celError(at, shown, err))
	}
}

func celError(at *field.Path, text string, err error) *field.Error {
	var wrong *apicel.Error
	switch {
	case !errors.As(err, &wrong):
		return field.InternalError(at, fmt.Errorf("unsupported error type: %w", err))
	case wrong.Type == apicel.ErrorTypeRequired:
		return field.Required(at, wrong.Detail)
	case wrong.Type == apicel.ErrorTypeInvalid:
		return field.Invalid(at, text, wrong.Detail)
	default:
		return field.InternalError(at, wrong)
	}
}

// plain compiles expressions that use no variables.
var plain, _ = expressions.New(false)

func matchConditions(l *check.List, list []admissionv1.MatchCondition, params bool, old known, at *field.Path) {
	if len(list) > mostMatchConditions {
		l.Add(field.TooMany(at, len(list), mostMatchConditions))
	}
	names := map[string]bool{}
	for i := range list {
		m, at := &list[i], at.Index(i)
		if text := strings.TrimSpace(m.Expression); l.Require(at.Child("expression"), text) {
			compile(l, plain, text, text, expressions.Condition, expressions.Vocabulary{Params: params, Authorizer: true}, old.Has(text), at.Child("expression"))
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
func variables(l *check.List, c *expressions.Compiler, list []admissionv1.Variable, params bool, old known, at *field.Path) {
	for i := range list {
		v, at := &list[i], at.Index(i)
		if strings.TrimSpace(v.Name) == "" {
			l.Add(field.Required(at.Child("name"), "name is not specified"))
		} else if !identifier(v.Name) {
			l.Add(field.Invalid(at.Child("name"), v.Name, "must be a valid CEL identifier"))
		}
		if strings.TrimSpace(v.Expression) == "" {
			l.Add(field.Required(at.Child("expression"), "expression is not specified"))
		} else if _, err := c.Declare(v.Name, v.Expression, expressions.Vocabulary{Params: params, Authorizer: true}, old.Has(v.Expression)); err != nil {
			l.Add(celError(at.Child("expression"), v.Expression, err))
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
