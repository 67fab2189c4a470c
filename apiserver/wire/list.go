package wire

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/http"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/watchcache"
)

// ListMeta is the metadata of a list.
type ListMeta = metav1.ListMeta

// List is a list on its way out: the bytes of its items, made before, and what stands around and between them. Nothing
// is copied but into the connection's buffer.
type List struct {
	Format Format
	head   []byte
	items  [][]byte
	// between stands between two items, tail after the last.
	between, tail []byte
	// prefixes, for protobuf, are the tag and length in front of each item.
	prefixes []byte
	ends     []int
	size     int
}

func mediaOf(f Format) watchcache.Media {
	if f == Protobuf {
		return watchcache.Protobuf
	}
	return watchcache.JSON
}

// Form is the form in which an object is served as accepted. Tables have none.
func Form(gv schema.GroupVersion, accepted *Accepted) watchcache.Form {
	form := watchcache.Form{Version: gv, Media: mediaOf(accepted.Format)}
	if accepted.Is("PartialObjectMetadata") || accepted.Is("PartialObjectMetadataList") {
		form.Shape = watchcache.MetadataOnly
	}
	return form
}

// item is an object of the cache, or one that is made for a single answer.
type item interface {
	Bytes(form watchcache.Form) ([]byte, error)
	Shared() (runtime.Object, error)
}

// loose is an item that is nowhere else.
type loose struct {
	codec *Codec
	obj   runtime.Object
}

func (l loose) Bytes(form watchcache.Form) ([]byte, error) { return l.codec.Encode(l.obj, form) }
func (l loose) Shared() (runtime.Object, error)            { return l.obj, nil }

func (c *Codec) loosen(objects []runtime.Object) []loose {
	out := make([]loose, len(objects))
	for i, obj := range objects {
		out[i] = loose{c, obj}
	}
	return out
}

// NewList puts a list together. gv is the version that the client asked for.
func (c *Codec) NewList(objects []*watchcache.Object, gv schema.GroupVersion, accepted *Accepted, listMeta ListMeta) (*List, error) {
	if err := c.convertMany(objects, Form(gv, accepted)); err != nil {
		return nil, err
	}
	return newList(c, objects, gv, accepted, listMeta)
}

// NewLooseList is NewList for objects of the hub type that are not in the cache.
func (c *Codec) NewLooseList(objects []runtime.Object, gv schema.GroupVersion, accepted *Accepted, listMeta ListMeta) (*List, error) {
	return newList(c, c.loosen(objects), gv, accepted, listMeta)
}

func newList[T item](c *Codec, objects []T, gv schema.GroupVersion, accepted *Accepted, listMeta ListMeta) (*List, error) {
	v, err := c.version(gv)
	if err != nil {
		return nil, err
	}
	form := Form(gv, accepted)
	l := &List{Format: accepted.Format, items: make([][]byte, len(objects))}
	if accepted.Format == Protobuf {
		head, itemHead := v.listHead, v.head
		if form.Shape == watchcache.MetadataOnly {
			head, itemHead = envelopeHead(accepted.As.GroupVersion().WithKind("PartialObjectMetadataList")), partialHead
		}
		size, err := protobufItems(c, l, objects, form, len(itemHead))
		if err != nil {
			return nil, err
		}
		return l, l.protobuf(head, size, listMeta)
	}
	for i, o := range objects {
		if l.items[i], err = o.Bytes(form); err != nil {
			return nil, err
		}
	}
	if form.Shape == watchcache.MetadataOnly {
		gvk := accepted.As.GroupVersion().WithKind("PartialObjectMetadataList")
		return l, l.json(gvk, nil, accepted.As.Version, listMeta, false)
	}
	strip := v.typeMeta
	if c.Text {
		// The items of a list of custom resources carry their type.
		strip = nil
	}
	return l, l.json(v.GVK.GroupVersion().WithKind(v.ListKind), strip, "", listMeta, c.Text)
}

// customListMeta is ListMeta as upstream's unstructured lists have it: continue is there even if there is no more.
type customListMeta struct {
	Continue           string `json:"continue"`
	RemainingItemCount *int64 `json:"remainingItemCount,omitempty"`
	ResourceVersion    string `json:"resourceVersion,omitempty"`
}

