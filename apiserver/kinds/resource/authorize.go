package resource

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// guard is what claims and their templates ask of others before they are written. What it refuses is reported together
// with what validation would.
type guard struct {
	ctx   context.Context
	store kinds.Store
	req   *kinds.Request
}

// administers: access to devices that others use is for namespaces that are labelled for it.
func (g guard) administers(namespace string, at *field.Path) *field.Error {
	ns, err := g.store.Get(g.ctx, g.store.Kind(schema.GroupResource{Resource: "namespaces"}), "", namespace)
	if err != nil {
		return field.InternalError(at, fmt.Errorf("could not retrieve namespace to verify admin access: %w", err))
	}
	if ns.(*corev1.Namespace).Labels[resourcev1.DRAAdminNamespaceLabelKey] != "true" {
		return field.Forbidden(at, fmt.Sprintf("admin access to devices requires the `%s: true` label on the containing namespace", resourcev1.DRAAdminNamespaceLabelKey))
	}
	return nil
}

// requested checks the requests of a new claim or template.
func (g guard) requested(namespace string, spec *resourcev1.ResourceClaimSpec) *field.Error {
	for i := range spec.Devices.Requests {
		if e := spec.Devices.Requests[i].Exactly; e != nil && e.AdminAccess != nil && *e.AdminAccess {
			return g.administers(namespace, specPath.Child("devices", "requests").Index(i).Child("adminAccess"))
		}
	}
	return nil
}

// status checks who changes a claim's status: the scheduler binds, drivers report about their own devices.
func (g guard) status(c, old *resourcev1.ResourceClaim) field.ErrorList {
	var errs field.ErrorList
	add := func(e *field.Error) {
		if e != nil {
			errs = append(errs, e)
		}
	}
	if firstAdmin(old.Status.Allocation) < 0 {
		if i := firstAdmin(c.Status.Allocation); i >= 0 {
			add(g.administers(c.Namespace, statusPath.Child("allocation", "devices", "results").Index(i).Child("adminAccess")))
		}
	}
	if !apiequality.Semantic.DeepEqual(c.Status.Allocation, old.Status.Allocation) || !apiequality.Semantic.DeepEqual(c.Status.ReservedFor, old.Status.ReservedFor) {
		if err := g.may(g.req.Verb, resourcev1.SubresourceBinding, "", ""); err != nil {
			add(field.Forbidden(statusPath.Child("allocation"), fmt.Sprintf(
				`changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="%s" permission: %s`, g.req.Verb, err)))
		}
	}
	if c.Status.Allocation != nil {
		errs = append(errs, g.drivers(c, old)...)
	}
	return errs
}

func (g guard) drivers(c, old *resourcev1.ResourceClaim) field.ErrorList {
	verbs := []string{resourcev1.VerbPrefixArbitraryNode + g.req.Verb}
	if node := onlyNode(c.Status.Allocation); node != "" && g.onNode(node) {
		verbs = append([]string{resourcev1.VerbPrefixAssociatedNode + g.req.Verb}, verbs...)
	}
	var errs field.ErrorList
	for _, driver := range slices.Sorted(maps.Keys(changedDrivers(&c.Status, &old.Status))) {
		var first error
		allowed := false
		for _, verb := range verbs {
			err := g.may(verb, resourcev1.SubresourceDriver, c.Namespace, driver)
			if allowed = err == nil; allowed {
				break
			}
			if first == nil {
				first = err
			}
		}
		if !allowed {
			errs = append(errs, field.Forbidden(statusPath.Child("devices"), fmt.Sprintf(
				`changing status.devices requires resource="resourceclaims/driver", verb="%s" permission: %s`, verbs, first)))
		}
	}
	return errs
}

// changedDrivers are those of devices that are reported about anew, otherwise or no more.
func changedDrivers(now, before *resourcev1.ResourceClaimStatus) map[string]bool {
	was := map[deviceID]resourcev1.AllocatedDeviceStatus{}
	for i := range before.Devices {
		was[reportedID(&before.Devices[i])] = before.Devices[i]
	}
	out := map[string]bool{}
	for i := range now.Devices {
		id := reportedID(&now.Devices[i])
		if d, ok := was[id]; !ok || !apiequality.Semantic.DeepEqual(d, now.Devices[i]) {
			out[id.Driver] = true
		}
		delete(was, id)
	}
	for id := range was {
		out[id.Driver] = true
	}
	return out
}

