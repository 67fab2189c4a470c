package authz

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"github.com/skiff-project/skiff/apiserver/follow"
	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/watchcache"
)

// Readers finds the cache of a kind.
type Readers func(gr schema.GroupResource) watchcache.Reader

// Config of an Authorizer.
type Config struct {
	// RBAC and Node say which of the two decide. Without either everything is allowed (--authorization-mode=AlwaysAllow).
	RBAC, Node bool
	// NodeRules are what every node may do, whatever runs on it.
	NodeRules []rbacv1.PolicyRule
	Readers   Readers
}

// Authorizer implements kinds.Authorizer.
type Authorizer struct {
	cfg    Config
	index  *index
	synced chan struct{}
	// followed are RBAC's kinds, once Run has begun.
	followed atomic.Pointer[[]followed]
}

// followed is how far the index has come with a kind.
type followed struct {
	reader   watchcache.Reader
	progress *follow.Progress
}

// New makes an authorizer. Until Run has read all roles only system:masters may do anything.
func New(cfg Config) *Authorizer {
	return &Authorizer{cfg: cfg, index: newIndex(), synced: make(chan struct{})}
}

// Run follows roles and bindings until ctx ends.
func (a *Authorizer) Run(ctx context.Context) error {
	var group errgroup.Group
	var each []chan struct{}
	var all []followed
	for resource, f := range a.index.followers() {
		reader := a.cfg.Readers(schema.GroupResource{Group: rbacv1.GroupName, Resource: resource})
		f.Progress = &follow.Progress{}
		all = append(all, followed{reader, f.Progress})
		done := make(chan struct{})
		each = append(each, done)
		group.Go(func() error {
			f.Run(ctx, reader, done)
			return nil
		})
	}
	a.followed.Store(&all)
	group.Go(func() error {
		for _, done := range each {
			select {
			case <-done:
			case <-ctx.Done():
				return nil
			}
		}
		close(a.synced)
		return nil
	})
	return group.Wait()
}

// Synced is closed when all roles are known.
func (a *Authorizer) Synced() <-chan struct{} { return a.synced }

// patience is how long a decision waits for roles. After it what is known decides, as upstream's authorizer does at once.
const patience = 2 * time.Second

// catchUp waits until the index knows what this server has acknowledged of roles and bindings, which it nearly always does:
// who has just been told that a role is granted may use it, and who has lost one may not.
func (a *Authorizer) catchUp(ctx context.Context) {
	all := a.followed.Load()
	if all == nil || !slices.ContainsFunc(*all, followed.behind) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, f := range *all {
		if f.progress.Wait(ctx, f.reader.Acknowledged()) != nil {
			return
		}
	}
}

func (f followed) behind() bool { return !f.progress.Reached(f.reader.Acknowledged()) }

const masters = "system:masters"

// Decide implements kinds.Authorizer.
func (a *Authorizer) Decide(ctx context.Context, access kinds.Access) (kinds.Decision, string, error) {
	if !a.cfg.RBAC && !a.cfg.Node || slices.Contains(access.User.Groups, masters) {
		return kinds.Allow, "", nil
	}
	var reasons []string
	if a.cfg.Node {
		allowed, reason, err := a.node(ctx, &access)
		if allowed {
			return kinds.Allow, reason, nil
		}
		if err != nil {
			return kinds.NoOpinion, reason, err
		}
		if reason != "" {
			reasons = append(reasons, "node: "+reason)
		}
	}
	if a.cfg.RBAC {
		a.catchUp(ctx)
		allowed, reason := a.rbac(&access)
		if allowed {
			return kinds.Allow, reason, nil
		}
		if reason != "" {
			reasons = append(reasons, "rbac: "+reason)
		}
	}
	return kinds.NoOpinion, strings.Join(reasons, "\n"), nil
}

func (a *Authorizer) rbac(access *kinds.Access) (allowed bool, reason string) {
	var missing []error
	a.index.visit(&access.User, access.Namespace, func(b *binding, subject string, rules []rbacv1.PolicyRule, err error) bool {
		if err != nil {
			missing = append(missing, err)
		}
		for i := range rules {
			if allows(&rules[i], access) {
				allowed, reason = true, "RBAC: allowed by "+b.describe(subject)
				return false
			}
		}
		return true
	})
	if !allowed && len(missing) > 0 {
		reason = fmt.Sprintf("RBAC: %v", utilerrors.NewAggregate(missing))
	}
	return allowed, reason
}

// RulesFor implements kinds.Authorizer.
func (a *Authorizer) RulesFor(ctx context.Context, user kinds.UserInfo, namespace string) (resources []authorizationv1.ResourceRule,
	paths []authorizationv1.NonResourceRule, incomplete bool, err error) {
	if !a.cfg.RBAC && !a.cfg.Node || slices.Contains(user.Groups, masters) {
		resources = append(resources, authorizationv1.ResourceRule{Verbs: everything, APIGroups: everything, Resources: everything})
		paths = append(paths, authorizationv1.NonResourceRule{Verbs: everything, NonResourceURLs: everything})
	}
	var failed []error
	if name, isNode := nodeName(&user); a.cfg.Node && isNode && name != "" {
		incomplete = true
		failed = append(failed, fmt.Errorf("node authorizer does not support user rule resolution"))
	}
	if a.cfg.RBAC {
		a.catchUp(ctx)
		rules, missing := a.rules(&user, namespace)
		for _, r := range rules {
			if len(r.Resources) > 0 {
				resources = append(resources, authorizationv1.ResourceRule{Verbs: r.Verbs, APIGroups: r.APIGroups, Resources: r.Resources, ResourceNames: r.ResourceNames})
			}
			if len(r.NonResourceURLs) > 0 {
				paths = append(paths, authorizationv1.NonResourceRule{Verbs: r.Verbs, NonResourceURLs: r.NonResourceURLs})
			}
		}
		if missing != nil {
			failed = append(failed, missing)
		}
	}
	return resources, paths, incomplete, utilerrors.NewAggregate(failed)
}

var everything = []string{"*"}

// rules are all that a user holds in a namespace; the error names roles that are missing.
func (a *Authorizer) rules(user *kinds.UserInfo, namespace string) ([]rbacv1.PolicyRule, error) {
	var out []rbacv1.PolicyRule
	var missing []error
	a.index.visit(user, namespace, func(_ *binding, _ string, rules []rbacv1.PolicyRule, err error) bool {
		if err != nil {
			missing = append(missing, err)
		}
		out = append(out, rules...)
		return true
	})
	return out, utilerrors.NewAggregate(missing)
}
