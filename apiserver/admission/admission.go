package admission

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/request"
	"github.com/skiff-project/skiff/apiserver/storage"
	"github.com/skiff-project/skiff/apiserver/watchcache"
)

// Operation is what happens to the object.
type Operation string

const (
	Create  Operation = "CREATE"
	Update  Operation = "UPDATE"
	Delete  Operation = "DELETE"
	Connect Operation = "CONNECT"
)

// Attributes describe one write. Rules may change Object in Mutate, and nothing else ever.
type Attributes struct {
	Kind *kinds.Kind
	// Version is the version that the client speaks; nil means the hub's own. Objects are of the hub type all the same.
	Version     *kinds.Version
	Subresource string
	Operation   Operation
	// Namespace is empty for cluster-scoped kinds, except Namespaces themselves, where it is the name.
	Namespace string
	// Name may be empty for a create with generateName, and for each object of a deletecollection it is that object's.
	Name string
	// Object is of Kind.New's type; for subresources that take another type (binding, eviction, token, exec) it is that
	// one. It is nil for deletes.
	Object runtime.Object
	// Old is the stored object for updates and deletes; it must not be changed.
	Old runtime.Object
	// Options are the CreateOptions, UpdateOptions, PatchOptions or DeleteOptions.
	Options runtime.Object
	User    *kinds.UserInfo
	DryRun  bool
	// Optimistic says that the write can be made to depend on what a rule has found in this server's memory, by Require. A
	// rule for which that is not fresh enough need not ask etcd then.
	Optimistic bool
	// Required are the conditions of the write.
	Required []storage.Condition
	// AuditAnnotations may be set by rules; keys are RULE.DOMAIN/KEY. Nil is allowed: use Annotate.
	AuditAnnotations map[string]string
	// Round is 0, and 1 when mutating rules are run once more because Again asked for it: what a webhook or a policy
	// changes, the rules before it have not seen.
	Round int
	again bool
	// notes are the Rounds of rules, by their names.
	notes map[string]any
}

// Again asks for a second round of the mutating rules. There is never a third one.
func (a *Attributes) Again() { a.again = true }

// Require makes the write fail unless an object is still as a rule has found it. It is for Optimistic writes alone.
func (a *Attributes) Require(o *watchcache.Object) {
	c := storage.Condition{Key: o.Key, Revision: o.Revision}
	if !slices.Contains(a.Required, c) {
		a.Required = append(a.Required, c)
	}
}

// Annotate adds an annotation to the request's audit event.
func (a *Attributes) Annotate(key, value string) {
	if a.AuditAnnotations == nil {
		a.AuditAnnotations = map[string]string{}
	}
	a.AuditAnnotations[key] = value
}

// tell hands the annotations over to the audit event of ctx's request, whether the write is refused or not.
func (a *Attributes) tell(ctx context.Context) {
	if len(a.AuditAnnotations) == 0 {
		return
	}
	if state := request.StateFrom(ctx); state != nil {
		for key, value := range a.AuditAnnotations {
			state.Note(key, value)
		}
	}
}

// Is says whether the write is to the main resource (subresource "") or a subresource of a kind.
func (a *Attributes) Is(group, resource, subresource string) bool {
	return a.Kind.GVK.Group == group && a.Kind.Resource == resource && a.Subresource == subresource
}

// Interface is what the registry calls; Chain is the one implementation. Errors are Status errors.
type Interface interface {
	// Mutate may change a.Object.
	Mutate(ctx context.Context, a *Attributes) error
	// Validate may only refuse, or take note (quota).
	Validate(ctx context.Context, a *Attributes) error
}

// Rule is one admission rule under its upstream name.
type Rule struct {
	Name string
	// Mutate and Validate may each be nil.
	Mutate   func(ctx context.Context, a *Attributes) error
	Validate func(ctx context.Context, a *Attributes) error
}

// Chain runs rules in order; the first refusal ends it.
type Chain []Rule

// Mutate implements Interface.
func (c Chain) Mutate(ctx context.Context, a *Attributes) error {
	defer a.tell(ctx)
	if err := c.mutate(ctx, a); err != nil || !a.again {
		return err
	}
	a.Round = 1
	return c.mutate(ctx, a)
}

func (c Chain) mutate(ctx context.Context, a *Attributes) error {
	for i := range c {
		if c[i].Mutate == nil {
			continue
		}
		if err := c[i].Mutate(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// Validate implements Interface.
func (c Chain) Validate(ctx context.Context, a *Attributes) error {
	defer a.tell(ctx)
	for i := range c {
		if c[i].Validate == nil {
			continue
		}
		if err := c[i].Validate(ctx, a); err != nil {
			return err
		}
	}
	return nil
}
