package match

import (
	"context"

	"github.com/google/cel-go/common/types/ref"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/cel/library"

	"github.com/skiff-project/skiff/apiserver/admission"
	"github.com/skiff-project/skiff/apiserver/kinds"
)

// Decider answers what a user may do.
type Decider interface {
	Decide(ctx context.Context, access kinds.Access) (kinds.Decision, string, error)
}

// Authorizer is what expressions call authorizer and authorizer.requestResource: they ask for the user of the write.
func Authorizer(d Decider, a *admission.Attributes) (all, resource ref.Val) {
	if d == nil || a.User == nil {
		return nil, nil
	}
	who := &user.DefaultInfo{Name: a.User.Name, UID: a.User.UID, Groups: a.User.Groups, Extra: a.User.Extra}
	return library.NewAuthorizerVal(who, asker{d}), library.NewResourceAuthorizerVal(who, asker{d}, named{a})
}

// asker hands the questions of expressions to our authorizer.
type asker struct{ Decider }

// Authorize implements upstream's authorizer. The user may be another one: expressions can ask for service accounts.
func (k asker) Authorize(ctx context.Context, q authorizer.Attributes) (authorizer.Decision, string, error) {
	access := kinds.Access{Verb: q.GetVerb(), NonResource: !q.IsResourceRequest(), Path: q.GetPath(), Namespace: q.GetNamespace(),
		Group: q.GetAPIGroup(), Version: q.GetAPIVersion(), Resource: q.GetResource(), Subresource: q.GetSubresource(), Name: q.GetName()}
	if u := q.GetUser(); u != nil {
		access.User = kinds.UserInfo{Name: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups(), Extra: u.GetExtra()}
	}
	decision, reason, err := k.Decide(ctx, access)
	switch decision {
	case kinds.Allow:
		return authorizer.DecisionAllow, reason, err
	case kinds.Deny:
		return authorizer.DecisionDeny, reason, err
	}
	return authorizer.DecisionNoOpinion, reason, err
}

// named is a write as authorizer.requestResource needs it.
type named struct{ *admission.Attributes }

// GetName implements library.Resource.
func (n named) GetName() string { return n.Name }

// GetNamespace implements library.Resource.
func (n named) GetNamespace() string { return n.Namespace }

// GetResource implements library.Resource.
func (n named) GetResource() schema.GroupVersionResource { return n.ResourceIn(n.Spoken()) }

// GetSubresource implements library.Resource.
func (n named) GetSubresource() string { return n.Subresource }
