package bootstrap

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/component-helpers/auth/rbac/validation"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// writers is how many objects are written at once: etcd puts what arrives together on the disk together.
const writers = 16

// resources are the plural names of the kinds in the embedded files.
var resources = map[string]schema.GroupResource{
	"ClusterRole": {Group: rbacv1.GroupName, Resource: "clusterroles"}, "ClusterRoleBinding": {Group: rbacv1.GroupName, Resource: "clusterrolebindings"},
	"Role": {Group: rbacv1.GroupName, Resource: "roles"}, "RoleBinding": {Group: rbacv1.GroupName, Resource: "rolebindings"},
	"PriorityLevelConfiguration": {Group: flowcontrolv1.GroupName, Resource: "prioritylevelconfigurations"},
	"FlowSchema":                 {Group: flowcontrolv1.GroupName, Resource: "flowschemas"},
	"PriorityClass":              {Group: "scheduling.k8s.io", Resource: "priorityclasses"},
}

// reconcile makes the objects of one file, and brings up to date those that are there. Kinds that are not served are
// left out.
func reconcile(ctx context.Context, store kinds.Store, file string) error {
	want, err := read(file)
	if err != nil {
		return err
	}
	have := map[*kinds.Kind]func(context.Context, kinds.Object) (kinds.Object, error){}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for _, obj := range want {
		kind := store.Kind(resources[obj.GetObjectKind().GroupVersionKind().Kind])
		if kind == nil {
			continue
		}
		if have[kind] == nil {
			have[kind] = finder(ctx, store, kind)
		}
		find := have[kind]
		group.Go(func() error {
			there, err := find(ctx, obj)
			if err != nil {
				return err
			}
			return ensure(ctx, store, kind, obj, there)
		})
	}
	return group.Wait()
}

// finder lists a kind once to find objects in that. Where the list cannot be had, since one object cannot be read, it reads
// each by itself: the others are needed all the same.
func finder(ctx context.Context, store kinds.Store, kind *kinds.Kind) func(context.Context, kinds.Object) (kinds.Object, error) {
	all, err := listed(ctx, store, kind)
	if err == nil {
		return func(_ context.Context, want kinds.Object) (kinds.Object, error) {
			return all[[2]string{want.GetNamespace(), want.GetName()}], nil
		}
	}
	return func(ctx context.Context, want kinds.Object) (kinds.Object, error) {
		obj, err := store.Get(ctx, kind, want.GetNamespace(), want.GetName())
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read %s %s: %w", kind.GVK.Kind, want.GetName(), err)
		}
		return obj.(kinds.Object), nil
	}
}

func listed(ctx context.Context, store kinds.Store, kind *kinds.Kind) (map[[2]string]kinds.Object, error) {
	list, err := store.List(ctx, kind, "")
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", kind.GroupResource(), err)
	}
	out := make(map[[2]string]kinds.Object, len(list))
	for _, o := range list {
		m := o.(kinds.Object)
		out[[2]string{m.GetNamespace(), m.GetName()}] = m
	}
	return out, nil
}

// ensure makes one object, or merges what it should hold into what is there.
func ensure(ctx context.Context, store kinds.Store, kind *kinds.Kind, want, there kinds.Object) error {
	if there == nil {
		_, err := store.Create(ctx, kind, want, false)
		if err == nil || apierrors.IsAlreadyExists(err) {
			return nil // another API server starts at the same time
		}
		return fmt.Errorf("create %s %s: %w", kind.GVK.Kind, want.GetName(), err)
	}
	if !merge(there.DeepCopyObject().(kinds.Object), want) {
		return nil
	}
	if refersElsewhere(want, there) {
		// A binding's role cannot be changed: the binding is made anew.
		if _, err := store.Delete(ctx, kind, there.GetNamespace(), there.GetName(), nil); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("replace %s %s: %w", kind.GVK.Kind, want.GetName(), err)
		}
		return ensure(ctx, store, kind, want, nil)
	}
	_, err := store.Update(ctx, kind, there.GetNamespace(), there.GetName(), false, func(o runtime.Object) error {
		merge(o.(kinds.Object), want)
		return nil
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("update %s %s: %w", kind.GVK.Kind, want.GetName(), err)
	}
	return nil
}

// autoupdateSpec on a flow schema or priority level says that its spec is the server's to keep.
const autoupdateSpec = "apf.kubernetes.io/autoupdate-spec"

// merge brings have up to date and says whether that changed anything.
func merge(have, want kinds.Object) bool {
	before := have.DeepCopyObject()
	switch have.GetAnnotations()[rbacv1.AutoUpdateAnnotationKey] {
	case "false":
		return false
	}
	switch h := have.(type) {
	case *rbacv1.ClusterRole:
		w := want.(*rbacv1.ClusterRole)
		if w.AggregationRule == nil {
			h.Rules = withMissing(h.Rules, w.Rules)
		} else if h.AggregationRule == nil {
			h.AggregationRule = w.AggregationRule
		}
	case *rbacv1.Role:
		h.Rules = withMissing(h.Rules, want.(*rbacv1.Role).Rules)
	case *rbacv1.ClusterRoleBinding:
		w := want.(*rbacv1.ClusterRoleBinding)
		h.Subjects, h.RoleRef = withSubjects(h.Subjects, w.Subjects), w.RoleRef
	case *rbacv1.RoleBinding:
		w := want.(*rbacv1.RoleBinding)
		h.Subjects, h.RoleRef = withSubjects(h.Subjects, w.Subjects), w.RoleRef
	case *flowcontrolv1.FlowSchema:
		if h.Annotations[autoupdateSpec] != "true" {
			return false
		}
		h.Spec = want.(*flowcontrolv1.FlowSchema).Spec
		return !apiequality.Semantic.DeepEqual(before, have)
	case *flowcontrolv1.PriorityLevelConfiguration:
		if h.Annotations[autoupdateSpec] != "true" {
			return false
		}
		h.Spec = want.(*flowcontrolv1.PriorityLevelConfiguration).Spec
		return !apiequality.Semantic.DeepEqual(before, have)
	default:
		return false // made once, and its owner's from then on
	}
	have.SetAnnotations(union(have.GetAnnotations(), want.GetAnnotations()))
	have.SetLabels(union(have.GetLabels(), want.GetLabels()))
	return !apiequality.Semantic.DeepEqual(before, have)
}

// union adds what is missing and leaves alone what is there.
func union(have, want map[string]string) map[string]string {
	out := maps.Clone(want)
	if out == nil {
		return have
	}
	maps.Copy(out, have)
	return out
}

func withMissing(have, want []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	if covered, missing := validation.Covers(have, want); !covered {
		return append(slices.Clone(have), missing...)
	}
	return have
}

func withSubjects(have, want []rbacv1.Subject) []rbacv1.Subject {
	out := slices.Clone(have)
	for _, s := range want {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func refersElsewhere(want, have kinds.Object) bool {
	switch h := have.(type) {
	case *rbacv1.ClusterRoleBinding:
		return h.RoleRef != want.(*rbacv1.ClusterRoleBinding).RoleRef
	case *rbacv1.RoleBinding:
		return h.RoleRef != want.(*rbacv1.RoleBinding).RoleRef
	}
	return false
}
