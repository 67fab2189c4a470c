package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/google/uuid"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/skiff-project/skiff/apiserver/admission"
	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/request"
	"github.com/skiff-project/skiff/apiserver/storage"
	"github.com/skiff-project/skiff/apiserver/watchcache"
)

// serverManager is who the managed fields name for what the server does by itself.
const serverManager = "kube-apiserver"

// nameAttempts is how often a generated name is made before a clash is reported.
const nameAttempts = 8

// Create stores a new object. obj is of the hub type and defaulted; it is given away.
func (res *Resource) Create(ctx context.Context, w *Write, obj runtime.Object) (Result, error) {
	result, err := res.createAdmitted(ctx, w, obj)
	if refused(err) && res.moved(ctx, w.required) {
		err = storage.ErrMoved
	}
	return result, err
}

// refused says that the client is to blame, and not for a name that is taken.
func refused(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && status.Status().Code < http.StatusInternalServerError && !apierrors.IsAlreadyExists(err)
}

// moved says that not all conditions hold any more: what a refusal went by may have changed.
func (res *Resource) moved(ctx context.Context, conditions []storage.Condition) bool {
	for _, c := range conditions {
		kv, err := res.registry.cfg.Store.Get(ctx, c.Key)
		if err == nil && kv.Revision != c.Revision || errors.Is(err, storage.ErrNotFound) {
			return true
		}
	}
	return false
}

func (res *Resource) createAdmitted(ctx context.Context, w *Write, obj runtime.Object) (Result, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return Result{}, apierrors.NewInternalError(err)
	}
	wipeSystemFields(m)
	if err := res.matchNamespace(w, m); err != nil {
		return Result{}, err
	}
	if w.Name == "" {
		w.Name = m.GetName()
	}
	dedupOwners(ctx, m, false)
	attrs := res.attributes(w, admission.Create, obj, nil)
	if w.internal {
		// Upstream's server makes objects as a client of its own.
		w.Manager = serverManager
		obj = res.tracker(res.version(w), "").Create(res.Codec.New, obj, w.Manager)
	} else {
		obj = res.tracker(res.version(w), w.Subresource).Create(res.Codec.New, obj, w.Manager)
		attrs.Optimistic = w.Optimistic && !w.DryRun
		err := res.mutate(ctx, attrs)
		w.required = attrs.Required
		if err != nil {
			return Result{}, err
		}
		dedupOwners(ctx, m, true)
	}
	return res.createRetrying(ctx, w, obj)
}

// createRetrying makes a name where the client left that to the server, and another one if that exists.
func (res *Resource) createRetrying(ctx context.Context, w *Write, obj runtime.Object) (Result, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return Result{}, apierrors.NewInternalError(err)
	}
	if m.GetName() != "" || m.GetGenerateName() == "" {
		return res.createSmaller(ctx, w, obj)
	}
	var result Result
	for range nameAttempts {
		result, err = res.createSmaller(ctx, w, obj.DeepCopyObject())
		if !apierrors.IsAlreadyExists(err) {
			break
		}
	}
	return result, err
}

// createSmaller does without managed fields where the object is too big for etcd with them.
func (res *Resource) createSmaller(ctx context.Context, w *Write, obj runtime.Object) (Result, error) {
	result, err := res.create(ctx, w, obj)
	if errors.Is(err, storage.ErrTooLarge) {
		if m, metaErr := meta.Accessor(obj); metaErr == nil && len(m.GetManagedFields()) > 0 {
			m.SetManagedFields(nil)
			return res.create(ctx, w, obj)
		}
	}
	return result, err
}