func firstAdmin(a *resourcev1.AllocationResult) int {
	if a == nil {
		return -1
	}
	return slices.IndexFunc(a.Devices.Results, func(r resourcev1.DeviceRequestAllocationResult) bool { return r.AdminAccess != nil && *r.AdminAccess })
}

// onlyNode is the node that an allocation is bound to; empty if it is not bound to one by name.
func onlyNode(a *resourcev1.AllocationResult) string {
	if a == nil || a.NodeSelector == nil || len(a.NodeSelector.NodeSelectorTerms) != 1 {
		return ""
	}
	t := a.NodeSelector.NodeSelectorTerms[0]
	if len(t.MatchExpressions) != 0 || len(t.MatchFields) != 1 {
		return ""
	}
	f := t.MatchFields[0]
	if f.Key != "metadata.name" || f.Operator != corev1.NodeSelectorOpIn || len(f.Values) != 1 {
		return ""
	}
	return f.Values[0]
}

// onNode says whether the user is a service account whose token is bound to a node.
func (g guard) onNode(node string) bool {
	names := g.req.User.Extra["authentication.kubernetes.io/node-name"]
	return strings.HasPrefix(g.req.User.Name, "system:serviceaccount:") && len(names) == 1 && names[0] == node
}

// may asks the authorizer; the error is worded like the refusal of a request.
func (g guard) may(verb, subresource, namespace, name string) error {
	reason := ""
	if a, ok := g.store.Service(kinds.ServiceAuthorizer).(kinds.Authorizer); ok {
		decision, why, err := a.Decide(g.ctx, kinds.Access{User: g.req.User, Verb: verb, Namespace: namespace, Group: resourcev1.GroupName,
			Version: resourcev1.SchemeGroupVersion.Version, Resource: "resourceclaims", Subresource: subresource, Name: name})
		if err == nil && decision == kinds.Allow {
			return nil
		}
		reason = why
		if err != nil {
			reason = strings.TrimSuffix(err.Error()+": "+why, ": ")
		}
	}
	where := "at the cluster scope"
	if namespace != "" {
		where = fmt.Sprintf("in the namespace %q", namespace)
	}
	text := fmt.Sprintf("User %q cannot %s resource %q in API group %q %s", g.req.User.Name, verb, "resourceclaims/"+subresource, resourcev1.GroupName, where)
	if reason != "" {
		text += ": " + reason
	}
	return apierrors.NewForbidden(schema.GroupResource{Group: resourcev1.GroupName, Resource: "resourceclaims"}, name, errors.New(text))
}

func beginClaim(ctx context.Context, store kinds.Store, req *kinds.Request, c, old *resourcev1.ResourceClaim) (done, undo func(), err error) {
	g := guard{ctx, store, req}
	var errs field.ErrorList
	switch {
	case c == nil:
	case old == nil:
		if e := g.requested(c.Namespace, &c.Spec); e != nil {
			errs = append(field.ErrorList{e}, validateClaim(req, c)...)
		}
	case req.Subresource == "status":
		if errs = g.status(c, old); len(errs) > 0 {
			errs = append(errs, validateClaimStatus(req, c, old)...)
		}
	}
	return nil, nil, refusal("ResourceClaim", c, errs)
}

func beginTemplate(ctx context.Context, store kinds.Store, req *kinds.Request, t, old *resourcev1.ResourceClaimTemplate) (done, undo func(), err error) {
	if t == nil {
		return nil, nil, nil
	}
	var errs field.ErrorList
	if old == nil {
		if e := (guard{ctx, store, req}).requested(t.Namespace, &t.Spec.Spec); e != nil {
			errs = append(field.ErrorList{e}, validateTemplate(req, t)...)
		}
	}
	return nil, nil, refusal("ResourceClaimTemplate", t, errs)
}

func refusal(kind string, o interface{ GetName() string }, errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(resourcev1.SchemeGroupVersion.WithKind(kind).GroupKind(), o.GetName(), errs)
}
