package wire

import (
	"fmt"
	"net/http"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/watchcache"
)

// TableOptions are what a client may say about the table it asks for.
type TableOptions struct {
	// Include is what of the object comes with its row; empty means metadata.
	Include metav1.IncludeObjectPolicy
	// NoHeaders leaves the columns out, as in all but the first event of a watch.
	NoHeaders bool
}

// ParseTableOptions reads the query parameter includeObject.
func ParseTableOptions(r *http.Request) (TableOptions, error) {
	opts := metav1.TableOptions{}
	if r.URL.RawQuery != "" {
		opts.IncludeObject = metav1.IncludeObjectPolicy(r.URL.Query().Get("includeObject"))
	}
	switch errs := validation.ValidateTableOptions(&opts); len(errs) {
	case 0:
	case 1:
		return TableOptions{}, apierrors.NewBadRequest(fmt.Sprintf("Unable to convert to Table as requested: %v", errs[0]))
	default:
		return TableOptions{}, apierrors.NewBadRequest(fmt.Sprintf("Unable to convert to Table as requested: %v", errs))
	}
	return TableOptions{Include: opts.IncludeObject}, nil
}

// tableOf is a table as it is written; metav1.Table would encode every object anew.
type tableOf struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Columns         []metav1.TableColumnDefinition `json:"columnDefinitions"`
	Rows            []row                          `json:"rows"`
}

type row struct {
	Cells      []any                      `json:"cells"`
	Conditions []metav1.TableRowCondition `json:"conditions,omitempty"`
	Object     rawObject                  `json:"object"`
}

// rawObject is JSON that was made before.
type rawObject []byte

// MarshalJSON implements json.Marshaler.
func (r rawObject) MarshalJSON() ([]byte, error) {
	if r == nil {
		return []byte("null"), nil
	}
	return r, nil
}

// Table is the table of some objects as JSON. as is the version of the table, gv that of the objects.
func (c *Codec) Table(objects []*watchcache.Object, as schema.GroupVersion, gv schema.GroupVersion, opts TableOptions, listMeta ListMeta) ([]byte, error) {
	if v, err := c.version(gv); err == nil && v.FromHubMany != nil {
		return c.tableOfMany(objects, v, as, opts, listMeta)
	}
	return tableOfItems(c, objects, as, gv, opts, listMeta)
}

// LooseTable is Table for objects of the hub type that are not in the cache.
func (c *Codec) LooseTable(objects []runtime.Object, as schema.GroupVersion, gv schema.GroupVersion, opts TableOptions, listMeta ListMeta) ([]byte, error) {
	return tableOfItems(c, c.loosen(objects), as, gv, opts, listMeta)
}

func tableOfItems[T item](c *Codec, objects []T, as schema.GroupVersion, gv schema.GroupVersion, opts TableOptions, listMeta ListMeta) ([]byte, error) {
	return c.table(len(objects), as, gv, opts, listMeta, func(i int) (runtime.Object, rawObject, error) {
		obj, err := objects[i].Shared()
		if err != nil || opts.Include == metav1.IncludeNone {
			return obj, nil, err
		}
		form := watchcache.Form{Version: gv, Media: watchcache.JSON, Shape: watchcache.MetadataOnly}
		if opts.Include == metav1.IncludeObject {
			form.Shape = watchcache.Full
		}
		raw, err := objects[i].Bytes(form)
		return obj, raw, err
	})
}

// TableOfObject is the table of one object that is not in the cache (the outcome of a dry run, say).
func (c *Codec) TableOfObject(obj runtime.Object, as schema.GroupVersion, gv schema.GroupVersion, opts TableOptions) ([]byte, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, NotAcceptable(fmt.Sprintf("%T has no table", obj))
	}
	return c.table(1, as, gv, opts, ListMeta{ResourceVersion: m.GetResourceVersion()}, func(int) (runtime.Object, rawObject, error) {
		switch opts.Include {
		case metav1.IncludeNone:
			return obj, nil, nil
		case metav1.IncludeObject:
			raw, err := c.Encode(obj, watchcache.Form{Version: gv})
			return obj, raw, err
		}
		raw, err := c.encodePartial(obj, watchcache.JSON)
		return obj, raw, err
	})
}

func (c *Codec) table(n int, as, gv schema.GroupVersion, opts TableOptions, listMeta ListMeta, item func(int) (runtime.Object, rawObject, error)) ([]byte, error) {
	t := tableOf{TypeMeta: metav1.TypeMeta{Kind: "Table", APIVersion: as.String()}, ListMeta: listMeta, Rows: make([]row, n)}
	columns, cells := c.kind.Columns, c.kind.Cells
	if v, err := c.version(gv); err == nil && v.Cells != nil {
		columns, cells = v.Columns, v.Cells
	}
	if n == 0 && slices.ContainsFunc(columns, func(c metav1.TableColumnDefinition) bool { return c.Name == "Created At" }) {
		t.Rows = nil // upstream's generic tables have no list of rows rather than an empty one
	}
	if !opts.NoHeaders {
		t.Columns = columns
	}
	for i := range n {
		obj, raw, err := item(i)
		if err != nil {
			return nil, err
		}
		t.Rows[i] = row{Cells: cells(obj), Object: raw}
		if c.kind.RowConditions != nil {
			t.Rows[i].Conditions = c.kind.RowConditions(obj)
		}
	}
	return encodeJSON(&t)
}