func (res *Resource) create(ctx context.Context, w *Write, obj runtime.Object) (Result, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return Result{}, apierrors.NewInternalError(err)
	}
	req := res.request("create", w)
	fillSystemFields(req, m)
	if m.GetName() == "" && m.GetGenerateName() != "" {
		m.SetName(generateName(m.GetGenerateName()))
	}
	req.Name = m.GetName()
	done, undo, err := res.begin(ctx, w, req, obj, nil)
	if err != nil {
		return Result{}, err
	}
	defer func() { undo() }()
	if err := res.prepareNew(ctx, w, req, obj, m); err != nil {
		return Result{}, err
	}
	if err := res.admitValid(ctx, w, admission.Create, obj, nil); err != nil {
		return Result{}, err
	}
	if rv := m.GetResourceVersion(); rv != "" && !w.DryRun { // upstream's storage checks it, which dry runs do not reach
		n, err := strconv.ParseUint(rv, 10, 64)
		if err != nil {
			return Result{}, err
		}
		if n != 0 {
			return Result{}, errors.New("resourceVersion should not be set on objects to be created")
		}
	}
	result, err := res.insert(ctx, w, obj, m)
	if err != nil {
		return Result{}, res.createError(ctx, w, m, err)
	}
	undo = func() {}
	done()
	return result, nil
}

// prepareNew is what happens to a new object between Begin and admission's last word.
func (res *Resource) prepareNew(ctx context.Context, w *Write, req *kinds.Request, obj runtime.Object, m metav1.Object) error {
	if err := res.matchNamespace(w, m); err != nil {
		return err
	}
	res.Kind.PrepareCreate(req, obj)
	if errs := res.Kind.Validate(req, obj); len(errs) > 0 {
		return res.invalid(m.GetName(), errs)
	}
	warn(ctx, res.Kind.Warnings(req, obj, nil))
	return nil
}

// insert writes an object that must not exist yet.
func (res *Resource) insert(ctx context.Context, w *Write, obj runtime.Object, m metav1.Object) (Result, error) {
	key := res.Kind.Key(m.GetNamespace(), m.GetName())
	if w.DryRun {
		if _, err := res.Reader.Get(ctx, m.GetNamespace(), m.GetName(), watchcache.Latest); err == nil {
			return Result{}, storage.ErrExists
		} else if !errors.Is(err, storage.ErrNotFound) {
			return Result{}, err
		}
		obj, err := res.asStored(obj, m.GetResourceVersion())
		return Result{Object: obj}, err
	}
	var ttl int64
	if res.Kind.TTL != nil {
		ttl = res.Kind.TTL(obj)
	}
	value, err := res.Codec.EncodeStored(obj)
	if err != nil {
		return Result{}, err
	}
	prepared := res.Reader.Prepare(key, value, obj)
	defer prepared.Drop()
	revision, err := res.registry.cfg.Store.Create(ctx, key, value, ttl, w.required...)
	if err != nil {
		return Result{}, err
	}
	return Result{Cached: prepared.Done(revision)}, nil
}

// asStored is what a reader would see of obj if it were stored, for the answer to a dry run: what protobuf cannot tell from
// nothing (an empty list) is nothing then, and defaults that follow from what the server set are there. The object carries
// the given resourceVersion.
func (res *Resource) asStored(obj runtime.Object, version string) (runtime.Object, error) {
	value, err := res.Codec.EncodeStored(obj)
	if err != nil {
		return nil, err
	}
	stored, err := res.Codec.Decode(value, 0)
	if err != nil {
		return nil, err
	}
	m, err := meta.Accessor(stored)
	if err != nil {
		return nil, err
	}
	m.SetResourceVersion(version)
	return stored, nil
}

// createError tells a clash of names as upstream does.
func (res *Resource) createError(ctx context.Context, w *Write, m metav1.Object, err error) error {
	gr := res.groupResource(w)
	err = fromStorage(err, "create", gr, m.GetName())
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	if m.GetGenerateName() != "" {
		err = apierrors.NewGenerateNameConflict(gr, m.GetName(), 1)
	}
	there, getErr := res.Reader.Get(ctx, m.GetNamespace(), m.GetName(), watchcache.Latest)
	if getErr != nil {
		return err
	}
	if old, sharedErr := there.Shared(); sharedErr == nil {
		if oldMeta, metaErr := meta.Accessor(old); metaErr == nil && oldMeta.GetDeletionTimestamp() != nil {
			status := err.(*apierrors.StatusError)
			status.ErrStatus.Message = "object is being deleted: " + status.ErrStatus.Message
		}
	}
	return err
}

