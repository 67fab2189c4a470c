package garbagecollector

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// attempt looks whether one object should be deleted, and does it.
func (c *Controller) attempt(ctx context.Context, key string) error {
	if !c.ready() { // a new kind has come: who is whose is not known again
		return control.Again(200 * time.Millisecond)
	}
	v, ok := c.graph.look(uidOf(key))
	switch {
	case !ok:
		return nil
	case v.virtual:
		return c.verify(ctx, v)
	case v.deleting && !v.foreground:
		return nil // on its way
	case v.waits():
		return c.finishForeground(ctx, v)
	case len(v.owners) == 0:
		return nil
	}
	solid, dangling, waiting, err := c.classify(ctx, v)
	if err != nil {
		return err
	}
	switch {
	case len(solid) > 0 && len(dangling)+len(waiting) == 0:
		return nil
	case len(solid) > 0:
		// Somebody still wants it. The owners that do not, or are no more, leave its list.
		return c.patch(ctx, v, func(object *metav1.PartialObjectMetadata) bool {
			return removeOwners(object, append(dangling, waiting...))
		})
	case len(waiting) > 0 && len(v.dependents) > 0:
		// Its own dependents go first. Should one of them wait for this object in turn, the circle is cut here.
		if slices.ContainsFunc(v.dependents, func(d dependentView) bool { return d.waits }) {
			if err := c.patch(ctx, v, unblock); err != nil {
				return err
			}
			v.version = "" // written just now
		}
		return c.remove(ctx, v, metav1.DeletePropagationForeground)
	}
	policy := metav1.DeletePropagationBackground
	switch {
	case v.orphan:
		policy = metav1.DeletePropagationOrphan
	case v.foreground:
		policy = metav1.DeletePropagationForeground
	}
	return c.remove(ctx, v, policy)
}

// classify says of each owner whether it is there, gone, or waiting for its dependents to go.
func (c *Controller) classify(ctx context.Context, v view) (solid, dangling, waiting_ []types.UID, err error) {
	for i, ref := range v.owners {
		state := v.owner[i]
		if state == unknown {
			if state, err = c.ask(ctx, v, ref); err != nil {
				return nil, nil, nil, err
			}
		}
		switch state {
		case present:
			solid = append(solid, ref.UID)
		case waiting:
			waiting_ = append(waiting_, ref.UID)
		default:
			dangling = append(dangling, ref.UID)
		}
	}
	return solid, dangling, waiting_, nil
}

// ask reads an owner from the server. unknown means that it is not there.
func (c *Controller) ask(ctx context.Context, v view, ref metav1.OwnerReference) (ownerState, error) {
	r, ok := c.resourceOf(ref.APIVersion, ref.Kind)
	if !ok {
		return unknown, fmt.Errorf("owner of %s %s/%s: no such kind: %s %s", v.place.kind, v.place.namespace, v.place.name, ref.APIVersion, ref.Kind)
	}
	namespace := ""
	if r.Namespaced {
		namespace = v.place.namespace
		if namespace == "" {
			// A cluster-wide object cannot be owned by one in a namespace: there is no telling in which. Upstream keeps
			// such an object, and so do we.
			return present, nil
		}
	}
	if c.graph.isAbsent(ref.UID, namespace, ref.Name) {
		return unknown, nil
	}
	owner, err := c.metadata.Resource(r.GroupVersionResource).Namespace(namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) || (err == nil && owner.UID != ref.UID):
		c.graph.absent(ref.UID, namespace, ref.Name)
		return unknown, nil
	case err != nil:
		return unknown, err
	case owner.DeletionTimestamp != nil && slices.Contains(owner.Finalizers, foregroundFinalizer):
		return waiting, nil
	}
	return present, nil
}

// verify looks for an object that is known from references only. If it is not there its dependents are looked at; each of
// them asks for itself where its own reference says.
func (c *Controller) verify(ctx context.Context, v view) error {
	r, ok := c.resourceOf(v.place.apiVersion, v.place.kind)
	if !ok {
		return fmt.Errorf("owner %s %s: no such kind: %s", v.place.kind, v.place.name, v.place.apiVersion)
	}
	namespace := ""
	if r.Namespaced {
		namespace = v.place.namespace
	}
	object, err := c.metadata.Resource(r.GroupVersionResource).Namespace(namespace).Get(ctx, v.place.name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) || (err == nil && object.UID != v.uid):
		c.graph.absent(v.uid, namespace, v.place.name)
		for _, d := range v.dependents {
			c.attempts.Add(string(d.uid))
		}
		return nil
	case err != nil:
		return err
	}
	return nil // its own monitor is about to show it
}

// finishForeground lets an object go once nothing that blocks it is left, and makes its dependents be looked at until then.
func (c *Controller) finishForeground(ctx context.Context, v view) error {
	blocked := false
	for _, d := range v.dependents {
		if d.blocking {
			blocked = true
			if !d.waits {
				c.attempts.Add(string(d.uid))
			}
		}
	}
	if blocked {
		return nil // the last of them to go brings this object back here
	}
	return c.patch(ctx, v, func(object *metav1.PartialObjectMetadata) bool { return removeFinalizer(object, foregroundFinalizer) })
}

