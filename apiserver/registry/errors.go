package registry

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/storage"
)

// errModified is what upstream says to a writer whose resourceVersion is not the current one.
var errModified = errors.New("the object has been modified; please apply your changes to the latest version and try again")

// retryAfter is how many seconds a client shall wait when etcd does not answer, as upstream tells it.
const retryAfter = 2

// fromStorage turns an error of the storage into a Status. doing is the verb.
func fromStorage(err error, doing string, gr schema.GroupResource, name string) error {
	var conflict *storage.Conflict
	switch {
	case err == nil:
		return nil
	case errors.Is(err, storage.ErrNotFound):
		return apierrors.NewNotFound(gr, name)
	case errors.Is(err, storage.ErrExists):
		return apierrors.NewAlreadyExists(gr, name)
	case errors.As(err, &conflict):
		return apierrors.NewConflict(gr, name, errModified)
	case errors.Is(err, storage.ErrTooLarge):
		// Upstream passes on etcd's words, and tools look for them.
		return storage.ErrTooLarge
	case errors.Is(err, storage.ErrTransform):
		return apierrors.NewInternalError(err)
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, storage.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return timedOut(doing, gr)
	case errors.Is(err, storage.ErrUnavailable):
		return apierrors.NewServiceUnavailable(fmt.Sprintf("the store cannot %s %s at the moment", doing, gr))
	}
	return err
}

// timedOut is a 504. Clients that are told when to come back try again by themselves, which a write, that may have happened
// after all, must not be; so only reads are.
func timedOut(doing string, gr schema.GroupResource) error {
	again := 0
	switch doing {
	case "get", "list", "watch":
		again = retryAfter
	}
	return apierrors.NewTimeoutError(fmt.Sprintf("the %s operation against %s could not be completed at this time, please try again", doing, gr), again)
}

// preconditionFailed is upstream's refusal of a write that expects another object than the one that is there.
func preconditionFailed(gr schema.GroupResource, name, key, what, want, have string) error {
	return apierrors.NewConflict(gr, name, fmt.Errorf(
		"StorageError: invalid object, Code: 4, Key: %s, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: %s in precondition: %v, %s in object meta: %v",
		key, what, want, what, have))
}

// invalid refuses an object of the kind.
func (res *Resource) invalid(name string, errs field.ErrorList) error {
	if res.Kind.RepeatErrors {
		return apierrors.NewInvalid(res.Kind.GVK.GroupKind(), name, errs)
	}
	return invalid(res.Kind.GVK.GroupKind(), name, errs)
}

// invalid refuses an object. A mistake that several checks found is told once.
func invalid(kind schema.GroupKind, name string, errs field.ErrorList) error {
	var once field.ErrorList
	seen := map[string]bool{}
	for _, err := range errs {
		if text := err.Error(); !seen[text] {
			seen[text] = true
			once = append(once, err)
		}
	}
	return apierrors.NewInvalid(kind, name, once)
}
