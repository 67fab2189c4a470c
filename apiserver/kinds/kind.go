package kinds

import (
	"context"
	"encoding/json"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Scope says whether objects of a kind live in a namespace.
type Scope bool

const (
	Cluster    Scope = false
	Namespaced Scope = true
)

// Kind is one row of the table, without its Go type. It is immutable once built and safe for concurrent use.
//
// Objects given to its functions are of the type that New returns (the "hub" type) and belong to the caller: Default and
// the Prepare functions change them, everything else only reads. An "old" object is never changed.
type Kind struct {
	// GVK is the group, version and kind of the hub type.
	GVK schema.GroupVersionKind
	// ListKind is the kind of a list, usually GVK.Kind + "List".
	ListKind string
	// Resource is the plural name in paths, Singular the name in the singular.
	Resource, Singular string
	ShortNames         []string
	Categories         []string
	Scope              Scope
	// Verbs are the verbs that discovery shows and routes accept, sorted. A kind that is not stored has only "create".
	Verbs []string
	// Virtual kinds are answered by Create and never stored (TokenReview, SubjectAccessReview, Binding).
	Virtual bool
	// Internal kinds are stored for hooks and served to nobody: no path, no discovery.
	Internal bool
	// EtcdPrefix is the key of the kind below /registry/, without slashes at its ends ("services/specs").
	EtcdPrefix string
	// Served lists the versions that clients may use. The first is the hub's own.
	Served []Version
	// Stored is the version that is written to etcd.
	Stored Version
	// StoredJSON says that values in etcd are JSON; otherwise they are in the protobuf envelope.
	StoredJSON bool
	// AlsoStored are versions that are neither served nor written but in which older values may be.
	AlsoStored []Version
	// Remote says that versions are converted by somebody else, who may not answer.
	Remote bool
	// Custom says that a CustomResourceDefinition made the kind. Its objects are unstructured.
	Custom bool

	New     func() runtime.Object
	NewList func() runtime.Object
	// Blank makes of an empty object the one that stands in a watch's bookmarks, where upstream's is not empty; may be nil.
	Blank func(obj runtime.Object)
	// OwnAnnotations are annotations that only the kind's own version has, as a field without a place there: what shows
	// metadata alone leaves them out.
	OwnAnnotations []string

	// Default fills in what the client left out. It is applied to whatever is decoded, from clients and from etcd.
	Default func(obj runtime.Object)
	// PrepareCreate removes what a client may not set on create (status, above all) and sets what the server sets.
	PrepareCreate func(req *Request, obj runtime.Object)
	// PrepareUpdate does the same for an update of the main resource: status is taken from old, generation counted.
	PrepareUpdate func(req *Request, obj, old runtime.Object)
	// Validate is upstream's validation of a new object, metadata included.
	Validate func(req *Request, obj runtime.Object) field.ErrorList
	// ValidateUpdate is upstream's validation of an update of the main resource, metadata included.
	ValidateUpdate func(req *Request, obj, old runtime.Object) field.ErrorList
	// Warnings are the texts of Warning headers for a create (old is nil) or an update.
	Warnings func(req *Request, obj, old runtime.Object) []string
	// OwnWritesUnnamed: what the server itself changes of the status has no owner in the managed fields. (Upstream changes
	// pods in its store, and quotas and budgets as a client of its own.)
	OwnWritesUnnamed bool
	// RepeatErrors: a mistake that several checks found is told as often. (Kinds of upstream's extension and aggregation
	// servers.)
	RepeatErrors bool
	// AllowCreateOnUpdate lets a PUT of an unknown name create the object (nearly all kinds refuse with 404).
	AllowCreateOnUpdate bool
	// AllowUnconditionalUpdate lets a PUT without a resourceVersion replace whatever is there.
	AllowUnconditionalUpdate bool

	// Fields are the selectable fields of an object beside metadata.name and metadata.namespace, which are added for
	// every kind. All keys are always present. Nil means none.
	Fields func(obj runtime.Object) fields.Set
	// FieldNames are the keys of Fields.
	FieldNames []string
	// UnknownField words the refusal of another name, with %s or %q for it; empty means the usual words.
	UnknownField string

	// Columns are the columns of a Table, all of them in upstream's order, Name and Age included.
	Columns []ColumnDefinition
	// Cells is a row of the Table, a cell for each of Columns.
	Cells func(obj runtime.Object) []any
	// RowConditions mark a row of the Table (a pod that has ended: Completed). Nil for nearly all kinds.
	RowConditions func(obj runtime.Object) []metav1.TableRowCondition

	// Subresources by name: "status", "scale", "binding", ...
	Subresources map[string]*Subresource

	// Begin reserves what lives outside the object (a Service's addresses) before it is written. old is nil on create, obj
	// is nil on delete. It may change obj. It runs after defaulting and mutating admission and before validation.
	// undo is called if the write does not happen, done after it has happened; each may be nil.
	Begin func(ctx context.Context, store Store, req *Request, obj, old runtime.Object) (done, undo func(), err error)
	// GracePeriod says how an object is deleted: graceful false means at once; otherwise it is marked with a
	// deletionTimestamp seconds from now and stays until it is deleted with a grace period of zero.
	GracePeriod func(obj runtime.Object, opts *metav1.DeleteOptions) (seconds int64, graceful bool)
	// PrepareDelete changes the object that a deletion leaves behind (marked, or kept by finalizers): a Namespace's
	// phase, say. It is called before the marked object is written.
	PrepareDelete func(req *Request, obj runtime.Object)
	// HasFinalizers reports finalizers kept outside metadata.finalizers (Namespace: spec.finalizers).
	HasFinalizers func(obj runtime.Object) bool
	// Precondition begins the refusal of a deletion whose preconditions do not hold, for kinds with HasFinalizers. Empty
	// means "Precondition failed".
	Precondition string
	// WarnDelete are the texts of Warning headers for a deletion; nil for nearly all kinds.
	WarnDelete func(opts *metav1.DeleteOptions) []string
	// ReturnDeleted: a DELETE that removes the object answers with it instead of with a Status.
	ReturnDeleted bool
	// Resets are the paths that a write of the main resource does not change whatever it says ("status"), and which its
	// writer therefore does not come to own.
	Resets []string
	// DefaultGarbageCollection is the propagation policy where the request names none and no finalizer stands: orphan
	// for none of the GA kinds except ReplicationController's old API; nil means background.
	DefaultOrphan bool

	// Create answers a create of a Virtual kind. namespace is empty for cluster-scoped ones.
	Create func(ctx context.Context, store Store, req *Request, namespace string, obj runtime.Object) (runtime.Object, error)

	// Objects answers get and list of a Virtual kind whose verbs have them (ComponentStatus).
	Objects func(ctx context.Context, store Store, req *Request) ([]runtime.Object, error)

	// TTL is the life of a stored object in seconds; 0 means for ever. (Events: as --event-ttl says.)
	TTL func(obj runtime.Object) int64
	// Uncached kinds are read from etcd, not from the watch cache (Events).
	Uncached bool
}

// Version is one version of a kind: its name and how to get there from the hub type and back.
// Both conversions are nil for the hub's own version, and for versions that share the hub's Go struct layout they may
// only change the TypeMeta.
type Version struct {
	GVK      schema.GroupVersionKind
	ListKind string
	New      func() runtime.Object
	NewList  func() runtime.Object
	FromHub  func(runtime.Object) (runtime.Object, error)
	ToHub    func(runtime.Object) (runtime.Object, error)
	// FieldAliases maps the version's field selector names to the hub's ("regarding.name" -> "involvedObject.name"). If
	// it is not nil it lists all that the version supports beside metadata.name and metadata.namespace.
	FieldAliases map[string]string
	// Deprecated is a Warning that every request for this version is answered with.
	Deprecated string

	// What follows is for kinds whose versions differ in what they do: custom resources. All of it may be nil.

	// Finish completes an object of this version that a client sent: unknown fields go, defaults come. It returns the
	// unknown fields as strict decoding reports them, if strict. An error says that the object cannot be read.
	Finish func(obj runtime.Object, strict bool) (unknown []error, err error)
	// Thaw completes an object of this version that was read from etcd, before it is converted.
	Thaw func(obj runtime.Object) error
	// FromHubMany is FromHub for many objects, where that costs less than one after the other: conversion by webhook.
	FromHubMany func([]runtime.Object) ([]runtime.Object, error)
	// Default fills in what the outcome of an apply lacks.
	Default func(obj runtime.Object)
	// Subresources takes the place of the kind's, Resets that of the kind's with it.
	Subresources map[string]*Subresource
	Resets       []string
	// Columns and Cells take the place of the kind's. Cells is given an object of the hub type, or of this version.
	Columns []ColumnDefinition
	Cells   func(obj runtime.Object) []any
	// Schemas describe the version in OpenAPI, where the compiled-in definitions do not.
	Schemas *Schemas
}

// Schemas are the OpenAPI definitions of one version of a kind.
type Schemas struct {
	// Object and List are the definitions' names.
	Object, List string
	// Hash changes whenever a definition would.
	Hash string
	// Make returns the definitions by name, as JSON in the form of OpenAPI v3 or of version 2.
	Make func(v2 bool) (map[string]json.RawMessage, error)
}

// Subresource finds what a version serves below its objects; nil if there is nothing of that name.
func (k *Kind) Subresource(v *Version, name string) *Subresource { return k.SubresourcesOf(v)[name] }

// SubresourcesOf are all that a version serves below its objects.
func (k *Kind) SubresourcesOf(v *Version) map[string]*Subresource {
	if v != nil && v.Subresources != nil {
		return v.Subresources
	}
	return k.Subresources
}

// ColumnDefinition is metav1.TableColumnDefinition; the alias keeps rows short.
type ColumnDefinition = metav1.TableColumnDefinition

// Subresource is what one path below an object does. Exactly one of Update, Scale, Create or Connect is set.
type Subresource struct {
	// Kind is the kind that discovery shows ("Pod", "Scale", "PodExecOptions"), with its group and version where it is
	// not the parent's.
	GVK schema.GroupVersionKind
	// Verbs as discovery shows them, sorted.
	Verbs []string
	// Update: get, put and patch of the parent object through a narrower door (status, ephemeralcontainers, resize,
	// approval, finalize).
	Update *UpdateDoor
	// Scale: the parent seen as an autoscaling/v1 Scale.
	Scale *ScaleDoor
	// Create: POST of another type (binding, eviction, token).
	Create *CreateDoor
	// Connect names a connection that package nodeproxy answers ("log", "exec", "attach", "portforward", "proxy").
	Connect string
}

// UpdateDoor changes a part of the parent object.
type UpdateDoor struct {
	// Prepare resets in obj what this door does not change to what it is in old.
	Prepare func(req *Request, obj, old runtime.Object)
	// Validate is upstream's validation of such an update.
	Validate func(req *Request, obj, old runtime.Object) field.ErrorList
	// Warnings may be nil.
	Warnings func(req *Request, obj, old runtime.Object) []string
	// Resets are the paths that this door does not change ("spec", "metadata.labels"); see Kind.Resets.
	Resets []string
	// StatusAlone says that Prepare gives obj everything of old but the metadata and the status, in part the same memory:
	// whoever makes obj may do so, too.
	StatusAlone bool
}

// ScaleDoor reads and writes the replica count of the parent.
type ScaleDoor struct {
	// Path is where in the object the replicas wanted are; empty means spec.replicas.
	Path []string
	// Check says why an object has no scale; nil where all have one.
	Check func(obj runtime.Object) error
	// Get returns the replicas wanted, those that are there, and the pod selector as text.
	Get func(obj runtime.Object) (spec, status int32, selector string)
	// Set changes the replicas wanted.
	Set func(obj runtime.Object, replicas int32)
}

// CreateDoor answers a POST below an object.
type CreateDoor struct {
	// New returns an empty body; its versions are those in Accepts, the first being New's own.
	New func() runtime.Object
	// Default fills in the body; may be nil.
	Default func(obj runtime.Object)
	// Validate checks the body alone; may be nil.
	Validate func(req *Request, obj runtime.Object) field.ErrorList
	// Do acts and returns the answer.
	Do func(ctx context.Context, store Store, req *Request, namespace, name string, obj runtime.Object) (runtime.Object, error)
}

// Request is what a row may know about the request it serves.
type Request struct {
	Verb        string // create, update, patch, delete, deletecollection
	Subresource string
	Namespace   string
	Name        string
	// GroupVersion is the version that the client speaks, where a kind is served in several (Events, autoscalers).
	GroupVersion schema.GroupVersion
	DryRun       bool
	User         UserInfo
	// Now is the time that the request's timestamps carry.
	Now time.Time
	// Notes are Warnings about what the Prepare functions changed, found where it can still be seen.
	Notes []string
}

// UserInfo is the authenticated user. It is upstream's user.Info as plain data.
type UserInfo struct {
	Name   string
	UID    string
	Groups []string
	Extra  map[string][]string
}

// Store is what hooks may do with other objects. It acts as the server itself: no authorization, no admission, but
// defaulting and storage as for everybody. Errors are Status errors.
type Store interface {
	// Get reads an object as fresh as the last acknowledged write. The object is the caller's to change.
	Get(ctx context.Context, kind *Kind, namespace, name string) (runtime.Object, error)
	// List reads all objects of a kind, in one namespace or ("") all. The objects must not be changed.
	List(ctx context.Context, kind *Kind, namespace string) ([]runtime.Object, error)
	// Create stores a new object; AlreadyExists where there is one.
	Create(ctx context.Context, kind *Kind, obj runtime.Object, dryRun bool) (runtime.Object, error)
	// Update reads, changes and writes an object, as often as it takes until no other write came between.
	Update(ctx context.Context, kind *Kind, namespace, name string, dryRun bool, change func(obj runtime.Object) error) (runtime.Object, error)
	// Delete removes an object as a client's DELETE would (grace, finalizers, preconditions).
	Delete(ctx context.Context, kind *Kind, namespace, name string, opts *metav1.DeleteOptions) (runtime.Object, error)
	// Kind finds a row by group and resource; nil if there is none.
	Kind(gr schema.GroupResource) *Kind
	// Service finds a server-wide collaborator by name, or nil: "authorizer", "authenticator", "token-issuer",
	// "clusterips", "nodeports". Each hook documents what it expects; apiserver's door registers them.
	Service(name string) any
}

// GVR is the group, version and resource of the hub.
func (k *Kind) GVR() schema.GroupVersionResource {
	return k.GVK.GroupVersion().WithResource(k.Resource)
}

// GroupResource is the name that error messages carry ("deployments.apps").
func (k *Kind) GroupResource() schema.GroupResource {
	return schema.GroupResource{Group: k.GVK.Group, Resource: k.Resource}
}

// Key is the etcd key of an object of this kind.
func (k *Kind) Key(namespace, name string) string {
	if k.Scope == Namespaced {
		return "/registry/" + k.EtcdPrefix + "/" + namespace + "/" + name
	}
	return "/registry/" + k.EtcdPrefix + "/" + name
}

// KeyPrefix is the prefix of all keys of this kind, or of those in one namespace. It ends in a slash.
func (k *Kind) KeyPrefix(namespace string) string {
	if namespace != "" && k.Scope == Namespaced {
		return "/registry/" + k.EtcdPrefix + "/" + namespace + "/"
	}
	return "/registry/" + k.EtcdPrefix + "/"
}
