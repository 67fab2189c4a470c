package wire

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/watchcache"
)

// convertMany makes the bytes of all objects that have none in a form, where converting them together costs less. The
// others take care of themselves.
func (c *Codec) convertMany(objects []*watchcache.Object, form watchcache.Form) error {
	v, err := c.version(form.Version)
	if err != nil || v.FromHubMany == nil || form.Shape != watchcache.Full {
		return nil //nolint:nilerr // told by whoever encodes
	}
	var missing []*watchcache.Object
	for _, o := range objects {
		if !o.Has(form) {
			missing = append(missing, o)
		}
	}
	converted, err := c.fromHubMany(missing, v)
	if err != nil {
		return err
	}
	for i, o := range missing {
		b, err := c.encode(converted[i], v, form.Media)
		if err != nil {
			return err
		}
		o.Keep(form, b)
	}
	return nil
}

func (c *Codec) fromHubMany(objects []*watchcache.Object, v *servedVersion) ([]runtime.Object, error) {
	if len(objects) == 0 {
		return nil, nil
	}
	hub := make([]runtime.Object, len(objects))
	for i, o := range objects {
		var err error
		if hub[i], err = o.Shared(); err != nil {
			return nil, err
		}
	}
	return v.FromHubMany(hub)
}

// tableOfMany is Table for a version into which objects are converted together.
func (c *Codec) tableOfMany(objects []*watchcache.Object, v *servedVersion, as schema.GroupVersion, opts TableOptions, listMeta ListMeta) ([]byte, error) {
	converted, err := c.fromHubMany(objects, v)
	if err != nil {
		return nil, err
	}
	return c.table(len(objects), as, v.GVK.GroupVersion(), opts, listMeta, func(i int) (runtime.Object, rawObject, error) {
		var raw rawObject
		var err error
		switch opts.Include {
		case metav1.IncludeNone:
		case metav1.IncludeObject:
			raw, err = c.encode(converted[i], v, watchcache.JSON)
		default:
			raw, err = c.Encode(converted[i], watchcache.Form{Version: v.GVK.GroupVersion(), Shape: watchcache.MetadataOnly})
		}
		return converted[i], raw, err
	})
}
