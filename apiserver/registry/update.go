package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/admission"
	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/storage"
	"github.com/skiff-project/skiff/apiserver/watchcache"
)

// change makes the object that shall be stored out of the one that is there, which it must not change and which is nil
// if there is none. It may be called several times, and each time makes a new object.
type change func(old runtime.Object) (runtime.Object, error)

// updating is an update on its way.
type updating struct {
	*Write
	verb   string
	change change
	// door is how the object is entered; nil for the main resource.
	door *kinds.UpdateDoor
	// uid is a precondition.
	uid *types.UID
	// create allows the update to make the object.
	create bool
	// seen is what admission sees of the object, where that is not the object itself (its Scale); it has been mutated then.
	seen func(obj runtime.Object) (runtime.Object, error)
	// bare leaves the managed fields out, since the object is too big with them.
	bare bool
}

// Update replaces an object. decode makes the object that the client sent, of the hub type and defaulted; it is called
// for every attempt, since each changes what it gets.
func (res *Resource) Update(ctx context.Context, w *Write, decode func() (runtime.Object, error)) (Result, error) {
	first, err := decode()
	if err != nil {
		return Result{}, err
	}
	m, err := meta.Accessor(first)
	if err != nil {
		return Result{}, apierrors.NewInternalError(err)
	}
	if err := res.matchNamespace(w, m); err != nil {
		return Result{}, err
	}
	if err := checkName(w, m); err != nil {
		return Result{}, err
	}
	dedupOwners(ctx, m, false)
	u := &updating{Write: w, verb: "update", door: res.door(w), create: res.Kind.AllowCreateOnUpdate && w.Subresource == ""}
	if uid := m.GetUID(); uid != "" {
		u.uid = &uid
	}
	u.change = func(old runtime.Object) (runtime.Object, error) {
		obj := first
		if first = nil; obj == nil {
			if obj, err = decode(); err != nil {
				return nil, err
			}
			again, err := meta.Accessor(obj)
			if err != nil {
				return nil, apierrors.NewInternalError(err)
			}
			if err := res.matchNamespace(w, again); err != nil {
				return nil, err
			}
			dedupOwners(ctx, again, false)
		}
		return res.track(u, old, obj), nil
	}
	return res.update(ctx, u)
}

// track records the writer of obj.
func (res *Resource) track(u *updating, old, obj runtime.Object) runtime.Object {
	if u.bare {
		if m, err := meta.Accessor(obj); err == nil {
			m.SetManagedFields(nil)
		}
		return obj
	}
	tracker := res.tracker(res.version(u.Write), u.Subresource)
	if old == nil {
		return tracker.Create(res.Codec.New, obj, u.Manager)
	}
	return tracker.Update(old, obj, u.Manager)
}

func (res *Resource) door(w *Write) *kinds.UpdateDoor {
	if s := res.Kind.Subresource(w.Version, w.Subresource); s != nil {
		return s.Update
	}
	return nil
}

func checkName(w *Write, m metav1.Object) error {
	switch name := m.GetName(); {
	case name == "":
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s based on URL) was undeterminable: name must be provided", w.Name))
	case name != w.Name:
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", name, w.Name))
	}
	return nil
}

// update runs an update until no other write came between, and computes a refusal anew on fresh state if it came from
// what this server happened to know.
func (res *Resource) update(ctx context.Context, u *updating) (Result, error) {
	result, err := res.updateLoop(ctx, u)
	if errors.Is(err, storage.ErrTooLarge) && !u.bare && u.verb != "apply" {
		u.bare = true
		return res.updateLoop(ctx, u)
	}
	return result, err
}

func (res *Resource) updateLoop(ctx context.Context, u *updating) (Result, error) {
	current, err := res.read(ctx, u.Write, watchcache.Cached)
	if err != nil {
		return Result{}, err
	}
	fresh := false
	// refresh reads again, and says whether anything else is there now.
	refresh := func() (bool, error) {
		now, err := res.read(ctx, u.Write, watchcache.Latest)
		if err != nil {
			return false, err
		}
		moved := revisionOf(now) != revisionOf(current)
		current, fresh = now, true
		return moved, nil
	}
	if current == nil {
		// Nearly all that is written to is there: better ask than compute a refusal for nothing.
		if _, err := refresh(); err != nil {
			return Result{}, err
		}
	}
	for {
		result, unchanged, err := res.attempt(ctx, u, current)
		var conflict *storage.Conflict
		switch {
		case err == nil && (!unchanged || fresh):
			return result, nil
		case errors.As(err, &conflict), errors.Is(err, errRace):
			if _, err := refresh(); err != nil {
				return Result{}, err
			}
		case fresh:
			return Result{}, err
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
			return Result{}, fromStorage(ctx.Err(), "update", res.groupResource(u.Write), u.Name)
		}
	}
}

// errRace says that an object appeared or went while it was being made or changed.
var errRace = errors.New("another write came first")

// read is the object, or nil if there is none.
func (res *Resource) read(ctx context.Context, w *Write, fresh watchcache.Fresh) (*watchcache.Object, error) {
	obj, err := res.Reader.Get(ctx, w.Namespace, w.Name, fresh)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	return obj, fromStorage(err, "update", res.groupResource(w), w.Name)
}

