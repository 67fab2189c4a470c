package control

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// Claim decides which objects an owner has: those that it controls and selects, those that nobody controls and it selects
// (they are adopted), but no longer those that it controls and does not select (they are released).
type Claim[T metav1.Object] struct {
	Owner    metav1.Object
	Kind     schema.GroupVersionKind
	Selector labels.Selector
	// Live reads the owner from the server. Nothing is adopted for an owner that the server says is going or another.
	Live func(ctx context.Context) (metav1.Object, error)
	// Patch sends a strategic merge patch for object.
	Patch func(ctx context.Context, object T, patch []byte) error
	// Match narrows the selector; nil matches all.
	Match func(T) bool
	// Finalizers are added when an object is adopted.
	Finalizers []string
}

// From answers those of the candidates that the owner has, after adopting and releasing.
func (c Claim[T]) From(ctx context.Context, candidates []T) ([]T, error) {
	var (
		owned   []T
		checked bool
		firstly error
	)
	for _, object := range candidates {
		selected := c.Selector.Matches(labels.Set(object.GetLabels())) && (c.Match == nil || c.Match(object))
		controller := metav1.GetControllerOfNoCopy(object)
		switch {
		case controller != nil && controller.UID != c.Owner.GetUID():
			// somebody else's
		case controller != nil && selected:
			owned = append(owned, object)
		case controller != nil:
			if c.Owner.GetDeletionTimestamp() != nil {
				continue
			}
			if err := c.release(ctx, object); err != nil && firstly == nil {
				firstly = err
			}
		case !selected || c.Owner.GetDeletionTimestamp() != nil || object.GetDeletionTimestamp() != nil || object.GetNamespace() != c.Owner.GetNamespace():
			// not ours and not to become ours
		default:
			if !checked {
				if err := c.mayAdopt(ctx); err != nil {
					return owned, err
				}
				checked = true
			}
			switch err := c.adopt(ctx, object); {
			case err == nil:
				owned = append(owned, object)
			case apierrors.IsNotFound(err):
			case firstly == nil:
				firstly = err
			}
		}
	}
	return owned, firstly
}

// mayAdopt asks the server, not the cache: an owner that was deleted and made again under the same name must not inherit.
func (c Claim[T]) mayAdopt(ctx context.Context) error {
	live, err := c.Live(ctx)
	if err != nil {
		return fmt.Errorf("can't adopt: %w", err)
	}
	if live.GetUID() != c.Owner.GetUID() {
		return fmt.Errorf("can't adopt: original %s %s/%s is gone: got uid %s, wanted %s",
			c.Kind.Kind, c.Owner.GetNamespace(), c.Owner.GetName(), live.GetUID(), c.Owner.GetUID())
	}
	if live.GetDeletionTimestamp() != nil {
		return fmt.Errorf("can't adopt: %s/%s has just been deleted at %v", c.Owner.GetNamespace(), c.Owner.GetName(), live.GetDeletionTimestamp())
	}
	return nil
}

type ownerPatch struct {
	Metadata ownerPatchMeta `json:"metadata"`
}

type ownerPatchMeta struct {
	// UID makes the patch fail on an object that was made again under the same name.
	UID              types.UID        `json:"uid"`
	OwnerReferences  []map[string]any `json:"ownerReferences"`
	Finalizers       []string         `json:"finalizers,omitempty"`
	DeleteFinalizers []string         `json:"$deleteFromPrimitiveList/finalizers,omitempty"`
}

func (c Claim[T]) adopt(ctx context.Context, object T) error {
	patch := ownerPatch{ownerPatchMeta{UID: object.GetUID(), Finalizers: c.Finalizers, OwnerReferences: []map[string]any{{
		"apiVersion": c.Kind.GroupVersion().String(), "kind": c.Kind.Kind, "name": c.Owner.GetName(), "uid": c.Owner.GetUID(),
		"controller": true, "blockOwnerDeletion": true,
	}}}}
	return c.send(ctx, object, patch)
}

func (c Claim[T]) release(ctx context.Context, object T) error {
	patch := ownerPatch{ownerPatchMeta{UID: object.GetUID(), DeleteFinalizers: c.Finalizers, OwnerReferences: []map[string]any{{
		"$patch": "delete", "uid": c.Owner.GetUID(),
	}}}}
	err := c.send(ctx, object, patch)
	if apierrors.IsNotFound(err) || apierrors.IsInvalid(err) {
		return nil // gone, or already without owner
	}
	return err
}

func (c Claim[T]) send(ctx context.Context, object T, patch ownerPatch) error {
	data, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	return c.Patch(ctx, object, data)
}

// Reference is the owner reference that makes owner the controller of what carries it.
func Reference(owner metav1.Object, kind schema.GroupVersionKind) metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion: kind.GroupVersion().String(), Kind: kind.Kind, Name: owner.GetName(), UID: owner.GetUID(),
		Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
	}
}

// OwnerKey answers the key of object's controller if that is of the given kind, in the object's own namespace.
func OwnerKey(object metav1.Object, kind schema.GroupVersionKind) []string {
	controller := metav1.GetControllerOfNoCopy(object)
	if controller == nil || controller.Kind != kind.Kind {
		return nil
	}
	if group, err := schema.ParseGroupVersion(controller.APIVersion); err != nil || group.Group != kind.Group {
		return nil
	}
	return []string{Key(object.GetNamespace(), controller.Name)}
}
