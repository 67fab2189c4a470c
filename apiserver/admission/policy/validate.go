package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apicel "k8s.io/apiserver/pkg/apis/cel"

	"github.com/skiff-project/skiff/apiserver/admission"
	"github.com/skiff-project/skiff/apiserver/admission/match"
	"github.com/skiff-project/skiff/apiserver/expression"
	"github.com/skiff-project/skiff/apiserver/request"
)

// validation is one rule of a policy.
type validation struct {
	*expression.Program
	// words is the message where the rule computes it; nil otherwise.
	words   *expression.Program
	message string
	reason  metav1.StatusReason
}

// audit is a value for the audit log.
type audit struct {
	*expression.Program
	key string
}

func (c *compiled) compileValidations(spec *admissionv1.ValidatingAdmissionPolicySpec) {
	scope := expression.Scope{Params: spec.ParamKind != nil, Authorizer: true}
	for _, v := range spec.Validations {
		rule := validation{Program: c.compiler.Compile(v.Expression, scope, cel.BoolType), message: v.Message, reason: metav1.StatusReasonInvalid}
		if v.Reason != nil {
			rule.reason = *v.Reason
		}
		if v.MessageExpression != "" {
			rule.words = c.compiler.Compile(v.MessageExpression, expression.Scope{Params: scope.Params}, cel.StringType)
		}
		c.validations = append(c.validations, rule)
	}
	for _, a := range spec.AuditAnnotations {
		c.audits = append(c.audits, audit{c.compiler.Compile(a.ValueExpression, scope, cel.StringType, cel.NullType), a.Key})
	}
}

// denial is a rule that was broken, or could not be evaluated.
type denial struct {
	index   int
	message string
	reason  metav1.StatusReason
}

// refusal is the denial that the client is told of: the first one.
type refusal struct {
	policy, binding string
	denial
}

const (
	failureAnnotation = "validation.policy.admission.k8s.io/validation_failure"
	maxFailures       = 50
	maxAuditValue     = 10 * 1024
)

func (p *Policies) validate(ctx context.Context, a *admission.Attributes) error {
	if match.Exempt(a) {
		return nil
	}
	apps, failed, err := p.find(ctx, &p.validating, a)
	if err != nil {
		return err
	}
	var refusals []refusal
	for _, f := range failed {
		if f.policy.ignores {
			continue
		}
		r := refusal{policy: f.policy.name, denial: denial{message: f.err.Error(), reason: metav1.StatusReasonInvalid}}
		if f.binding != nil {
			r.binding = f.binding.name
		}
		refusals = append(refusals, r)
	}
	var noted []noted
	published := map[string][]string{}
	for i := range apps {
		app := &apps[i]
		denials, values := p.evaluate(ctx, a, app)
		for _, d := range denials {
			for _, action := range app.actions {
				switch action {
				case admissionv1.Deny:
					refusals = append(refusals, refusal{app.compiled.name, app.binding.name, d})
				case admissionv1.Warn:
					request.Warn(ctx, fmt.Sprintf("Validation failed for ValidatingAdmissionPolicy '%s' with binding '%s': %s", app.compiled.name, app.binding.name, d.message))
				case admissionv1.Audit:
					noted = append(noted, note(app, d))
				}
			}
		}
		for key, value := range values {
			key = app.compiled.name + "/" + key
			if !slices.Contains(published[key], value) {
				published[key] = append(published[key], value)
			}
		}
	}
	for key, values := range published {
		a.Annotate(key, strings.Join(values, ", "))
	}
	if len(noted) > 0 {
		if text, err := json.Marshal(noted[:min(len(noted), maxFailures)]); err == nil {
			a.Annotate(failureAnnotation, string(text))
		}
	}
	if len(refusals) == 0 {
		return nil
	}
	return refuse(a, refusals[0])
}

// noted is a broken rule as the audit log shows it; the names are upstream's.
type noted struct {
	Message           string                         `json:"message"`
	Policy            string                         `json:"policy"`
	Binding           string                         `json:"binding"`
	ExpressionIndex   int                            `json:"expressionIndex"`
	ValidationActions []admissionv1.ValidationAction `json:"validationActions"`
}

func note(app *application, d denial) noted {
	return noted{d.message, app.compiled.name, app.binding.name, d.index, app.actions}
}

func refuse(a *admission.Attributes, r refusal) error {
	message := fmt.Sprintf("ValidatingAdmissionPolicy '%s' denied request: %s", r.policy, r.message)
	if r.binding != "" {
		message = fmt.Sprintf("ValidatingAdmissionPolicy '%s' with binding '%s' denied request: %s", r.policy, r.binding, r.message)
	}
	status := admission.Forbidden(a, "%s", message)
	withReason(status, r.reason)
	status.ErrStatus.Details.Causes = append(status.ErrStatus.Details.Causes, metav1.StatusCause{Message: message})
	return status
}

// withReason gives a refusal the reason that the policy names, and the code that goes with it.
func withReason(status *apierrors.StatusError, reason metav1.StatusReason) {
	status.ErrStatus.Reason = reason
	switch reason {
	case metav1.StatusReasonForbidden:
		status.ErrStatus.Code = http.StatusForbidden
	case metav1.StatusReasonUnauthorized:
		status.ErrStatus.Code = http.StatusUnauthorized
	case metav1.StatusReasonRequestEntityTooLarge:
		status.ErrStatus.Code = http.StatusRequestEntityTooLarge
	default:
		status.ErrStatus.Code = http.StatusUnprocessableEntity
	}
}

// evaluate runs the rules of one application. Errors are denials, unless the policy ignores them.
func (p *Policies) evaluate(ctx context.Context, a *admission.Attributes, app *application) (denials []denial, values map[string]string) {
	broken := func(index int, err error) {
		if !app.ignores {
			denials = append(denials, denial{index, err.Error(), metav1.StatusReasonInvalid})
		}
	}
	in, err := p.input(a, app)
	if err != nil {
		broken(0, err)
		return denials, nil
	}
	meets, err := app.meets(ctx, in)
	if err != nil {
		broken(0, err)
	}
	if !meets {
		return denials, nil
	}
	run := app.compiler.Start(ctx, in, apicel.RuntimeCELCostBudget)
	for i := range app.validations {
		rule := &app.validations[i]
		value, err := run.Eval(rule.Program)
		switch {
		case err == expression.ErrBudget:
			broken(i, err)
			return denials, nil
		case err != nil:
			broken(i, err)
		case value != types.True:
			denials = append(denials, denial{i, rule.told(run), rule.reason})
		}
	}
	values = map[string]string{}
	for _, annotation := range app.audits {
		value, err := run.Eval(annotation.Program)
		if err != nil {
			broken(0, err)
			continue
		}
		if text, ok := value.Value().(string); ok {
			if text = strings.TrimSpace(text); text != "" {
				values[annotation.key] = text[:min(len(text), maxAuditValue)]
			}
		}
	}
	return denials, values
}

// told is what the client is told of a broken rule: the computed message if it is one line of bearable length, else the
// fixed one, else the expression.
func (v *validation) told(run *expression.Run) string {
	if v.words != nil {
		if value, err := run.Eval(v.words); err == nil {
			text, _ := value.Value().(string)
			text = strings.TrimSpace(text)
			if text != "" && len(text) <= apicel.MaxEvaluatedMessageExpressionSizeBytes && !strings.Contains(text, "\n") {
				return text
			}
		}
	}
	if text := strings.TrimSpace(v.message); text != "" {
		return text
	}
	return "failed expression: " + strings.TrimSpace(v.Text)
}
