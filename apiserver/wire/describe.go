package wire

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// Describe implements watchcache.Describer for custom resources that are stored in another version than the hub's and
// converted by a webhook. Their labels are those that are stored.
func (c *Codec) Describe(stored []byte) (types.UID, labels.Set, fields.Set, bool) {
	if !c.kind.Remote {
		return "", nil, nil, false
	}
	u := &unstructured.Unstructured{}
	if _, err := unmarshal(stored, u, false); err != nil || u.GroupVersionKind() == c.kind.GVK {
		return "", nil, nil, false
	}
	if c.versionOf(u.GroupVersionKind()) == nil {
		return "", nil, nil, false
	}
	l, f := c.Attributes(u)
	return u.GetUID(), l, f, true
}
