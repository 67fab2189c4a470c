package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiff-project/skiff/apiserver/admission"
	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/storage"
	"github.com/skiff-project/skiff/apiserver/watchcache"
)

// Delete removes an object, or marks it for those who have to do something first: with a grace period, or with
// finalizers. opts must be valid; it is not changed.
func (res *Resource) Delete(ctx context.Context, w *Write, opts *metav1.DeleteOptions) (Result, error) {
	if res.Kind.WarnDelete != nil && !w.internal {
		warn(ctx, res.Kind.WarnDelete(opts))
	}
	current, err := res.read(ctx, w, watchcache.Cached)
	if err != nil {
		return Result{}, err
	}
	fresh := false
	refresh := func() (bool, error) {
		now, err := res.read(ctx, w, watchcache.Latest)
		if err != nil {
			return false, err
		}
		moved := revisionOf(now) != revisionOf(current)
		current, fresh = now, true
		return moved, nil
	}
	if current == nil {
		if _, err := refresh(); err != nil {
			return Result{}, err
		}
	}
	for {
		result, err := res.tryDelete(ctx, w, current, opts.DeepCopy())
		var conflict *storage.Conflict
		switch {
		case err == nil && (result.Deleted || result.Cached == nil || result.Cached != current || fresh):
			return result, nil
		case errors.As(err, &conflict):
			if _, err := refresh(); err != nil {
				return Result{}, err
			}
		case fresh:
			return result, err
		default:
			moved, refreshErr := refresh()
			if refreshErr != nil {
				return Result{}, refreshErr
			}
			if !moved {
				return result, err
			}
		}
		if ctx.Err() != nil {
			return Result{}, fromStorage(ctx.Err(), "delete", res.groupResource(w), w.Name)
		}
	}
}

// tryDelete deletes one state of an object.
func (res *Resource) tryDelete(ctx context.Context, w *Write, current *watchcache.Object, opts *metav1.DeleteOptions) (Result, error) {
	gr := res.groupResource(w)
	if current == nil {
		return Result{}, apierrors.NewNotFound(gr, w.Name)
	}
	old, err := current.Shared()
	if err != nil {
		return Result{}, apierrors.NewInternalError(err)
	}
	oldMeta, err := meta.Accessor(old)
	if err != nil {
		return Result{}, apierrors.NewInternalError(err)
	}
	if err := res.checkPreconditions(oldMeta, opts); err != nil {
		return Result{}, err
	}
	if opts.GracePeriodSeconds != nil && *opts.GracePeriodSeconds < 0 {
		*opts.GracePeriodSeconds = 1
	}
	obj := old.DeepCopyObject()
	m, err := meta.Accessor(obj)
	if err != nil {
		return Result{}, apierrors.NewInternalError(err)
	}
	req := res.request("delete", w)
	plan := res.planDeletion(req, obj, m, opts)
	if plan == alreadyMarked {
		// There is nothing to do, and so nothing to admit.
		return res.answerDeletion(w, Result{Cached: current}, oldMeta), nil
	}
	if !w.internal {
		if err := res.admitDelete(ctx, w, old, opts); err != nil {
			return Result{}, err
		}
	}
	if plan != removeNow {
		res.prepareDelete(req, obj)
		result, _, err := res.replace(ctx, w, current, obj, m)
		if err != nil {
			return Result{}, err
		}
		if plan == markOnly {
			return res.answerDeletion(w, result, oldMeta), nil
		}
		// Clients see the mark before they see the object go, as they do with upstream.
		if result.Object != nil { // of a dry run
			obj = result.Object
		} else {
			current = result.Cached
			if old, err = current.Shared(); err != nil {
				return Result{}, apierrors.NewInternalError(err)
			}
		}
	}
	var revision int64
	if plan == markAndRemove && !w.DryRun {
		revision, current, err = res.releaseMarked(ctx, w, req, current, old, oldMeta.GetUID())
	} else {
		revision, err = res.release(ctx, w, req, current, old)
	}
	if err != nil {
		return Result{}, err
	}
	if res.Kind.ReturnDeleted && revision > 0 {
		if obj, err = current.Decoded(); err != nil {
			return Result{}, apierrors.NewInternalError(err)
		}
		if m, err = meta.Accessor(obj); err == nil {
			m.SetResourceVersion(strconv.FormatInt(revision, 10))
		}
	}
	return res.answerDeletion(w, Result{Object: obj, Deleted: true}, oldMeta), nil
}