// begin calls the row's Begin. done and undo are never nil.
func (res *Resource) begin(ctx context.Context, w *Write, req *kinds.Request, obj, old runtime.Object) (done, undo func(), err error) {
	nothing := func() {}
	if res.Kind.Begin == nil {
		return nothing, nothing, nil
	}
	req.DryRun = w.DryRun
	done, undo, err = res.Kind.Begin(ctx, res.registry.Hooks(), req, obj, old)
	if done == nil {
		done = nothing
	}
	if undo == nil {
		undo = nothing
	}
	return done, undo, err
}

func (res *Resource) attributes(w *Write, op admission.Operation, obj, old runtime.Object) *admission.Attributes {
	a := &admission.Attributes{
		Kind: res.Kind, Version: w.Version, Subresource: w.Subresource, Operation: op, Namespace: w.Namespace, Name: w.Name,
		Object: obj, Old: old, Options: w.Options, User: w.User, DryRun: w.DryRun,
	}
	if a.Namespace == "" && res.isNamespaces() {
		a.Namespace = w.Name
	}
	return a
}

// isNamespaces tells the one cluster-scoped kind whose objects count as being inside of themselves.
func (res *Resource) isNamespaces() bool {
	return res.Kind.GVK.Group == "" && res.Kind.Resource == "namespaces"
}

func (res *Resource) chain() admission.Interface { return *res.registry.admission.Load() }

func (res *Resource) mutate(ctx context.Context, a *admission.Attributes) error {
	m, err := meta.Accessor(a.Object)
	if err != nil {
		return res.chain().Mutate(ctx, a)
	}
	before := m.GetManagedFields()
	if err := res.chain().Mutate(ctx, a); err != nil {
		return err
	}
	keepManagedFieldsValid(ctx, m, before)
	return nil
}

func (res *Resource) admitValid(ctx context.Context, w *Write, op admission.Operation, obj, old runtime.Object) error {
	if w.internal {
		return nil
	}
	a := res.attributes(w, op, obj, old)
	if m, err := meta.Accessor(obj); err == nil && a.Name == "" {
		a.Name = m.GetName()
	}
	return res.chain().Validate(ctx, a)
}

// matchNamespace holds the namespace of an object against that of the path.
func (res *Resource) matchNamespace(w *Write, m metav1.Object) error {
	want := w.Namespace
	if res.Kind.Scope == kinds.Cluster {
		want = ""
	}
	switch have := m.GetNamespace(); {
	case have == want:
	case have == "" || want == "":
		m.SetNamespace(want)
	default:
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	return nil
}

func wipeSystemFields(m metav1.Object) {
	m.SetCreationTimestamp(metav1.Time{})
	m.SetUID("")
	m.SetDeletionTimestamp(nil)
	m.SetDeletionGracePeriodSeconds(nil)
	m.SetSelfLink("")
}

func fillSystemFields(req *kinds.Request, m metav1.Object) {
	// The API's times have seconds: what is cached must be what etcd will give back.
	m.SetCreationTimestamp(metav1.NewTime(req.Now.Truncate(secondGranularity)))
	m.SetUID(types.UID(uuid.NewString()))
}

const (
	// A generated name is cut so that it fits a label with its suffix.
	maxGeneratedBase = 63 - generatedSuffix
	generatedSuffix  = 5
)

func generateName(base string) string {
	if len(base) > maxGeneratedBase {
		base = base[:maxGeneratedBase]
	}
	return fmt.Sprintf("%s%s", base, rand.String(generatedSuffix))
}

func warn(ctx context.Context, texts []string) {
	for _, text := range texts {
		request.Warn(ctx, text)
	}
}
