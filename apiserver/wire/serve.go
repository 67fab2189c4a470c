package wire

import (
	"encoding/json"
	"net/http"
	"strconv"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/skiff-project/skiff/apiserver/watchcache"
)

var newline = []byte("\n")

// WriteCached answers with an object as the cache keeps it. gv is the version that the client asked for.
func (c *Codec) WriteCached(w http.ResponseWriter, r *http.Request, code int, accepted Accepted, gv schema.GroupVersion, o *watchcache.Object) {
	if accepted.As != nil || accepted.Pretty || accepted.Format == YAML {
		obj, err := o.Shared()
		if err != nil {
			WriteError(w, r, err)
			return
		}
		c.WriteHub(w, r, code, accepted, gv, obj)
		return
	}
	body, err := o.Bytes(watchcache.Form{Version: gv, Media: mediaOf(accepted.Format)})
	if err != nil {
		WriteError(w, r, err)
		return
	}
	if len(body) > gzipFrom && acceptsGzip(r) {
		writeBody(w, r, code, accepted.Format.ContentType(), body)
		return
	}
	h := w.Header()
	h.Set("Content-Type", accepted.Format.ContentType())
	length := len(body)
	if accepted.Format == JSON {
		length++
	}
	h.Set("Content-Length", strconv.Itoa(length))
	w.WriteHeader(code)
	_, _ = w.Write(body)
	if accepted.Format == JSON {
		_, _ = w.Write(newline)
	}
}

// WriteHub answers with an object of the hub type. obj is not changed.
func (c *Codec) WriteHub(w http.ResponseWriter, r *http.Request, code int, accepted Accepted, gv schema.GroupVersion, obj runtime.Object) {
	body, err := c.EncodeAs(r, accepted, gv, obj)
	if err != nil {
		WriteError(w, r, err)
		return
	}
	WriteEncoded(w, r, code, accepted, body)
}

// EncodeAs is an object of the hub type as a client accepts it; JSON for YAML.
func (c *Codec) EncodeAs(r *http.Request, accepted Accepted, gv schema.GroupVersion, obj runtime.Object) ([]byte, error) {
	if accepted.As == nil {
		body, err := c.Encode(obj, watchcache.Form{Version: gv, Media: mediaOf(accepted.Format)})
		if accepted.Format != Protobuf && err == nil {
			body = append(body, '\n')
		}
		return body, err
	}
	if accepted.As.Kind == "PartialObjectMetadataList" {
		return nil, NotAcceptable("you requested PartialObjectMetadataList, but the requested object is not a list (" + goType(obj) + ")")
	}
	if accepted.As.Kind == "Table" {
		opts, err := ParseTableOptions(r)
		if err != nil {
			return nil, err
		}
		return c.TableOfObject(obj, accepted.As.GroupVersion(), gv, opts)
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, NotAcceptable("you requested PartialObjectMetadata, but the requested object has none (" + goType(obj) + ")")
	}
	return Encode(c.partial(m, accepted.As.GroupVersion()), accepted.Format)
}

func goType(obj runtime.Object) string {
	gvk := obj.GetObjectKind().GroupVersionKind()
	return "*" + internalName(gvk)
}

// Frames turns the events of one watch into bytes.
type Frames struct {
	codec    *Codec
	gv       schema.GroupVersion
	accepted Accepted
	table    TableOptions
	form     watchcache.Form
}

// NewFrames is for one watch: the first table has headers, and the others have none.
func (c *Codec) NewFrames(r *http.Request, accepted Accepted, gv schema.GroupVersion) (*Frames, error) {
	f := &Frames{codec: c, gv: gv, accepted: accepted, form: Form(gv, &accepted)}
	if accepted.Is("Table") {
		var err error
		if f.table, err = ParseTableOptions(r); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// Append writes an event behind b.
func (f *Frames) Append(b []byte, e watchcache.Event) ([]byte, error) {
	if e.Type != watch.Error && f.accepted.Is("Table") {
		return f.appendTable(b, e)
	}
	if e.Type != watch.Error && f.form.Shape == watchcache.MetadataOnly && f.accepted.As.Version != metaGroupVersion.Version {
		return f.appendOldPartial(b, e)
	}
	frame, err := e.Frame(f.form)
	if err != nil {
		return b, err
	}
	return frame.AppendTo(b), nil
}

func (f *Frames) appendTable(b []byte, e watchcache.Event) ([]byte, error) {
	opts := f.table
	obj, err := e.Object.Shared()
	if err != nil {
		return b, err
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return b, err
	}
	if opts.Include != metav1.IncludeObject && m.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true" {
		// The end of the initial events is told by an annotation, so it needs the metadata.
		opts.Include = metav1.IncludeMetadata
	}
	body, err := f.codec.TableOfObject(obj, f.accepted.As.GroupVersion(), f.gv, opts)
	if err != nil {
		return b, err
	}
	f.table.NoHeaders = true
	return appendJSONFrame(b, e.Type, body[:len(body)-1]), nil
}

// appendOldPartial serves meta.k8s.io/v1beta1, which nobody asks for but for old controllers; the cache keeps v1.
func (f *Frames) appendOldPartial(b []byte, e watchcache.Event) ([]byte, error) {
	obj, err := e.Object.Shared()
	if err != nil {
		return b, err
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return b, err
	}
	body, err := Encode(f.codec.partial(m, f.accepted.As.GroupVersion()), f.accepted.Format)
	if err != nil {
		return b, err
	}
	if f.accepted.Format == Protobuf {
		return appendProtobufFrame(b, e.Type, body)
	}
	return appendJSONFrame(b, e.Type, body[:len(body)-1]), nil
}

func appendJSONFrame(b []byte, typ watch.EventType, object []byte) []byte {
	b = append(b, `{"type":"`...)
	b = append(b, typ...)
	b = append(b, `","object":`...)
	b = append(b, object...)
	return append(b, "}\n"...)
}

func appendProtobufFrame(b []byte, typ watch.EventType, object []byte) ([]byte, error) {
	event := metav1.WatchEvent{Type: string(typ), Object: runtime.RawExtension{Raw: object}}
	data, err := event.Marshal()
	if err != nil {
		return b, err
	}
	n := len(data)
	b = append(b, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	return append(b, data...), nil
}

// StatusFrame is an ERROR event.
func StatusFrame(status *metav1.Status, format Format) []byte {
	status.Kind, status.APIVersion = "Status", "v1"
	if format == Protobuf {
		if body, err := Encode(status, Protobuf); err == nil {
			if frame, err := appendProtobufFrame(nil, watch.Error, body); err == nil {
				return frame
			}
		}
	}
	body, _ := json.Marshal(status)
	return appendJSONFrame(nil, watch.Error, body)
}