func (res *Resource) prepareDelete(req *kinds.Request, obj runtime.Object) {
	if res.Kind.PrepareDelete != nil {
		res.Kind.PrepareDelete(req, obj)
	}
}

// answerDeletion is what a DELETE is answered with: the object or, for most kinds, a Status that names it.
func (res *Resource) answerDeletion(w *Write, result Result, m metav1.Object) Result {
	if result.Deleted && !res.Kind.ReturnDeleted {
		gr := res.groupResource(w)
		return Result{Deleted: result.Deleted, Object: &metav1.Status{
			TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
			Status:   metav1.StatusSuccess,
			Details:  &metav1.StatusDetails{Name: m.GetName(), Group: gr.Group, Kind: gr.Resource, UID: m.GetUID()},
		}}
	}
	return result
}

// deletion is what a DELETE does to an object.
type deletion int

const (
	// removeNow takes the object out of etcd.
	removeNow deletion = iota
	// markOnly writes a deletionTimestamp; somebody else ends the object.
	markOnly
	// markAndRemove does one after the other: a graceful deletion without any time.
	markAndRemove
	// alreadyMarked finds the mark there already, with no more time than was asked for.
	alreadyMarked
)

// planDeletion decides, and marks obj accordingly. It follows upstream's BeforeDelete and what its store makes of
// finalizers: a graceful deletion (pods) gets a time in the future, one that finalizers hold up the present time.
func (res *Resource) planDeletion(req *kinds.Request, obj runtime.Object, m metav1.Object, opts *metav1.DeleteOptions) deletion {
	graceful, pending := res.planGrace(req, obj, m, opts)
	if pending {
		return alreadyMarked
	}
	if finalizers, changed := deletionFinalizers(res.Kind, m, opts); changed {
		m.SetFinalizers(finalizers)
	}
	held := len(m.GetFinalizers()) > 0
	if res.Kind.HasFinalizers != nil {
		if marked := m.GetDeletionTimestamp() != nil; marked && res.Kind.HasFinalizers(obj) {
			return alreadyMarked
		} else if !marked {
			// Such a kind (Namespace) is always marked first and removed by whoever empties it.
			now := metav1.NewTime(req.Now.Truncate(time.Second))
			m.SetDeletionTimestamp(&now)
			return markOnly
		}
	}
	switch {
	case graceful && (held || *m.GetDeletionGracePeriodSeconds() > 0):
		return markOnly
	case graceful:
		return markAndRemove
	case held:
		markDeleting(req, m)
		return markOnly
	}
	return removeNow
}

// planGrace applies grace periods: of the kind, of the options, and of a mark that is there already.
func (res *Resource) planGrace(req *kinds.Request, obj runtime.Object, m metav1.Object, opts *metav1.DeleteOptions) (graceful, pending bool) {
	if grace := m.GetDeletionGracePeriodSeconds(); grace != nil && *grace < 0 {
		one := int64(1)
		m.SetDeletionGracePeriodSeconds(&one)
	}
	if res.Kind.GracePeriod == nil {
		return false, false
	}
	if marked := m.GetDeletionTimestamp(); marked != nil {
		had := m.GetDeletionGracePeriodSeconds()
		if had == nil || *had == 0 {
			return false, false
		}
		if opts.GracePeriodSeconds == nil || *opts.GracePeriodSeconds >= *had {
			return false, true
		}
		return shorten(req, m, *opts.GracePeriodSeconds), false
	}
	seconds, isGraceful := res.Kind.GracePeriod(obj, opts)
	if !isGraceful {
		// At once, but marked as the graceful ones are.
		seconds = 0
	}
	opts.GracePeriodSeconds = &seconds
	at := metav1.NewTime(req.Now.Truncate(time.Second).Add(time.Duration(seconds) * time.Second))
	m.SetDeletionTimestamp(&at)
	m.SetDeletionGracePeriodSeconds(&seconds)
	if m.GetGeneration() > 0 {
		m.SetGeneration(m.GetGeneration() + 1)
	}
	return true, false
}

