package server

import (
	"net/http"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fmt"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/request"
)

// Annotations of audit events that say what authorization found.
const (
	noteDecision = "authorization.k8s.io/decision"
	noteReason   = "authorization.k8s.io/reason"
)

func (s *Server) authorize(r *http.Request, state *request.State) error {
	access := accessOf(state)
	start := time.Now()
	decision, reason, err := s.cfg.Authz.Decide(r.Context(), access)
	s.access.authorized(decision, err, start)
	if decision == kinds.Allow {
		if s.cfg.Audit != nil {
			state.Note(noteDecision, "allow")
			state.Note(noteReason, reason)
		}
		return nil
	}
	if err != nil {
		s.cfg.Log.Debug("authorization", "user", access.User.Name, "err", err)
	}
	if s.cfg.Audit != nil {
		state.Note(noteDecision, "forbid")
		state.Note(noteReason, reason)
	}
	return Forbidden(access, reason)
}

func accessOf(state *request.State) kinds.Access {
	i := state.Info
	a := kinds.Access{User: *state.User, Verb: i.Verb}
	if !i.IsResource {
		a.NonResource, a.Path = true, i.Path
		return a
	}
	a.Namespace, a.Group, a.Version, a.Resource, a.Subresource, a.Name = i.Namespace, i.Group, i.Version, i.Resource, i.Subresource, i.Name
	a.FieldSelector, a.LabelSelector = fieldRequirements(i.FieldSelector), labelRequirements(i.LabelSelector)
	return a
}

// fieldRequirements are the parts of a selector that an authorizer may rely on. A selector that does not parse narrows
// nothing; the request is refused later for it.
func fieldRequirements(selector string) *authorizationv1.FieldSelectorAttributes {
	if selector == "" {
		return nil
	}
	parsed, err := fields.ParseSelector(selector)
	if err != nil || len(parsed.Requirements()) == 0 {
		return nil
	}
	out := &authorizationv1.FieldSelectorAttributes{}
	for _, req := range parsed.Requirements() {
		op := metav1.FieldSelectorOpIn
		if req.Operator == "!=" {
			op = metav1.FieldSelectorOpNotIn
		}
		out.Requirements = append(out.Requirements, metav1.FieldSelectorRequirement{Key: req.Field, Operator: op, Values: []string{req.Value}})
	}
	return out
}

func labelRequirements(selector string) *authorizationv1.LabelSelectorAttributes {
	if selector == "" {
		return nil
	}
	parsed, err := labels.Parse(selector)
	if err != nil {
		return nil
	}
	requirements, selectable := parsed.Requirements()
	if !selectable || len(requirements) == 0 {
		return nil
	}
	ops := map[string]metav1.LabelSelectorOperator{"in": metav1.LabelSelectorOpIn, "=": metav1.LabelSelectorOpIn, "==": metav1.LabelSelectorOpIn,
		"notin": metav1.LabelSelectorOpNotIn, "!=": metav1.LabelSelectorOpNotIn,
		"exists": metav1.LabelSelectorOpExists, "!": metav1.LabelSelectorOpDoesNotExist}
	out := &authorizationv1.LabelSelectorAttributes{}
	for _, req := range requirements {
		if op, ok := ops[string(req.Operator())]; ok {
			out.Requirements = append(out.Requirements, metav1.LabelSelectorRequirement{Key: req.Key(), Operator: op, Values: req.ValuesUnsorted()})
		}
	}
	return out
}

var sanitizer = strings.NewReplacer(`&`, "&amp;", `<`, "&lt;", `>`, "&gt;")

// Forbidden is the refusal of an access, in upstream's words, which clients and people match on.
func Forbidden(a kinds.Access, reason string) error {
	var text string
	resource := a.Resource
	if a.Subresource != "" {
		resource += "/" + a.Subresource
	}
	switch {
	case a.NonResource:
		text = fmt.Sprintf("User %q cannot %s path %q", a.User.Name, a.Verb, a.Path)
	case a.Namespace != "":
		text = fmt.Sprintf("User %q cannot %s resource %q in API group %q in the namespace %q", a.User.Name, a.Verb, resource, a.Group, a.Namespace)
	default:
		text = fmt.Sprintf("User %q cannot %s resource %q in API group %q at the cluster scope", a.User.Name, a.Verb, resource, a.Group)
	}
	text = sanitizer.Replace(text)
	if reason != "" {
		text += ": " + reason
	}
	return apierrors.NewForbidden(schema.GroupResource{Group: a.Group, Resource: a.Resource}, a.Name, fmt.Errorf("%s", text))
}
