package kinds

import (
	"context"
	"reflect"
	"sort"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/equal"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/shape"
)

// Object is what every stored type is: a pointer to a struct with TypeMeta and ObjectMeta.
type Object interface {
	runtime.Object
	metav1.Object
}

// Row describes one kind in terms of its own Go type. Only Resource (and for most kinds Scope) must be set; see Kind for
// what each function has to do. Define fills in the rest from the scheme.
type Row[T Object] struct {
	Resource   string
	Singular   string // default: the kind in lower case
	ShortNames []string
	Categories []string
	Scope      Scope
	Verbs      []string // default: all eight
	// EtcdPrefix defaults to Resource.
	EtcdPrefix string
	// StorageVersion names another version of the same group for etcd, convertible by way of JSON because the structs
	// agree field by field ("v1beta1").
	StorageVersion string
	// StoredAs is the version for etcd where the structs do not agree.
	StoredAs   *Version
	StoredJSON bool
	// AlsoServed are further versions; the hub's own is added in front.
	AlsoServed []Version
	// Deprecated is the Warning that every request for the hub's version is answered with.
	Deprecated string
	// NoGeneration: the kind does not count metadata.generation. The default is counting, from 1 on create and by one
	// for each change outside metadata and status, for kinds that have a Spec or say so here.
	Generation GenerationRule

	// Name is the rule for names; default Subdomain.
	Name NameRule
	// Revalidate: an update is validated like a new object (metadata included) before ValidateUpdate adds its part.
	Revalidate bool
	// AnyFinalizer: finalizers need not be named after a domain.
	AnyFinalizer bool

	Blank                 func(T)
	OwnAnnotations        []string
	Default               func(T)
	PrepareCreate         func(*Request, T)                       // after the common part
	PrepareUpdate         func(*Request, T, T)                    // after the common part
	Validate              func(*Request, T) field.ErrorList       // after metadata
	ValidateUpdate        func(*Request, T, T) field.ErrorList    // after metadata
	Warnings              func(req *Request, obj, old T) []string // old is nil on create
	OwnWritesUnnamed      bool
	RepeatErrors          bool
	AllowCreateOnUpdate   bool
	NoUnconditionalUpdate bool
	Fields                func(T) fields.Set
	UnknownField          string
	WarnDelete            func(*metav1.DeleteOptions) []string
	Columns               []Column[T]
	RowConditions         func(T) []metav1.TableRowCondition
	NoStatus              bool // has a Status field but no status subresource
	StatusOnCreate        bool // keeps what a client puts into status on create
	StatusResetsMeta      bool // a write of the status cannot change labels, annotations, owners or finalizers
	PrepareStatus         func(*Request, T, T)
	StatusWarnings        func(req *Request, obj, old T) []string
	ValidateStatus        func(*Request, T, T) field.ErrorList
	Scale                 *Scale[T]
	Subresources          map[string]*Subresource
	Begin                 func(ctx context.Context, store Store, req *Request, obj, old T) (done, undo func(), err error)
	GracePeriod           func(T, *metav1.DeleteOptions) (int64, bool)
	PrepareDelete         func(*Request, T)
	HasFinalizers         func(T) bool
	Precondition          string
	ReturnDeleted         bool
	DefaultOrphan         bool
	Resets                []string // default: status, where it has a subresource of its own
	StatusResets          []string // default: spec
	TTL                   func(T) int64
	Uncached              bool
}

// GenerationRule says when metadata.generation counts.
type GenerationRule int

const (
	// GenerationAuto counts if the type has a Spec field and a Status field.
	GenerationAuto GenerationRule = iota
	// GenerationAlways counts for every change outside metadata and status.
	GenerationAlways
	// GenerationNever leaves the field alone.
	GenerationNever
	// GenerationOwn leaves counting to the row's Prepare functions.
	GenerationOwn
)

// Column is one column of a kind's Table.
type Column[T any] struct {
	Name        string
	Type        string // default "string"
	Format      string
	Description string
	Priority    int32 // above 0: shown by -o wide only
	Cell        func(T) any
}

