package wire

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"strconv"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/watchcache"
)

// Codec turns one kind's objects into bytes for clients and for etcd, and back. It implements watchcache.Codec.
type Codec struct {
	kind   *kinds.Kind
	served []servedVersion
	stored servedVersion
	// Text says that the kind has no protobuf: custom resources.
	Text bool
}

// servedVersion is a version with what is the same in front of all its objects.
type servedVersion struct {
	*kinds.Version
	// head is the envelope in front of protobuf; listHead that of lists.
	head, listHead []byte
	// typeMeta is how the JSON of an object begins: {"kind":…,"apiVersion":…, ; the items of lists go without.
	typeMeta []byte
}

var partialGVK = metav1.SchemeGroupVersion.WithKind("PartialObjectMetadata")

var partialHead = envelopeHead(metaGroupVersion.WithKind(partialGVK.Kind))

// metaGroupVersion is the group of Table and PartialObjectMetadata.
var metaGroupVersion = schema.GroupVersion{Group: "meta.k8s.io", Version: "v1"}

// NewCodec makes the codec of a kind.
func NewCodec(kind *kinds.Kind) *Codec {
	c := &Codec{kind: kind, stored: newServed(&kind.Stored)}
	for i := range kind.Served {
		c.served = append(c.served, newServed(&kind.Served[i]))
	}
	if !kind.Virtual {
		_, c.Text = kind.New().(*unstructured.Unstructured)
	}
	return c
}

func newServed(v *kinds.Version) servedVersion {
	typeMeta := fmt.Appendf(nil, `{"kind":%q,"apiVersion":%q,`, v.GVK.Kind, v.GVK.GroupVersion().String())
	return servedVersion{
		Version: v, head: envelopeHead(v.GVK), typeMeta: typeMeta,
		listHead: envelopeHead(v.GVK.GroupVersion().WithKind(v.ListKind)),
	}
}

func (c *Codec) version(gv schema.GroupVersion) (*servedVersion, error) {
	for i := range c.served {
		if c.served[i].GVK.GroupVersion() == gv {
			return &c.served[i], nil
		}
	}
	return nil, fmt.Errorf("%s is not served in %s", c.kind.GroupResource(), gv)
}

// Offer is what requests for this kind are answered with.
func (c *Codec) Offer() Offer {
	offer := Offer{Formats: allFormats, Partial: true, Table: !c.kind.Virtual || c.kind.Objects != nil}
	if c.Text {
		offer.Formats, offer.named = textFormats, allFormats
	}
	return offer
}

// New is an empty object of the hub type.
func (c *Codec) New() runtime.Object {
	obj := c.kind.New()
	obj.GetObjectKind().SetGroupVersionKind(c.kind.GVK)
	return obj
}

// Blank implements watchcache.Blanker.
func (c *Codec) Blank() runtime.Object {
	obj := c.New()
	if c.kind.Blank != nil {
		c.kind.Blank(obj)
	}
	return obj
}

// Attributes are what selectors select by.
func (c *Codec) Attributes(obj runtime.Object) (labels.Set, fields.Set) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, nil
	}
	var set fields.Set
	if c.kind.Fields != nil {
		set = c.kind.Fields(obj)
	}
	if set == nil {
		set = make(fields.Set, 2)
	}
	set["metadata.name"], set["metadata.namespace"] = m.GetName(), m.GetNamespace()
	return m.GetLabels(), set
}

// Decode reads a value of etcd.
func (c *Codec) Decode(stored []byte, revision int64) (runtime.Object, error) {
	obj, err := c.decodeStored(stored)
	if err != nil {
		return nil, err
	}
	c.kind.Default(obj)
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	m.SetResourceVersion(strconv.FormatInt(revision, 10))
	return obj, nil
}

// decodeStored reads a value in whatever version it was written, which may be another than we write.
func (c *Codec) decodeStored(stored []byte) (runtime.Object, error) {
	var gvk schema.GroupVersionKind
	var fill func(runtime.Object) error
	if bytes.HasPrefix(stored, magic) {
		typ, raw, err := openEnvelope(stored)
		if err != nil {
			return nil, err
		}
		gvk = schema.FromAPIVersionAndKind(typ.APIVersion, typ.Kind)
		fill = func(obj runtime.Object) error {
			msg, ok := obj.(protoMessage)
			if !ok {
				return fmt.Errorf("%T has no protobuf", obj)
			}
			return msg.Unmarshal(raw)
		}
	} else {
		var typ metav1.TypeMeta
		if err := kjson.UnmarshalCaseSensitivePreserveInts(stored, &typ); err != nil {
			return nil, err
		}
		gvk = typ.GroupVersionKind()
		fill = func(obj runtime.Object) error { _, err := unmarshal(stored, obj, false); return err }
	}
	v := c.versionOf(gvk)
	if v == nil {
		return nil, fmt.Errorf("stored as %s, which is no version of %s", gvk, c.kind.GVK)
	}
	obj := v.New()
	if err := fill(obj); err != nil {
		return nil, err
	}
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	if v.Thaw != nil {
		if err := v.Thaw(obj); err != nil {
			return nil, err
		}
	}
	return c.toHub(obj, v)
}