// shorten gives a marked object less time, counted from when it was marked, but never an end in the past.
func shorten(req *kinds.Request, m metav1.Object, seconds int64) bool {
	marked := m.GetDeletionTimestamp().Add(-time.Duration(*m.GetDeletionGracePeriodSeconds()) * time.Second)
	at := metav1.NewTime(marked.Add(time.Duration(seconds) * time.Second))
	if now := metav1.NewTime(req.Now.Truncate(time.Second)); at.Before(&now) {
		at = now
		if seconds != 0 {
			seconds = 1
		}
	}
	m.SetDeletionTimestamp(&at)
	m.SetDeletionGracePeriodSeconds(&seconds)
	return true
}

// markDeleting marks an object that finalizers keep.
func markDeleting(req *kinds.Request, m metav1.Object) {
	now := metav1.NewTime(req.Now.Truncate(time.Second))
	marked := m.GetDeletionTimestamp()
	if marked == nil && m.GetGeneration() > 0 {
		m.SetGeneration(m.GetGeneration() + 1)
	}
	if marked == nil || marked.After(req.Now) {
		m.SetDeletionTimestamp(&now)
	}
	var zero int64
	m.SetDeletionGracePeriodSeconds(&zero)
}

func (res *Resource) checkPreconditions(m metav1.Object, opts *metav1.DeleteOptions) error {
	p := opts.Preconditions
	if p == nil {
		return nil
	}
	if res.Kind.HasFinalizers != nil {
		return res.checkMarkedPreconditions(m, p)
	}
	// Upstream names the kind here, not the resource.
	gr := schema.GroupResource{Group: res.Kind.GVK.Group, Resource: res.Kind.GVK.Kind}
	if p.UID != nil && *p.UID != m.GetUID() {
		return apierrors.NewConflict(gr, m.GetName(), fmt.Errorf("the UID in the precondition (%s) does not match the UID in record (%s). The object might have been deleted and then recreated", *p.UID, m.GetUID()))
	}
	if p.ResourceVersion != nil && *p.ResourceVersion != m.GetResourceVersion() {
		return apierrors.NewConflict(gr, m.GetName(), fmt.Errorf("the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). The object might have been modified", *p.ResourceVersion, m.GetResourceVersion()))
	}
	return nil
}

// checkMarkedPreconditions has the words of upstream's own deletion of namespaces.
func (res *Resource) checkMarkedPreconditions(m metav1.Object, p *metav1.Preconditions) error {
	words := cmp.Or(res.Kind.Precondition, "Precondition failed")
	refuse := func(field, want, have string) error {
		return apierrors.NewConflict(res.Kind.GroupResource(), m.GetName(), fmt.Errorf("%s: %s in precondition: %v, %s in object meta: %v", words, field, want, field, have))
	}
	if p.UID != nil && *p.UID != m.GetUID() {
		return refuse("UID", string(*p.UID), string(m.GetUID()))
	}
	if p.ResourceVersion != nil && *p.ResourceVersion != m.GetResourceVersion() {
		return refuse("ResourceVersion", *p.ResourceVersion, m.GetResourceVersion())
	}
	return nil
}