func revisionOf(o *watchcache.Object) int64 {
	if o == nil {
		return 0
	}
	return o.Revision
}

// attempt tries an update on one state of the object. unchanged says that nothing was to be written.
func (res *Resource) attempt(ctx context.Context, u *updating, current *watchcache.Object) (result Result, unchanged bool, err error) {
	gr := res.groupResource(u.Write)
	if current == nil {
		if !u.create {
			return Result{}, false, apierrors.NewNotFound(gr, u.Name)
		}
		result, err := res.createByUpdate(ctx, u)
		return result, false, err
	}
	old, err := current.Shared()
	if err != nil {
		return Result{}, false, apierrors.NewInternalError(err)
	}
	oldMeta, err := meta.Accessor(old)
	if err != nil {
		return Result{}, false, apierrors.NewInternalError(err)
	}
	if u.uid != nil && *u.uid != oldMeta.GetUID() {
		key := current.Key
		if u.DryRun {
			// Upstream checks dry runs in front of its storage, where keys are shorter, and shows them.
			key = strings.TrimPrefix(key, "/registry")
		}
		return Result{}, false, preconditionFailed(gr, u.Name, key, "UID", string(*u.uid), string(oldMeta.GetUID()))
	}
	obj, err := u.change(old)
	if err != nil {
		return Result{}, false, err
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return Result{}, false, apierrors.NewInternalError(err)
	}
	if err := res.mutateUpdate(ctx, u, obj, old, m); err != nil {
		return Result{}, false, err
	}
	if err := res.matchRevision(u.Write, m, oldMeta); err != nil {
		return Result{}, false, err
	}
	req := res.request(u.verb, u.Write)
	done, undo, err := res.begin(ctx, u.Write, req, obj, old)
	if err != nil {
		return Result{}, false, err
	}
	defer func() { undo() }()
	if err := res.prepareUpdate(ctx, u, req, obj, old, m, oldMeta); err != nil {
		return Result{}, false, err
	}
	keepTimes(m, oldMeta, func() bool { return sameObject(obj, old) })
	if err := res.admitUpdate(ctx, u, obj, old); err != nil {
		return Result{}, false, err
	}
	if res.finished(obj, m, oldMeta) {
		// The update is not written: what it reserved goes back, and what the object had goes with it.
		undo()
		undo = func() {}
		if _, err := res.release(ctx, u.Write, req, current, old); err != nil {
			return Result{}, false, err
		}
		return Result{Object: obj, Deleted: true}, false, nil
	}
	result, unchanged, err = res.replace(ctx, u.Write, current, obj, m)
	if err != nil {
		return Result{}, false, err
	}
	undo = func() {}
	done()
	return result, unchanged, nil
}

func (res *Resource) mutateUpdate(ctx context.Context, u *updating, obj, old runtime.Object, m metav1.Object) error {
	if u.internal || u.seen != nil {
		return nil
	}
	if err := res.mutate(ctx, res.attributes(u.Write, admission.Update, obj, old)); err != nil {
		return err
	}
	dedupOwners(ctx, m, true)
	return nil
}

func (res *Resource) admitUpdate(ctx context.Context, u *updating, obj, old runtime.Object) error {
	if u.seen != nil {
		var err error
		if obj, err = u.seen(obj); err != nil {
			return err
		}
		if old, err = u.seen(old); err != nil {
			return err
		}
	}
	return res.admitValid(ctx, u.Write, admission.Update, obj, old)
}

// matchRevision holds the resourceVersion that the client sent against the current one.
func (res *Resource) matchRevision(w *Write, m, old metav1.Object) error {
	sent := m.GetResourceVersion()
	if sent == old.GetResourceVersion() {
		return nil
	}
	var revision uint64
	if sent != "" {
		var err error
		if revision, err = strconv.ParseUint(sent, 10, 64); err != nil {
			return err
		}
	}
	gr := res.groupResource(w)
	switch {
	case revision == 0 && res.Kind.AllowUnconditionalUpdate:
		m.SetResourceVersion(old.GetResourceVersion())
		return nil
	case revision == 0:
		return apierrors.NewInvalid(schema.GroupKind{Group: gr.Group, Kind: gr.Resource}, w.Name, field.ErrorList{
			field.Invalid(field.NewPath("metadata", "resourceVersion"), 0, "must be specified for an update")})
	}
	return apierrors.NewConflict(gr, w.Name, errModified)
}

