package fairness

import (
	"context"
	"sync"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/skiff-project/skiff/apiserver/follow"
	"github.com/skiff-project/skiff/apiserver/watchcache"
)

// Feed keeps a gate as the cluster's objects say, and the schemas' conditions as they are.
type Feed struct {
	Gate            *Gate
	Schemas, Levels watchcache.Reader
	// Status writes the conditions of schemas; nil leaves them alone.
	Status WriteStatus
}

// Run follows the objects until ctx ends. As long as a kind has none at all the gate keeps what it had: that is a cluster
// whose defaults have not been written yet.
func (f Feed) Run(ctx context.Context) error {
	var mu sync.Mutex
	schemas, levels := map[string]*flowcontrolv1.FlowSchema{}, map[string]*flowcontrolv1.PriorityLevelConfiguration{}
	wake := make(chan struct{}, 1)
	configure := func() {
		if len(schemas) > 0 && len(levels) > 0 {
			f.Gate.Configure(values(schemas), values(levels))
		}
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	var group sync.WaitGroup
	if f.Status != nil {
		m := marker{write: f.Status, look: func() ([]*flowcontrolv1.FlowSchema, map[string]bool, bool) {
			mu.Lock()
			defer mu.Unlock()
			names := make(map[string]bool, len(levels))
			for name := range levels {
				names[name] = true
			}
			return values(schemas), names, len(levels) > 0
		}}
		group.Go(func() { m.run(ctx, wake) })
	}
	group.Go(func() { keep(ctx, f.Schemas, &mu, schemas, configure) })
	group.Go(func() { keep(ctx, f.Levels, &mu, levels, configure) })
	group.Wait()
	return nil
}

// keep follows one kind into a map.
func keep[T interface {
	runtime.Object
	GetName() string
}](ctx context.Context, reader watchcache.Reader, mu *sync.Mutex, into map[string]T, changed func()) {
	follow.Follower{
		Replace: func(all []runtime.Object) {
			mu.Lock()
			defer mu.Unlock()
			clear(into)
			for _, o := range all {
				into[o.(T).GetName()] = o.(T)
			}
			changed()
		},
		Apply: func(o runtime.Object, deleted bool) {
			mu.Lock()
			defer mu.Unlock()
			if into[o.(T).GetName()] = o.(T); deleted {
				delete(into, o.(T).GetName())
			}
			changed()
		},
	}.Run(ctx, reader, nil)
}

func values[T any](m map[string]T) []T {
	out := make([]T, 0, len(m))
	for _, v := range m {
		out = append(out, v)
	}
	return out
}