// orphan takes an object away from its dependents and lets it go.
func (c *Controller) orphan(ctx context.Context, key string) error {
	if !c.ready() {
		return control.Again(200 * time.Millisecond)
	}
	v, ok := c.graph.look(uidOf(key))
	if !ok || !v.deleting || !v.orphan {
		return nil
	}
	err := control.Each(ctx, len(v.dependents), func(ctx context.Context, i int) error {
		dependent, ok := c.graph.look(v.dependents[i].uid)
		if !ok {
			return nil
		}
		return c.patch(ctx, dependent, func(object *metav1.PartialObjectMetadata) bool { return removeOwners(object, []types.UID{v.uid}) })
	})
	if err != nil {
		return fmt.Errorf("orphan the dependents of %s %s/%s: %w", v.place.kind, v.place.namespace, v.place.name, err)
	}
	return c.patch(ctx, v, func(object *metav1.PartialObjectMetadata) bool { return removeFinalizer(object, orphanFinalizer) })
}

func (c *Controller) api(v view) metadata.ResourceInterface {
	return c.metadata.Resource(v.resource).Namespace(v.place.namespace)
}

// remove deletes an object, provided that it still is as it was judged. If it has changed since, it is judged anew on its
// live owner references: a pod's status may change many times before the graph shows the first.
func (c *Controller) remove(ctx context.Context, v view, policy metav1.DeletionPropagation) error {
	if v.version != "" {
		err := c.delete(ctx, v, v.version, policy)
		if !apierrors.IsConflict(err) {
			return err
		}
	}
	live, err := c.api(v).Get(ctx, v.place.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || (err == nil && live.UID != v.uid) {
		c.act(c.graph.remove(v.uid))
		return nil
	}
	if err != nil {
		return err
	}
	if live.DeletionTimestamp != nil {
		return nil
	}
	if !sameOwners(live.OwnerReferences, v.owners) || slices.Contains(live.Finalizers, orphanFinalizer) != v.orphan {
		c.act(c.graph.observe(v.resource, v.resource.GroupVersion().WithKind(v.place.kind), live))
		return control.Again(0)
	}
	return c.delete(ctx, v, live.ResourceVersion, policy)
}

func sameOwners(a, b []metav1.OwnerReference) bool {
	return slices.EqualFunc(a, b, func(a, b metav1.OwnerReference) bool { return a.UID == b.UID && a.Name == b.Name && a.Kind == b.Kind })
}

func (c *Controller) delete(ctx context.Context, v view, version string, policy metav1.DeletionPropagation) error {
	err := c.api(v).Delete(ctx, v.place.name, metav1.DeleteOptions{
		PropagationPolicy: &policy, Preconditions: &metav1.Preconditions{UID: &v.uid, ResourceVersion: &version},
	})
	if apierrors.IsNotFound(err) {
		c.act(c.graph.remove(v.uid))
		return nil
	}
	return err
}

// patch changes the owner references or finalizers of an object as the server has it. change says whether there is
// anything to write.
func (c *Controller) patch(ctx context.Context, v view, change func(*metav1.PartialObjectMetadata) bool) error {
	live, err := c.api(v).Get(ctx, v.place.name, metav1.GetOptions{})
	for try := 0; ; try++ {
		if apierrors.IsNotFound(err) || (err == nil && live.UID != v.uid) {
			c.act(c.graph.remove(v.uid))
			return nil
		}
		if err != nil {
			return err
		}
		if !change(live) {
			return nil
		}
		body, err := json.Marshal(map[string]any{"metadata": map[string]any{
			"uid": live.UID, "resourceVersion": live.ResourceVersion,
			"ownerReferences": orEmpty(live.OwnerReferences), "finalizers": orEmpty(live.Finalizers),
		}})
		if err != nil {
			return err
		}
		_, err = c.api(v).Patch(ctx, v.place.name, types.MergePatchType, body, metav1.PatchOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if !apierrors.IsConflict(err) || try >= 5 {
			return err
		}
		live, err = c.api(v).Get(ctx, v.place.name, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		if err != nil {
			return nil
		}
	}
}

// orEmpty makes an empty list an empty list in JSON, which in a merge patch differs from null in nothing but looks.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func removeOwners(object *metav1.PartialObjectMetadata, uids []types.UID) bool {
	before := len(object.OwnerReferences)
	object.OwnerReferences = slices.DeleteFunc(object.OwnerReferences, func(ref metav1.OwnerReference) bool { return slices.Contains(uids, ref.UID) })
	return len(object.OwnerReferences) != before
}

func removeFinalizer(object *metav1.PartialObjectMetadata, finalizer string) bool {
	before := len(object.Finalizers)
	object.Finalizers = slices.DeleteFunc(object.Finalizers, func(f string) bool { return f == finalizer })
	return len(object.Finalizers) != before
}

func unblock(object *metav1.PartialObjectMetadata) bool {
	changed := false
	for i := range object.OwnerReferences {
		if ptr.Deref(object.OwnerReferences[i].BlockOwnerDeletion, false) {
			object.OwnerReferences[i].BlockOwnerDeletion, changed = ptr.To(false), true
		}
	}
	return changed
}