// Scale is ScaleDoor with the kind's type.
type Scale[T any] struct {
	Get func(T) (spec, status int32, selector string)
	Set func(T, int32)
}

var allVerbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}

// Define turns a row into a Kind. The Go type must be known to Scheme. It panics on a row that contradicts itself, since
// rows are compiled in.
func Define[T Object](r Row[T]) *Kind {
	typ := reflect.TypeFor[T]().Elem()
	newT := func() T { return reflect.New(typ).Interface().(T) }
	gvk := hubGVK(newT())
	listGVK := gvk.GroupVersion().WithKind(gvk.Kind + "List")
	k := &Kind{
		GVK: gvk, ListKind: listGVK.Kind, Resource: r.Resource, Singular: r.Singular, ShortNames: r.ShortNames,
		Categories: r.Categories, Scope: r.Scope, Verbs: r.Verbs, EtcdPrefix: r.EtcdPrefix, StoredJSON: r.StoredJSON,
		AllowCreateOnUpdate: r.AllowCreateOnUpdate, AllowUnconditionalUpdate: !r.NoUnconditionalUpdate,
		Uncached: r.Uncached, ReturnDeleted: r.ReturnDeleted, Resets: r.Resets, UnknownField: r.UnknownField, Precondition: r.Precondition, DefaultOrphan: r.DefaultOrphan,
		WarnDelete: r.WarnDelete, Subresources: map[string]*Subresource{},
		New:     func() runtime.Object { return newT() },
		NewList: func() runtime.Object { return mustNew(listGVK) },
	}
	if k.Singular == "" {
		k.Singular = strings.ToLower(gvk.Kind)
	}
	if k.Verbs == nil {
		k.Verbs = allVerbs
	}
	if k.EtcdPrefix == "" {
		k.EtcdPrefix = r.Resource
	}
	hub := Version{GVK: gvk, ListKind: k.ListKind, New: k.New, NewList: k.NewList, Deprecated: r.Deprecated}
	k.Served = append([]Version{hub}, r.AlsoServed...)
	k.Stored = hub
	if r.StorageVersion != "" && r.StorageVersion != gvk.Version {
		k.Stored = sameLayout(gvk, r.StorageVersion)
	}
	if r.StoredAs != nil {
		k.Stored = *r.StoredAs
	}

	k.OwnAnnotations, k.OwnWritesUnnamed, k.RepeatErrors = r.OwnAnnotations, r.OwnWritesUnnamed, r.RepeatErrors
	if r.Blank != nil {
		k.Blank = func(o runtime.Object) { r.Blank(o.(T)) }
	}
	k.Default = func(o runtime.Object) {
		if r.Default != nil {
			r.Default(o.(T))
		}
	}
	statusField, hasStatus := typ.FieldByName("Status")
	_, hasSpec := typ.FieldByName("Spec")
	counts := r.Generation == GenerationAlways || r.Generation == GenerationAuto && hasSpec && hasStatus
	status := func(o T) reflect.Value { return reflect.ValueOf(o).Elem().FieldByIndex(statusField.Index) }
	k.PrepareCreate = func(req *Request, o runtime.Object) {
		obj := o.(T)
		if hasStatus && !r.NoStatus && !r.StatusOnCreate {
			status(obj).SetZero()
		}
		if counts {
			obj.SetGeneration(1)
		}
		if r.PrepareCreate != nil {
			r.PrepareCreate(req, obj)
		}
	}
	k.PrepareUpdate = func(req *Request, o, old runtime.Object) {
		obj, before := o.(T), old.(T)
		if hasStatus && !r.NoStatus {
			status(obj).Set(status(before))
		}
		obj.SetGeneration(before.GetGeneration())
		if r.PrepareUpdate != nil {
			r.PrepareUpdate(req, obj, before)
		}
		if counts && changedOutsideMetaAndStatus(obj, before) {
			obj.SetGeneration(before.GetGeneration() + 1)
		}
	}
	k.Validate = func(req *Request, o runtime.Object) field.ErrorList {
		obj := o.(T)
		errs := ValidateMeta(obj, r.Scope, r.Name)
		if !r.AnyFinalizer {
			errs = append(errs, ValidateFinalizers(obj)...)
		}
		if r.Validate != nil {
			errs = append(errs, r.Validate(req, obj)...)
		}
		return shape.Errors(errs)
	}
	k.ValidateUpdate = func(req *Request, o, old runtime.Object) field.ErrorList {
		obj, before := o.(T), old.(T)
		errs := ValidateMetaUpdate(obj, before, r.Scope)
		if !r.AnyFinalizer {
			errs = append(errs, ValidateFinalizers(obj)...)
		}
		if r.Revalidate {
			errs = append(errs, k.Validate(req, o)...)
		}
		if r.ValidateUpdate != nil {
			errs = append(errs, r.ValidateUpdate(req, obj, before)...)
		}
		return shape.Errors(errs)
	}
	k.Warnings = func(req *Request, o, old runtime.Object) []string {
		if r.Warnings == nil {
			return nil
		}
		var before T
		if old != nil {
			before = old.(T)
		}
		return r.Warnings(req, o.(T), before)
	}
	if r.Fields != nil {
		k.Fields = func(o runtime.Object) fields.Set { return r.Fields(o.(T)) }
		for name := range r.Fields(newT()) {
			k.FieldNames = append(k.FieldNames, name)
		}
		sort.Strings(k.FieldNames)
	}
	for _, c := range r.Columns {
		if c.Type == "" {
			c.Type = "string"
		}
		k.Columns = append(k.Columns, ColumnDefinition{Name: c.Name, Type: c.Type, Format: c.Format, Description: c.Description, Priority: c.Priority})
	}
	k.Cells = func(o runtime.Object) []any {
		out := make([]any, len(r.Columns))
		for i := range r.Columns {
			out[i] = r.Columns[i].Cell(o.(T))
		}
		return out
	}
	if r.RowConditions != nil {
		k.RowConditions = func(o runtime.Object) []metav1.TableRowCondition { return r.RowConditions(o.(T)) }
	}
	for name, s := range r.Subresources {
		k.Subresources[name] = s
		if s.Update != nil && s.Update.Validate != nil {
			validate := s.Update.Validate
			s.Update.Validate = func(req *Request, o, old runtime.Object) field.ErrorList { return shape.Errors(validate(req, o, old)) }
		}
	}
	if hasStatus && !r.NoStatus {
		if k.Resets == nil {
			k.Resets = []string{"status"}
		}
		if r.StatusResets == nil {
			r.StatusResets = []string{"spec"}
		}
		k.Subresources["status"] = &Subresource{GVK: gvk, Verbs: []string{"get", "patch", "update"}, Update: &UpdateDoor{
			Resets:      r.StatusResets,
			StatusAlone: true,
			Prepare: func(req *Request, o, old runtime.Object) {
				obj, before := o.(T), old.(T)
				keepAllButStatus(obj, before)
				if r.StatusResetsMeta {
					metav1.ResetObjectMetaForStatus(obj, before)
				}
				obj.SetGeneration(before.GetGeneration())
				if r.PrepareStatus != nil {
					r.PrepareStatus(req, obj, before)
				}
			},
			Validate: func(req *Request, o, old runtime.Object) field.ErrorList {
				obj, before := o.(T), old.(T)
				errs := ValidateMetaUpdate(obj, before, r.Scope)
				if !r.AnyFinalizer {
					errs = append(errs, ValidateFinalizers(obj)...)
				}
				if r.ValidateStatus != nil {
					errs = append(errs, r.ValidateStatus(req, obj, before)...)
				}
				return shape.Errors(errs)
			},
			Warnings: func(req *Request, o, old runtime.Object) []string {
				if r.StatusWarnings == nil {
					return nil
				}
				return r.StatusWarnings(req, o.(T), old.(T))
			},
		}}
	}
	if s := r.Scale; s != nil {
		k.Subresources["scale"] = &Subresource{GVK: schema.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scale"},
			Verbs: []string{"get", "patch", "update"}, Scale: &ScaleDoor{
				Get: func(o runtime.Object) (int32, int32, string) { return s.Get(o.(T)) },
				Set: func(o runtime.Object, n int32) { s.Set(o.(T), n) },
			}}
	}
	if r.Begin != nil {
		k.Begin = func(ctx context.Context, store Store, req *Request, o, old runtime.Object) (func(), func(), error) {
			var obj, before T
			if o != nil {
				obj = o.(T)
			}
			if old != nil {
				before = old.(T)
			}
			return r.Begin(ctx, store, req, obj, before)
		}
	}
	if r.GracePeriod != nil {
		k.GracePeriod = func(o runtime.Object, opts *metav1.DeleteOptions) (int64, bool) { return r.GracePeriod(o.(T), opts) }
	}
	if r.PrepareDelete != nil {
		k.PrepareDelete = func(req *Request, o runtime.Object) { r.PrepareDelete(req, o.(T)) }
	}
	if r.HasFinalizers != nil {
		k.HasFinalizers = func(o runtime.Object) bool { return r.HasFinalizers(o.(T)) }
	}
	if r.TTL != nil {
		k.TTL = func(o runtime.Object) int64 { return r.TTL(o.(T)) }
	}
	return k
}

