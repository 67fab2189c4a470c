package routes

import (
	"fmt"
	"net/http"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/registry"
	"github.com/skiff-project/skiff/apiserver/watchcache"
	"github.com/skiff-project/skiff/apiserver/wire"
)

// get answers a GET of an object, or of a part of it.
func (c *call) get() {
	accepted, ok := c.accepted()
	if !ok {
		return
	}
	fresh, err := c.freshness()
	if err != nil {
		c.fail(err)
		return
	}
	if c.res.Kind.Virtual {
		c.getVirtual(accepted)
		return
	}
	obj, err := c.res.Get(c.r.Context(), c.write(), fresh)
	if err != nil {
		c.fail(err)
		return
	}
	if c.sub != nil && c.sub.Scale != nil {
		c.getScale(accepted, obj)
		return
	}
	c.answer(http.StatusOK, accepted, registry.Result{Cached: obj})
}

func (c *call) getScale(accepted wire.Accepted, obj *watchcache.Object) {
	shared, err := obj.Shared()
	if err != nil {
		c.fail(apierrors.NewInternalError(err))
		return
	}
	scale, err := c.res.ScaleOf(shared, c.version)
	if err != nil {
		c.fail(err)
		return
	}
	c.answer(http.StatusOK, accepted, registry.Result{Object: scale})
}

// freshness is how new a GET's answer has to be. Every answer is fresh; a client may ask for a revision besides.
func (c *call) freshness() (watchcache.Fresh, error) {
	if c.r.URL.RawQuery == "" {
		return watchcache.Latest, nil
	}
	if exports := c.r.URL.Query()["export"]; len(exports) > 0 {
		export := true
		if err := runtime.Convert_Slice_string_To_bool(&exports, &export, nil); err != nil {
			return 0, apierrors.NewBadRequest(fmt.Sprintf("the export parameter cannot be parsed: %v", err))
		}
		if export {
			return 0, apierrors.NewBadRequest("the export parameter, deprecated since v1.14, is no longer supported")
		}
	}
	opts := metav1.GetOptions{}
	if err := c.decodeQuery(&opts); err != nil {
		return 0, err
	}
	if opts.ResourceVersion == "" {
		return watchcache.Latest, nil
	}
	revision, err := strconv.ParseUint(opts.ResourceVersion, 10, 64)
	if err != nil {
		// Upstream's storage says it like this, without a reason: 500.
		return 0, field.Invalid(field.NewPath("resourceVersion"), opts.ResourceVersion, err.Error())
	}
	return watchcache.Fresh(revision), nil
}

// listOrWatch answers a GET of a collection. named says that the path has a name, as only old watches have.
func (c *call) listOrWatch(watch, named bool) {
	accepted, ok := c.accepted()
	if !ok {
		return
	}
	s, err := c.selection(named)
	if err != nil {
		c.fail(err)
		return
	}
	if watch || s.Watch {
		if !c.can("watch") {
			c.fail(apierrors.NewMethodNotSupported(c.res.Kind.GroupResource(), "watch"))
			return
		}
		c.watch(s)
		return
	}
	if c.res.Kind.Virtual {
		c.listVirtual(accepted, s)
		return
	}
	list, err := c.res.List(c.r.Context(), c.write(), c.listOptions(s))
	if err != nil {
		c.fail(err)
		return
	}
	c.answerList(accepted, list)
}

func (c *call) listOptions(s *selection) watchcache.ListOptions {
	return watchcache.ListOptions{
		Namespace: s.namespace, Name: s.name, Labels: s.LabelSelector, Fields: s.FieldSelector,
		Limit: s.Limit, Continue: s.Continue, ResourceVersion: s.ResourceVersion, Match: s.ResourceVersionMatch,
	}
}

func (c *call) answerList(accepted wire.Accepted, list *watchcache.List) {
	meta := wire.ListMeta{ResourceVersion: strconv.FormatInt(list.Revision, 10), Continue: list.Continue, RemainingItemCount: list.Remaining}
	if accepted.Is("Table") {
		opts, err := wire.ParseTableOptions(c.r)
		if err != nil {
			c.fail(err)
			return
		}
		body, err := c.res.Codec.Table(list.Items, accepted.As.GroupVersion(), c.gv(), opts, meta)
		if err != nil {
			c.fail(err)
			return
		}
		wire.WriteEncoded(c.w, c.r, http.StatusOK, accepted, body)
		return
	}
	if accepted.Is("PartialObjectMetadata") {
		c.fail(wire.NotAcceptable(fmt.Sprintf("you requested PartialObjectMetadata, but the requested object is a list (*%s)", c.listType())))
		return
	}
	out, err := c.res.Codec.NewList(list.Items, c.gv(), &accepted, meta)
	if err != nil {
		c.fail(err)
		return
	}
	out.Write(c.w, c.r, accepted)
}

// listType is the Go name of the list's type as upstream prints it.
func (c *call) listType() string {
	target := wire.TargetOf(c.version)
	return target.Internal + "List"
}
