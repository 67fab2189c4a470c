package registry

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/watchcache"
	"github.com/skiff-project/skiff/apiserver/wire"
)

// asItself is an object seen in one of its versions.
type asItself struct {
	res         *Resource
	version     *kinds.Version
	subresource string
}

func (res *Resource) viewOf(w *Write) view {
	if s := res.Kind.Subresource(w.Version, w.Subresource); s != nil && s.Scale != nil {
		return asScale{res, res.version(w)}
	}
	return asItself{res, res.version(w), w.Subresource}
}

func (v asItself) target() wire.Target { return wire.TargetOf(v.version) }

func (v asItself) encode(obj runtime.Object) ([]byte, error) {
	data, err := v.res.Codec.Encode(obj, watchcache.Form{Version: v.version.GVK.GroupVersion()})
	return append(data, '\n'), err
}

func (v asItself) versioned(obj runtime.Object) (runtime.Object, error) {
	return v.res.Codec.FromHub(obj, v.version.GVK.GroupVersion())
}

func (v asItself) statusAlone() bool {
	s := v.res.Kind.Subresource(v.version, v.subresource)
	// Where objects are converted, the client's version is a copy anyway, and what it shares is not the stored object's.
	return s != nil && s.Update != nil && s.Update.StatusAlone && v.version.FromHub == nil
}

func (v asItself) hub(obj runtime.Object) (runtime.Object, error) {
	obj, err := v.res.Codec.ToHub(obj)
	if err != nil {
		return nil, err
	}
	v.res.Kind.Default(obj)
	return obj, nil
}

func (v asItself) empty() runtime.Object { return v.res.Codec.New() }

func (v asItself) track(u *updating, old, obj runtime.Object) runtime.Object {
	return v.res.track(u, old, obj)
}

func (v asItself) apply(live runtime.Object, config *unstructured.Unstructured, manager string, force bool) (runtime.Object, error) {
	obj, err := v.res.tracker(v.version, v.subresource).Apply(live, config, manager, force)
	if err != nil {
		return nil, err
	}
	return v.hub(obj)
}
