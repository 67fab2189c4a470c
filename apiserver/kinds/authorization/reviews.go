package authorization

import (
	"context"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// The four questions: may somebody, may somebody in this namespace, may I, and what may I.
var (
	SubjectAccessReview      = kinds.DefineVirtual("subjectaccessreviews", kinds.Cluster, validateSubject, reviewSubject)
	LocalSubjectAccessReview = kinds.DefineVirtual("localsubjectaccessreviews", kinds.Namespaced, validateLocal, reviewLocal)
	SelfSubjectAccessReview  = kinds.DefineVirtual("selfsubjectaccessreviews", kinds.Cluster, validateSelf, reviewSelf)
	SelfSubjectRulesReview   = kinds.DefineVirtual("selfsubjectrulesreviews", kinds.Cluster, nil, reviewRules)
)

func reviewSubject(ctx context.Context, store kinds.Store, _ *kinds.Request, _ string, r *authorizationv1.SubjectAccessReview) (runtime.Object, error) {
	status, err := decide(ctx, store, subject(&r.Spec), r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
	r.Status = status
	return r, err
}

func reviewLocal(ctx context.Context, store kinds.Store, _ *kinds.Request, namespace string, r *authorizationv1.LocalSubjectAccessReview) (runtime.Object, error) {
	if namespace != r.Spec.ResourceAttributes.Namespace {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("spec.resourceAttributes.namespace must match namespace: %v", namespace))
	}
	status, err := decide(ctx, store, subject(&r.Spec), r.Spec.ResourceAttributes, nil)
	r.Status = status
	return r, err
}

func reviewSelf(ctx context.Context, store kinds.Store, req *kinds.Request, _ string, r *authorizationv1.SelfSubjectAccessReview) (runtime.Object, error) {
	status, err := decide(ctx, store, req.User, r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
	r.Status = status
	return r, err
}

func reviewRules(ctx context.Context, store kinds.Store, req *kinds.Request, _ string, r *authorizationv1.SelfSubjectRulesReview) (runtime.Object, error) {
	if r.Spec.Namespace == "" {
		return nil, apierrors.NewBadRequest("no namespace on request")
	}
	authorizer, err := authorizerOf(store)
	if err != nil {
		return nil, err
	}
	resource, nonResource, incomplete, err := authorizer.RulesFor(ctx, req.User, r.Spec.Namespace)
	if resource == nil {
		resource = []authorizationv1.ResourceRule{}
	}
	if nonResource == nil {
		nonResource = []authorizationv1.NonResourceRule{}
	}
	// Upstream's answer does not repeat the question.
	answer := &authorizationv1.SelfSubjectRulesReview{TypeMeta: r.TypeMeta,
		Status: authorizationv1.SubjectRulesReviewStatus{ResourceRules: resource, NonResourceRules: nonResource, Incomplete: incomplete}}
	if err != nil {
		answer.Status.EvaluationError = err.Error()
	}
	return answer, nil
}

func subject(spec *authorizationv1.SubjectAccessReviewSpec) kinds.UserInfo {
	user := kinds.UserInfo{Name: spec.User, UID: spec.UID, Groups: spec.Groups}
	if len(spec.Extra) > 0 {
		user.Extra = make(map[string][]string, len(spec.Extra))
		for k, v := range spec.Extra {
			user.Extra[k] = v
		}
	}
	return user
}

func authorizerOf(store kinds.Store) (kinds.Authorizer, error) {
	authorizer, ok := store.Service(kinds.ServiceAuthorizer).(kinds.Authorizer)
	if !ok {
		return nil, apierrors.NewServiceUnavailable("no authorizer")
	}
	return authorizer, nil
}

func decide(ctx context.Context, store kinds.Store, user kinds.UserInfo, resource *authorizationv1.ResourceAttributes,
	path *authorizationv1.NonResourceAttributes) (authorizationv1.SubjectAccessReviewStatus, error) {
	authorizer, err := authorizerOf(store)
	if err != nil {
		return authorizationv1.SubjectAccessReviewStatus{}, err
	}
	access := kinds.Access{User: user}
	if resource != nil {
		access.Verb, access.Namespace, access.Name = resource.Verb, resource.Namespace, resource.Name
		access.Group, access.Version = resource.Group, resource.Version
		access.Resource, access.Subresource = resource.Resource, resource.Subresource
		access.FieldSelector, access.LabelSelector = resource.FieldSelector, resource.LabelSelector
	} else {
		access.NonResource, access.Verb, access.Path = true, path.Verb, path.Path
	}
	decision, reason, err := authorizer.Decide(ctx, access)
	status := authorizationv1.SubjectAccessReviewStatus{Allowed: decision == kinds.Allow, Denied: decision == kinds.Deny, Reason: reason}
	var wrong []string
	if err != nil {
		wrong = append(wrong, err.Error())
	}
	if resource != nil {
		wrong = append(wrong, selectorNotes(resource)...)
	}
	status.EvaluationError = strings.Join(wrong, "; ")
	return status, nil
}
