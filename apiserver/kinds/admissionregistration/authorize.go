package admissionregistration

import (
	"context"
	"fmt"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// Parameters are read with the server's own rights and what is in them can show in messages, so only those may write a
// policy or a binding who may read its parameters. Like upstream, this is asked after everything else was found valid.

// reader asks whether a user may read parameters.
type reader struct {
	ctx   context.Context
	store kinds.Store
	req   *kinds.Request
}

// exempt users need no permission: they could give it to themselves.
func (r reader) exempt() bool { return slices.Contains(r.req.User.Groups, "system:masters") }

// target is the resource that a parameter kind means; "*" for what is not known.
func (r reader) target(k *admissionv1.ParamKind) (group, version, resource string, parse, resolve error) {
	gv, err := schema.ParseGroupVersion(k.APIVersion)
	if err != nil {
		return "*", "*", "*", err, nil
	}
	plural, _ := meta.UnsafeGuessKindToResource(gv.WithKind(k.Kind))
	if found := r.store.Kind(plural.GroupResource()); found != nil && found.GVK.Kind == k.Kind {
		return gv.Group, gv.Version, found.Resource, nil, nil
	}
	return gv.Group, gv.Version, "*", nil, fmt.Errorf("no resource for %s", gv.WithKind(k.Kind))
}

func (r reader) may(access kinds.Access) (bool, error) {
	authorizer, ok := r.store.Service(kinds.ServiceAuthorizer).(kinds.Authorizer)
	if !ok {
		return true, nil
	}
	access.User = r.req.User
	decision, _, err := authorizer.Decide(r.ctx, access)
	return decision == kinds.Allow, err
}

func (r reader) policy(k *admissionv1.ParamKind) error {
	group, version, resource, _, _ := r.target(k)
	ok, err := r.may(kinds.Access{Verb: "get", Name: "*", Namespace: "*", Group: group, Version: version, Resource: resource})
	if err != nil || ok {
		return err
	}
	return fmt.Errorf(`user %v must have "get" permission on all objects of the referenced paramKind (kind=%s, apiVersion=%s)`, &r.req.User, k.Kind, k.APIVersion)
}

// binding checks a reference. kind is that of the policy, nil if it has none; lost says why the policy is not known.
func (r reader) binding(ref *admissionv1.ParamRef, policy string, kind *admissionv1.ParamKind, lost error) error {
	group, version, resource := "*", "*", "*"
	var parse, resolve error
	if kind != nil {
		group, version, resource, parse, resolve = r.target(kind)
	}
	verb := "get"
	if ref.Name == "" {
		verb = "list"
	}
	ok, err := r.may(kinds.Access{Verb: verb, Name: ref.Name, Namespace: ref.Namespace, Group: group, Version: version, Resource: resource})
	const anywhere = ` to determine minimum required permissions and user %v does not have "%v" permission for all groups, versions and resources`
	switch user := &r.req.User; {
	case err != nil:
		return fmt.Errorf("failed to authorize request: %w", err)
	case ok:
		return nil
	case lost != nil:
		return fmt.Errorf("unable to get policy %s"+anywhere, policy, user, verb)
	case parse != nil:
		return fmt.Errorf("unable to parse paramKind %v"+anywhere, kind, user, verb)
	case resolve != nil:
		return fmt.Errorf("unable to resolve paramKind %v"+anywhere, kind, user, verb)
	default:
		return fmt.Errorf(`user %v does not have "%v" permission on the object referenced by paramRef`, user, verb)
	}
}

// judge is the validation of a kind, which speaks before we do.
type judge[T kinds.Object] struct {
	kind   string
	create func(*kinds.Request, T) field.ErrorList
	update func(*kinds.Request, T, T) field.ErrorList
}

// refuse makes the answer out of a refusal, unless validation has something to say already.
func (j judge[T]) refuse(req *kinds.Request, o, old T, path string, refused error) error {
	if refused == nil {
		return nil
	}
	invalid := kinds.ValidateMeta(o, kinds.Cluster, kinds.Subdomain)
	if isNil(old) {
		invalid = append(invalid, j.create(req, o)...)
	} else {
		invalid = append(invalid, j.update(req, o, old)...)
	}
	if len(invalid) > 0 {
		return nil
	}
	kind := admissionv1.SchemeGroupVersion.WithKind(j.kind).GroupKind()
	return apierrors.NewInvalid(kind, o.GetName(), field.ErrorList{field.Forbidden(specPath.Child(path), refused.Error())})
}

// begin is a row's Begin.
type begin[T kinds.Object] func(context.Context, kinds.Store, *kinds.Request, T, T) (done, undo func(), err error)

// beginPolicy is the Begin of both sorts of policy.
func beginPolicy[T kinds.Object](j judge[T], param func(T) *admissionv1.ParamKind) begin[T] {
	return func(ctx context.Context, store kinds.Store, req *kinds.Request, p, old T) (done, undo func(), err error) {
		r := reader{ctx, store, req}
		if isNil(p) || req.Subresource != "" || r.exempt() || param(p) == nil || !isNil(old) && param(old) != nil && *param(old) == *param(p) {
			return nil, nil, nil
		}
		return nil, nil, j.refuse(req, p, old, "paramKind", r.policy(param(p)))
	}
}

// beginBinding is the Begin of both sorts of binding. policies is the resource of the policies that they bind.
func beginBinding[T kinds.Object](j judge[T], policies string, param func(kinds.Object) *admissionv1.ParamKind, ref func(T) (*admissionv1.ParamRef, string)) begin[T] {
	return func(ctx context.Context, store kinds.Store, req *kinds.Request, b, old T) (done, undo func(), err error) {
		r := reader{ctx, store, req}
		if isNil(b) || r.exempt() {
			return nil, nil, nil
		}
		paramRef, name := ref(b)
		if paramRef == nil {
			return nil, nil, nil
		}
		if !isNil(old) {
			if oldRef, oldName := ref(old); apiequality.Semantic.DeepEqual(oldRef, paramRef) && oldName == name {
				return nil, nil, nil
			}
		}
		var kind *admissionv1.ParamKind
		policy, lost := store.Get(ctx, store.Kind(schema.GroupResource{Group: admissionv1.GroupName, Resource: policies}), "", name)
		if lost == nil {
			kind = param(policy.(kinds.Object))
		}
		return nil, nil, j.refuse(req, b, old, "paramRef", r.binding(paramRef, name, kind, lost))
	}
}

// isNil tells the nil pointer that stands for no object.
func isNil[T kinds.Object](o T) bool { return any(o) == any(*new(T)) }