// DefineVirtual makes the row of a kind that is answered and never stored.
func DefineVirtual[T runtime.Object](resource string, scope Scope, validate func(*Request, T) field.ErrorList,
	create func(ctx context.Context, store Store, req *Request, namespace string, obj T) (runtime.Object, error)) *Kind {
	typ := reflect.TypeFor[T]().Elem()
	newT := func() runtime.Object { return reflect.New(typ).Interface().(runtime.Object) }
	gvk := hubGVK(newT())
	v := Version{GVK: gvk, ListKind: gvk.Kind + "List", New: newT}
	return &Kind{
		GVK: gvk, ListKind: gvk.Kind + "List", Resource: resource, Singular: strings.ToLower(gvk.Kind), Scope: scope,
		Verbs: []string{"create"}, Virtual: true, Served: []Version{v}, Stored: v, New: newT,
		Default:       func(runtime.Object) {},
		PrepareCreate: func(*Request, runtime.Object) {},
		Validate: func(req *Request, o runtime.Object) field.ErrorList {
			if validate == nil {
				return nil
			}
			return shape.Errors(validate(req, o.(T)))
		},
		Warnings:     func(*Request, runtime.Object, runtime.Object) []string { return nil },
		Subresources: map[string]*Subresource{},
		Create: func(ctx context.Context, store Store, req *Request, namespace string, o runtime.Object) (runtime.Object, error) {
			return create(ctx, store, req, namespace, o.(T))
		},
	}
}

// changedOutsideMetaAndStatus is upstream's rule for counting a generation. Empty and nil slices and maps are equal.
func changedOutsideMetaAndStatus(a, b any) bool {
	va, vb := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for i := range va.NumField() {
		switch va.Type().Field(i).Name {
		case "TypeMeta", "ObjectMeta", "Status":
			continue
		}
		x, y := va.Field(i).Addr(), vb.Field(i).Addr()
		if !equal.Pointers(x, y) {
			return true
		}
	}
	return false
}

// keepAllButStatus gives obj everything of old but the status and the metadata: upstream lets writers of most statuses
// change labels and annotations as well. It is the same memory and no copy, which would be most of what such a write
// allocates: nobody changes a spec any more once an update of the status has been prepared.
func keepAllButStatus[T Object](obj, old T) {
	vo, vold := reflect.ValueOf(obj).Elem(), reflect.ValueOf(old).Elem()
	for i := range vo.NumField() {
		if !StatusPart(vo.Type().Field(i).Name) {
			vo.Field(i).Set(vold.Field(i))
		}
	}
}

// StatusPart says whether writers of a status write a field of the object.
func StatusPart(field string) bool {
	return field == "TypeMeta" || field == "ObjectMeta" || field == "Status"
}