// deletionFinalizers puts the finalizers in place by which the garbage collector is told what to do with dependents.
func deletionFinalizers(kind *kinds.Kind, m metav1.Object, opts *metav1.DeleteOptions) (finalizers []string, changed bool) {
	if kind.TTL != nil {
		// What expires by itself (events) is not collected.
		return nil, false
	}
	orphan, foreground := propagation(kind, m, opts)
	old := m.GetFinalizers()
	for _, f := range old {
		if f != metav1.FinalizerOrphanDependents && f != metav1.FinalizerDeleteDependents {
			finalizers = append(finalizers, f)
		}
	}
	if orphan {
		finalizers = append(finalizers, metav1.FinalizerOrphanDependents)
	}
	if foreground {
		finalizers = append(finalizers, metav1.FinalizerDeleteDependents)
	}
	if len(finalizers) == len(old) && !slices.ContainsFunc(finalizers, func(f string) bool { return !slices.Contains(old, f) }) {
		return old, false
	}
	return finalizers, true
}

func propagation(kind *kinds.Kind, m metav1.Object, opts *metav1.DeleteOptions) (orphan, foreground bool) {
	if opts.OrphanDependents != nil {
		return *opts.OrphanDependents, false
	}
	if opts.PropagationPolicy != nil {
		switch *opts.PropagationPolicy {
		case metav1.DeletePropagationOrphan:
			return true, false
		case metav1.DeletePropagationForeground:
			return false, true
		case metav1.DeletePropagationBackground:
			return false, false
		}
	}
	for _, f := range m.GetFinalizers() {
		switch f {
		case metav1.FinalizerOrphanDependents:
			return true, false
		case metav1.FinalizerDeleteDependents:
			return false, true
		}
	}
	return kind.DefaultOrphan, false
}

func (res *Resource) admitDelete(ctx context.Context, w *Write, old runtime.Object, opts *metav1.DeleteOptions) error {
	a := res.attributes(w, admission.Delete, nil, old)
	a.Options = opts
	if err := res.chain().Mutate(ctx, a); err != nil {
		return err
	}
	return res.chain().Validate(ctx, a)
}

// release removes an object and gives back what it has elsewhere.
func (res *Resource) release(ctx context.Context, w *Write, req *kinds.Request, current *watchcache.Object, old runtime.Object) (int64, error) {
	done, undo, err := res.begin(ctx, w, req, nil, old)
	if err != nil {
		return 0, err
	}
	revision, err := res.remove(ctx, w, current)
	if err != nil {
		undo()
		return 0, err
	}
	done()
	return revision, nil
}

// releaseMarked removes an object that this request has just marked. Whoever writes to it in between removes it too, since
// nothing holds it any more (see finished): then it is gone as was asked, and the revision is 0.
func (res *Resource) releaseMarked(ctx context.Context, w *Write, req *kinds.Request, current *watchcache.Object, old runtime.Object, uid types.UID) (int64, *watchcache.Object, error) {
	for {
		revision, err := res.release(ctx, w, req, current, old)
		var conflict *storage.Conflict
		switch {
		case apierrors.IsNotFound(err):
			return 0, current, nil
		case !errors.As(err, &conflict):
			return revision, current, err
		}
		now, err := res.read(ctx, w, watchcache.Latest)
		if err != nil {
			return 0, current, err
		}
		if now == nil {
			return 0, current, nil
		}
		obj, err := now.Shared()
		if err != nil {
			return 0, current, apierrors.NewInternalError(err)
		}
		if m, err := meta.Accessor(obj); err != nil || m.GetUID() != uid {
			return 0, current, nil // another one of the same name
		}
		current, old = now, obj
	}
}

// remove takes an object out of etcd.
func (res *Resource) remove(ctx context.Context, w *Write, current *watchcache.Object) (int64, error) {
	if w.DryRun {
		return 0, nil
	}
	revision, err := res.registry.cfg.Store.Delete(ctx, current.Key, current.Revision)
	var conflict *storage.Conflict
	if errors.As(err, &conflict) && conflict.Current == nil {
		// Somebody else removed it: there is nothing to compute anew.
		return 0, apierrors.NewNotFound(res.groupResource(w), w.Name)
	}
	if err == nil {
		res.Reader.Wrote(revision)
	}
	return revision, res.writeError(err, "delete", w)
}