func (res *Resource) prepareUpdate(ctx context.Context, u *updating, req *kinds.Request, obj, old runtime.Object, m, oldMeta metav1.Object) error {
	if err := res.matchNamespace(u.Write, m); err != nil {
		return err
	}
	m.SetGeneration(oldMeta.GetGeneration())
	if u.door != nil {
		u.door.Prepare(req, obj, old)
	} else {
		res.Kind.PrepareUpdate(req, obj, old)
	}
	if m.GetUID() == "" {
		m.SetUID(oldMeta.GetUID())
	}
	if created := oldMeta.GetCreationTimestamp(); !created.IsZero() {
		m.SetCreationTimestamp(created)
	}
	if deleted := oldMeta.GetDeletionTimestamp(); !deleted.IsZero() {
		m.SetDeletionTimestamp(deleted)
	}
	if grace := oldMeta.GetDeletionGracePeriodSeconds(); grace != nil && m.GetDeletionGracePeriodSeconds() == nil {
		m.SetDeletionGracePeriodSeconds(grace)
	}
	var errs field.ErrorList
	var warnings func(*kinds.Request, runtime.Object, runtime.Object) []string
	if u.door != nil {
		if u.door.Validate != nil {
			errs = u.door.Validate(req, obj, old)
		}
		warnings = u.door.Warnings
	} else {
		errs, warnings = res.Kind.ValidateUpdate(req, obj, old), res.Kind.Warnings
	}
	if len(errs) > 0 {
		return res.invalid(m.GetName(), errs)
	}
	if warnings != nil {
		warn(ctx, warnings(req, obj, old))
	}
	return nil
}

// finished says that an update took the last thing away that kept a marked object.
func (res *Resource) finished(obj runtime.Object, m, old metav1.Object) bool {
	if len(m.GetFinalizers()) > 0 || old.GetDeletionTimestamp() == nil {
		return false
	}
	if res.Kind.HasFinalizers != nil && res.Kind.HasFinalizers(obj) {
		return false
	}
	grace := old.GetDeletionGracePeriodSeconds()
	return grace == nil || *grace == 0
}

// replace writes obj over current.
func (res *Resource) replace(ctx context.Context, w *Write, current *watchcache.Object, obj runtime.Object, m metav1.Object) (Result, bool, error) {
	version := m.GetResourceVersion()
	value, err := res.Codec.EncodeStored(obj)
	if err != nil {
		return Result{}, false, err
	}
	if bytes.Equal(value, current.Stored()) {
		stale, err := res.registry.cfg.Store.Stale(ctx, current.Key)
		if err != nil {
			return Result{}, false, fromStorage(err, "update", res.groupResource(w), w.Name)
		}
		if !stale {
			return Result{Cached: current}, true, nil
		}
	}
	if w.DryRun {
		obj, err := res.asStored(obj, version)
		return Result{Object: obj}, false, err
	}
	var ttl int64
	if res.Kind.TTL != nil {
		ttl = res.Kind.TTL(obj)
	}
	prepared := res.Reader.Prepare(current.Key, value, obj)
	defer prepared.Drop()
	revision, err := res.registry.cfg.Store.Update(ctx, current.Key, value, current.Revision, ttl)
	if err != nil {
		return Result{}, false, res.writeError(err, "update", w)
	}
	return Result{Cached: prepared.Done(revision)}, false, nil
}

// writeError keeps conflicts as they are, for the loop to see.
func (res *Resource) writeError(err error, doing string, w *Write) error {
	var conflict *storage.Conflict
	if errors.As(err, &conflict) {
		return err
	}
	return fromStorage(err, doing, res.groupResource(w), w.Name)
}

// createByUpdate makes the object of a PUT or an apply of a name that is not there.
func (res *Resource) createByUpdate(ctx context.Context, u *updating) (Result, error) {
	gr := res.groupResource(u.Write)
	if u.uid != nil {
		return Result{}, preconditionFailed(gr, u.Name, res.Kind.Key(u.Namespace, u.Name), "UID", string(*u.uid), "")
	}
	obj, err := u.change(nil)
	if err != nil {
		return Result{}, err
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return Result{}, apierrors.NewInternalError(err)
	}
	if !u.internal {
		if err := res.mutate(ctx, res.attributes(u.Write, admission.Create, obj, nil)); err != nil {
			return Result{}, err
		}
		dedupOwners(ctx, m, true)
	}
	wipeSystemFields(m)
	req := res.request("create", u.Write)
	fillSystemFields(req, m)
	done, undo, err := res.begin(ctx, u.Write, req, obj, nil)
	if err != nil {
		return Result{}, err
	}
	defer func() { undo() }()
	if err := res.prepareNew(ctx, u.Write, req, obj, m); err != nil {
		return Result{}, err
	}
	if err := res.mayCreate(ctx, u.Write); err != nil {
		return Result{}, err
	}
	if err := res.admitValid(ctx, u.Write, admission.Create, obj, nil); err != nil {
		return Result{}, err
	}
	result, err := res.insert(ctx, u.Write, obj, m)
	if errors.Is(err, storage.ErrExists) {
		return Result{}, errRace
	}
	if err != nil {
		return Result{}, fromStorage(err, "create", gr, u.Name)
	}
	undo = func() {}
	done()
	result.Created = true
	return result, nil
}

func (res *Resource) mayCreate(ctx context.Context, w *Write) error {
	if w.internal || res.registry.cfg.MayCreate == nil {
		return nil
	}
	return res.registry.cfg.MayCreate(ctx, w.User, res.Kind, res.version(w), w.Subresource, w.Namespace, w.Name)
}
