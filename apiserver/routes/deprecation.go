package routes

import (
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// deprecations are the warnings that go with versions of kinds that are on their way out, by the marks that their Go
// types carry.
type deprecations struct{ texts sync.Map } // *kinds.Version -> string

type deprecated interface {
	APILifecycleDeprecated() (major, minor int)
}

type removed interface {
	APILifecycleRemoved() (major, minor int)
}

type replaced interface {
	APILifecycleReplacement() schema.GroupVersionKind
}

// apiMinor is the minor version of Kubernetes v1 whose API this is.
const apiMinor = 37

func (d *deprecations) of(v *kinds.Version) string {
	if text, ok := d.texts.Load(v); ok {
		return text.(string)
	}
	text := deprecation(v)
	d.texts.Store(v, text)
	return text
}

func deprecation(v *kinds.Version) string {
	obj := v.New()
	mark, ok := obj.(deprecated)
	if !ok {
		return ""
	}
	major, minor := mark.APILifecycleDeprecated()
	if major > 1 || minor > apiMinor {
		return ""
	}
	text := fmt.Sprintf("%s %s is deprecated in v%d.%d+", v.GVK.GroupVersion(), v.GVK.Kind, major, minor)
	if r, ok := obj.(removed); ok {
		if major, minor := r.APILifecycleRemoved(); major != 0 || minor != 0 {
			text += fmt.Sprintf(", unavailable in v%d.%d+", major, minor)
		}
	}
	if r, ok := obj.(replaced); ok {
		if by := r.APILifecycleReplacement(); !by.Empty() {
			text += fmt.Sprintf("; use %s %s", by.GroupVersion(), by.Kind)
		}
	}
	return text
}
