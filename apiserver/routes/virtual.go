package routes

import (
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/registry"
	"github.com/skiff-project/skiff/apiserver/wire"
)

// Kinds that are not stored may be read all the same: their objects are made when somebody asks (ComponentStatus).

func (c *call) getVirtual(accepted wire.Accepted) {
	w := c.write()
	objects, err := c.res.Objects(c.r.Context(), w)
	if err != nil {
		c.fail(err)
		return
	}
	for _, obj := range objects {
		if m, err := meta.Accessor(obj); err == nil && m.GetName() == w.Name {
			c.answer(http.StatusOK, accepted, registry.Result{Object: obj})
			return
		}
	}
	c.fail(apierrors.NewNotFound(schema.GroupResource{Group: c.version.GVK.Group, Resource: c.res.Kind.Singular}, w.Name))
}

func (c *call) listVirtual(accepted wire.Accepted, s *selection) {
	objects, err := c.res.Objects(c.r.Context(), c.write())
	if err != nil {
		c.fail(err)
		return
	}
	var selected []runtime.Object
	for _, obj := range objects {
		m, err := meta.Accessor(obj)
		if err != nil {
			continue
		}
		_, fields := c.res.Codec.Attributes(obj)
		if (s.LabelSelector == nil || s.LabelSelector.Matches(labels.Set(m.GetLabels()))) && (s.FieldSelector == nil || s.FieldSelector.Matches(fields)) {
			selected = append(selected, obj)
		}
	}
	if accepted.Is("Table") {
		opts, err := wire.ParseTableOptions(c.r)
		if err != nil {
			c.fail(err)
			return
		}
		body, err := c.res.Codec.LooseTable(selected, accepted.As.GroupVersion(), c.gv(), opts, wire.ListMeta{})
		if err != nil {
			c.fail(err)
			return
		}
		wire.WriteEncoded(c.w, c.r, http.StatusOK, accepted, body)
		return
	}
	out, err := c.res.Codec.NewLooseList(selected, c.gv(), &accepted, wire.ListMeta{})
	if err != nil {
		c.fail(err)
		return
	}
	out.Write(c.w, c.r, accepted)
}