// versionOf finds a version that the kind is served or stored in, or the type of an older one that upstream wrote and
// whose JSON the hub type understands.
func (c *Codec) versionOf(gvk schema.GroupVersionKind) *kinds.Version {
	if c.stored.GVK == gvk {
		return c.stored.Version
	}
	for i := range c.served {
		if c.served[i].GVK == gvk {
			return c.served[i].Version
		}
	}
	for i := range c.kind.AlsoStored {
		if c.kind.AlsoStored[i].GVK == gvk {
			return &c.kind.AlsoStored[i]
		}
	}
	if c.Text || gvk.Kind != c.kind.GVK.Kind || !kinds.Scheme.Recognizes(gvk) {
		return nil
	}
	return &kinds.Version{
		GVK:   gvk,
		New:   func() runtime.Object { obj, _ := kinds.Scheme.New(gvk); return obj },
		ToHub: func(obj runtime.Object) (runtime.Object, error) { return c.throughJSON(obj) },
	}
}

func (c *Codec) throughJSON(from runtime.Object) (runtime.Object, error) {
	data, err := encodeJSON(from)
	if err != nil {
		return nil, err
	}
	to := c.kind.New()
	if _, err := unmarshal(data, to, false); err != nil {
		return nil, err
	}
	return to, nil
}

func (c *Codec) toHub(obj runtime.Object, v *kinds.Version) (runtime.Object, error) {
	if v.ToHub != nil {
		var err error
		if obj, err = v.ToHub(obj); err != nil {
			return nil, err
		}
	}
	obj.GetObjectKind().SetGroupVersionKind(c.kind.GVK)
	return obj, nil
}

// ToHub converts an object that Decode returned for a body into the hub type.
func (c *Codec) ToHub(obj runtime.Object) (runtime.Object, error) {
	gvk := obj.GetObjectKind().GroupVersionKind()
	if c.kind.Custom && gvk.Kind != c.kind.GVK.Kind {
		return nil, otherKind(obj, c.kind)
	}
	v := c.versionOf(gvk)
	if v == nil {
		return nil, notRegistered(gvk)
	}
	return c.toHub(obj, v)
}

// FromHub is the object in a served version. It may be obj itself.
func (c *Codec) FromHub(obj runtime.Object, gv schema.GroupVersion) (runtime.Object, error) {
	v, err := c.version(gv)
	if err != nil {
		return nil, err
	}
	return fromHub(obj, v.Version)
}

func fromHub(obj runtime.Object, v *kinds.Version) (runtime.Object, error) {
	if v.FromHub == nil {
		return obj, nil
	}
	out, err := v.FromHub(obj)
	if err != nil {
		return nil, err
	}
	out.GetObjectKind().SetGroupVersionKind(v.GVK)
	return out, nil
}

// Encode is an object in one of the forms that are served.
func (c *Codec) Encode(obj runtime.Object, form watchcache.Form) ([]byte, error) {
	if form.Shape == watchcache.MetadataOnly {
		return c.encodePartial(obj, form.Media)
	}
	v, err := c.version(form.Version)
	if err != nil {
		return nil, err
	}
	if obj, err = fromHub(obj, v.Version); err != nil {
		return nil, err
	}
	return c.encode(obj, v, form.Media)
}

func (c *Codec) encode(obj runtime.Object, v *servedVersion, media watchcache.Media) ([]byte, error) {
	if media == watchcache.Protobuf {
		msg, ok := obj.(protoMessage)
		if !ok {
			return nil, notMarshalable(obj)
		}
		return appendEnvelope(nil, v.head, msg)
	}
	return compactJSON(obj)
}

// compactJSON is encodeJSON without the line break.
func compactJSON(obj any) ([]byte, error) {
	buf := getBuffer()
	defer putBuffer(buf)
	if err := writeJSON(buf, obj); err != nil {
		return nil, err
	}
	return bytes.Clone(buf.Bytes()), nil
}

// partial is the metadata of an object, as a version of meta.k8s.io.
func (c *Codec) partial(m metav1.Object, as schema.GroupVersion) *metav1.PartialObjectMetadata {
	out := meta.AsPartialObjectMetadata(m)
	out.SetGroupVersionKind(as.WithKind("PartialObjectMetadata"))
	for _, own := range c.kind.OwnAnnotations {
		if _, has := out.Annotations[own]; has {
			out.Annotations = maps.Clone(out.Annotations) // the object's, which is shared
			delete(out.Annotations, own)
		}
	}
	return out
}

func (c *Codec) encodePartial(obj runtime.Object, media watchcache.Media) ([]byte, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	partial := c.partial(m, metaGroupVersion)
	if media == watchcache.Protobuf {
		return appendEnvelope(nil, partialHead, partial)
	}
	return compactJSON(partial)
}

// EncodeStored is the value that an object of the hub type has in etcd. It takes the object's resourceVersion away,
// which in etcd is the revision.
func (c *Codec) EncodeStored(obj runtime.Object) ([]byte, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	m.SetResourceVersion("")
	m.SetSelfLink("")
	if obj, err = fromHub(obj, c.stored.Version); err != nil {
		return nil, err
	}
	if !c.kind.StoredJSON && !c.Text {
		msg, ok := obj.(protoMessage)
		if !ok {
			return nil, notMarshalable(obj)
		}
		return appendEnvelope(nil, c.stored.head, msg)
	}
	return encodeJSON(obj)
}

var errNoProtobuf = errors.New("does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message")

func notMarshalable(obj runtime.Object) error {
	return NotAcceptable(fmt.Sprintf("object %T %v", obj, errNoProtobuf))
}
