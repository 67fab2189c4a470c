package extensions

import (
	"context"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/watchcache"
)

// catchUp bounds how long a request waits for a definition that another server accepted.
const catchUp = 3 * time.Second

// CatchUp returns when a definition that is in etcd by now is served here, or will not be. It costs one read of etcd.
func (c *Controller) CatchUp(ctx context.Context, gr schema.GroupResource) {
	reader := c.reader()
	if reader == nil || gr.Group == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	name := gr.Resource + "." + gr.Group
	obj, err := reader.Get(ctx, "", name, watchcache.Latest)
	if err != nil {
		return
	}
	shared, err := obj.Shared()
	if err != nil {
		return
	}
	want := shared.(*apiextensionsv1.CustomResourceDefinition)
	for {
		c.mu.Lock()
		d, step := c.definitions[name], c.step
		there := d != nil && d.crd != nil && d.done != "" && !later(want.ResourceVersion, d.done)
		c.mu.Unlock()
		if there {
			return
		}
		select {
		case <-step:
		case <-ctx.Done():
			return
		}
	}
}