func (l *List) json(gvk schema.GroupVersionKind, strip []byte, partialVersion string, listMeta ListMeta, custom bool) error {
	var about any = listMeta
	if custom {
		about = customListMeta{listMeta.Continue, listMeta.RemainingItemCount, listMeta.ResourceVersion}
	}
	m, err := compactJSON(about)
	if err != nil {
		return err
	}
	l.head = append(l.head, `{"kind":`...)
	l.head = strconv.AppendQuote(l.head, gvk.Kind)
	l.head = append(l.head, `,"apiVersion":`...)
	l.head = strconv.AppendQuote(l.head, gvk.GroupVersion().String())
	l.head = append(l.head, `,"metadata":`...)
	l.head = append(l.head, m...)
	l.head = append(l.head, `,"items":[`...)
	l.between, l.tail = []byte(","), []byte("]}\n")
	l.size = len(l.head) + len(l.tail)
	for i, item := range l.items {
		switch {
		case strip != nil && bytes.HasPrefix(item, strip):
			// The brace that goes with the type is put back by between.
			item = item[len(strip):]
		case partialVersion == "v1beta1":
			item = bytes.Replace(item, []byte(`"meta.k8s.io/v1"`), []byte(`"meta.k8s.io/v1beta1"`), 1)
			item = item[1:]
		default:
			item = item[1:]
		}
		l.items[i] = item
		l.size += len(item)
	}
	if len(l.items) > 0 {
		// Every item lost its opening brace, whether or not its type went with it.
		l.head = append(l.head, '{')
		l.between = []byte(",{")
		l.size += 1 + 2*(len(l.items)-1)
	}
	return nil
}

// protobufItems fills in the items with what stands in front of each, and answers how long they are together.
func protobufItems[T item](c *Codec, l *List, objects []T, form watchcache.Form, itemHead int) (size int, err error) {
	l.ends = make([]int, len(l.items))
	l.prefixes = make([]byte, 0, 160*len(l.items))
	for i, o := range objects {
		if stored, at, revision, ok := spliceOf(o, form); ok {
			l.prefixes, l.items[i] = c.splicedItem(l.prefixes, stored, at, revision)
		} else {
			body, err := o.Bytes(form)
			if err != nil {
				return 0, err
			}
			raw := rawOf(body, itemHead)
			l.items[i] = raw
			l.prefixes = append(l.prefixes, tagItem)
			l.prefixes = binary.AppendUvarint(l.prefixes, uint64(len(raw)))
		}
		l.ends[i] = len(l.prefixes)
		size += len(l.items[i])
	}
	return size + len(l.prefixes), nil
}

func (l *List) protobuf(head []byte, items int, listMeta ListMeta) error {
	m, err := listMeta.Marshal()
	if err != nil {
		return err
	}
	message := 1 + uvarintLen(len(m)) + len(m) + items
	l.head = append(l.head, head...)
	l.head = append(l.head, tagRaw)
	l.head = binary.AppendUvarint(l.head, uint64(message))
	l.size = len(l.head) + message + len(envelopeTail)
	l.head = append(l.head, 0x0a)
	l.head = binary.AppendUvarint(l.head, uint64(len(m)))
	l.head = append(l.head, m...)
	l.tail = envelopeTail
	return nil
}

// chunk is how much of a list is handed to the connection at once: few calls, and no more memory than that a list.
const chunk = 64 * 1024

// WriteTo writes the whole list.
func (l *List) WriteTo(w io.Writer) (int64, error) {
	buf := getBuffer()
	defer putBuffer(buf)
	buf.Grow(chunk)
	var written int64
	put := func(b []byte) error {
		if buf.Len()+len(b) <= chunk {
			buf.Write(b)
			return nil
		}
		if buf.Len() > 0 {
			n, err := w.Write(buf.Bytes())
			written += int64(n)
			buf.Reset()
			if err != nil {
				return err
			}
		}
		if len(b) > chunk/2 {
			n, err := w.Write(b)
			written += int64(n)
			return err
		}
		buf.Write(b)
		return nil
	}
	if err := put(l.head); err != nil {
		return written, err
	}
	start := 0
	for i, item := range l.items {
		between := l.between
		if l.prefixes != nil {
			between = l.prefixes[start:l.ends[i]]
			start = l.ends[i]
		} else if i == 0 {
			between = nil
		}
		if err := put(between); err != nil {
			return written, err
		}
		if err := put(item); err != nil {
			return written, err
		}
	}
	if err := put(l.tail); err != nil {
		return written, err
	}
	n, err := w.Write(buf.Bytes())
	return written + int64(n), err
}

// Write answers with the list.
func (l *List) Write(w http.ResponseWriter, r *http.Request, accepted Accepted) {
	if accepted.Format == YAML || accepted.Format == JSON && accepted.Pretty {
		var whole bytes.Buffer
		_, _ = l.WriteTo(&whole)
		WriteEncoded(w, r, http.StatusOK, accepted, whole.Bytes())
		return
	}
	h := w.Header()
	h.Set("Content-Type", accepted.Format.ContentType())
	if l.size > gzipFrom && acceptsGzip(r) {
		z := startGzip(w)
		w.WriteHeader(http.StatusOK)
		_, _ = l.WriteTo(z)
		endGzip(z)
		return
	}
	h.Set("Content-Length", strconv.Itoa(l.size))
	w.WriteHeader(http.StatusOK)
	_, _ = l.WriteTo(w)
}
