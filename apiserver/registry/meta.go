package registry

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"strings"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/managedfields"

	"github.com/skiff-project/skiff/apiserver/equal"
	"github.com/skiff-project/skiff/apiserver/request"
)

const secondGranularity = time.Second

const (
	duplicateOwners         = ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: %v"
	duplicateOwnersAdmitted = ".metadata.ownerReferences contains duplicate entries after mutating admission happens; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: %v"
	invalidManagedFields    = ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission controller; please fix your requests: %v"
)

// dedupOwners drops owner references that are there twice, and says so.
func dedupOwners(ctx context.Context, m metav1.Object, admitted bool) {
	refs := m.GetOwnerReferences()
	if len(refs) < 2 {
		return
	}
	var kept []metav1.OwnerReference
	var duplicates []string
	seen := map[types.UID]bool{}
	for _, ref := range refs {
		if seen[ref.UID] && hasOwner(kept, ref) {
			duplicates = append(duplicates, string(ref.UID))
			continue
		}
		seen[ref.UID] = true
		kept = append(kept, ref)
	}
	if len(duplicates) == 0 {
		return
	}
	format := duplicateOwners
	if admitted {
		format = duplicateOwnersAdmitted
	}
	request.Warn(ctx, fmt.Sprintf(format, strings.Join(duplicates, ", ")))
	m.SetOwnerReferences(kept)
}

func hasOwner(refs []metav1.OwnerReference, ref metav1.OwnerReference) bool {
	for i := range refs {
		if apiequality.Semantic.DeepEqual(refs[i], ref) {
			return true
		}
	}
	return false
}

// keepManagedFieldsValid takes back what admission made of the managed fields if nobody could read it.
func keepManagedFieldsValid(ctx context.Context, m metav1.Object, before []metav1.ManagedFieldsEntry) {
	after := m.GetManagedFields()
	if len(after) == len(before) && (len(after) == 0 || &after[0] == &before[0]) {
		return
	}
	if err := managedfields.ValidateManagedFields(after); err != nil {
		m.SetManagedFields(before)
		request.Warn(ctx, fmt.Sprintf(invalidManagedFields, err))
	}
}

// sameObject says that two objects of a type say the same. Mostly they do not: of what an API object consists of, the
// spec is the largest part and changes least, so that it comes last.
func sameObject(a, b runtime.Object) bool {
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	if x.Type() != y.Type() || x.Kind() != reflect.Pointer || x.Elem().Kind() != reflect.Struct {
		return apiequality.Semantic.DeepEqual(a, b)
	}
	x, y = x.Elem(), y.Elem()
	same := func(i int) bool { return equal.Pointers(x.Field(i).Addr(), y.Field(i).Addr()) }
	spec := -1
	for i := range x.NumField() {
		if x.Type().Field(i).Name == "Spec" {
			spec = i
		} else if !same(i) {
			return false
		}
	}
	return spec < 0 || same(spec)
}

// sameOwner says that two entries of the managed fields differ in nothing but their times.
func sameOwner(a, b *metav1.ManagedFieldsEntry) bool {
	if a.Manager != b.Manager || a.Operation != b.Operation || a.APIVersion != b.APIVersion || a.FieldsType != b.FieldsType ||
		a.Subresource != b.Subresource || (a.FieldsV1 == nil) != (b.FieldsV1 == nil) {
		return false
	}
	return bytes.Equal(a.FieldsV1.GetRawBytes(), b.FieldsV1.GetRawBytes())
}

// keepTimes gives the managed fields their old times if nothing else changed, in them or in the object: a write that
// changes nothing must not become one by its time. same says whether the objects are equal but for those times.
func keepTimes(m, old metav1.Object, same func() bool) {
	before, after := old.GetManagedFields(), m.GetManagedFields()
	if len(before) != len(after) || len(after) == 0 {
		return
	}
	changed := false
	for i := range after {
		a, b := &after[i], &before[i]
		if !a.Time.Equal(b.Time) {
			changed = true
		}
		if !sameOwner(a, b) {
			return
		}
	}
	if !changed {
		return
	}
	kept := make([]metav1.ManagedFieldsEntry, len(after))
	for i := range after {
		kept[i] = after[i]
		kept[i].Time = before[i].Time
	}
	m.SetManagedFields(kept)
	if !same() {
		m.SetManagedFields(after)
	}
}
