package extensions

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/util/workqueue"

	"github.com/skiff-project/skiff/apiserver/follow"
	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/registry"
	"github.com/skiff-project/skiff/apiserver/watchcache"
)

// Config of a Controller.
type Config struct {
	Registry *registry.Registry
	// Definition is the row of CustomResourceDefinitions.
	Definition *kinds.Kind
	// Publish tells clients which kinds there are now: discovery and OpenAPI. Calls come one at a time.
	Publish func([]*kinds.Kind)
	// Dial connects to a port of a Service, for conversion webhooks.
	Dial func(ctx context.Context, namespace, service string, port int32) (net.Conn, error)
	Now  func() time.Time
	Log  *slog.Logger
}

// Controller turns definitions into rows.
type Controller struct {
	Config
	queue workqueue.TypedRateLimitingInterface[string]
	// cleaning is a set of definitions whose objects are being deleted, for Run to wait for.
	cleaning sync.WaitGroup

	// mu guards what follows; step is closed and replaced whenever a definition has been dealt with.
	mu          sync.Mutex
	step        chan struct{}
	definitions map[string]*definition
	synced      bool
	unpublished bool
}

// definition is what is known of one CustomResourceDefinition.
type definition struct {
	// crd is the newest state, nil once it is deleted. It is shared: nobody may change it.
	crd *apiextensionsv1.CustomResourceDefinition
	// done is the newest revision of it that was dealt with.
	done     string
	row      *row
	cleaning bool
}

// New makes a controller.
func New(cfg Config) *Controller {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Dial == nil {
		cfg.Dial = func(context.Context, string, string, int32) (net.Conn, error) {
			return nil, errors.New("Services cannot be reached from here")
		}
	}
	return &Controller{Config: cfg, definitions: map[string]*definition{}, step: make(chan struct{})}
}

// The queue tries a definition again after failures: soon at first, every half minute in the end.
const (
	retryFirst = 20 * time.Millisecond
	retryLast  = 30 * time.Second
)

// Run follows the definitions until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	defer c.cleaning.Wait()
	reader := c.reader()
	if reader == nil {
		<-ctx.Done()
		return nil
	}
	c.mu.Lock()
	c.queue = workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](retryFirst, retryLast))
	c.mu.Unlock()
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { c.work(ctx) })
	defer c.queue.ShutDown()
	follow.Follower{Replace: c.replace, Apply: c.apply}.Run(ctx, reader, nil)
	return nil
}

func (c *Controller) reader() watchcache.Reader {
	if c.Definition == nil {
		return nil
	}
	res := c.Registry.Resource(c.Definition.GroupResource())
	if res == nil {
		return nil
	}
	return res.Reader
}

func (c *Controller) replace(all []runtime.Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	there := map[string]bool{}
	for _, obj := range all {
		crd := obj.(*apiextensionsv1.CustomResourceDefinition)
		there[crd.Name] = true
		c.learn(crd.Name, crd)
	}
	for name := range c.definitions {
		if !there[name] {
			c.learn(name, nil)
		}
	}
	c.synced = true
	c.advance()
}

func (c *Controller) apply(obj runtime.Object, deleted bool) {
	crd := obj.(*apiextensionsv1.CustomResourceDefinition)
	c.mu.Lock()
	defer c.mu.Unlock()
	name := crd.Name
	if deleted {
		crd = nil
	}
	c.learn(name, crd)
}

// learn takes a new state of a definition. The caller holds mu.
func (c *Controller) learn(name string, crd *apiextensionsv1.CustomResourceDefinition) {
	d := c.definitions[name]
	if d == nil {
		d = &definition{}
		c.definitions[name] = d
	}
	d.crd = crd
	c.queue.Add(name)
}

// advance wakes those who wait for a definition. The caller holds mu.
func (c *Controller) advance() {
	close(c.step)
	c.step = make(chan struct{})
}

// work deals with one definition at a time: names are given to one at a time.
func (c *Controller) work(ctx context.Context) {
	for {
		name, stop := c.queue.Get()
		if stop {
			return
		}
		err := c.reconcile(ctx, name)
		if c.queue.Len() == 0 {
			c.publish()
		}
		c.queue.Done(name)
		switch {
		case err == nil:
			c.queue.Forget(name)
		case ctx.Err() == nil:
			c.Log.Warn("a custom resource definition could not be dealt with; it is tried again", "name", name, "err", err)
			c.queue.AddRateLimited(name)
		}
	}
}

// reconcile brings the row and the conditions of a definition up to date.
func (c *Controller) reconcile(ctx context.Context, name string) error {
	c.mu.Lock()
	d := c.definitions[name]
	c.mu.Unlock()
	if d == nil {
		return nil
	}
	crd := c.newest(d)
	if crd == nil {
		c.unserve(d)
		group := ""
		c.mu.Lock()
		if d.crd == nil {
			delete(c.definitions, name)
		}
		c.advance()
		c.mu.Unlock()
		if d.row != nil {
			group, d.row = d.row.spec.Group, nil
		}
		c.reconsider(group)
		return nil
	}
	wanted := crd.DeepCopy()
	judge(wanted, c.others(wanted), c.Now())
	c.serve(d, wanted)
	if !apiequality.Semantic.DeepEqual(wanted.Status, crd.Status) {
		// What the status says is true from this moment on.
		c.publish()
		if err := c.writeStatus(ctx, d, name); err != nil {
			return err
		}
	}
	c.clean(ctx, d, name)
	c.mu.Lock()
	d.done = crd.ResourceVersion
	c.advance()
	c.mu.Unlock()
	if !apiequality.Semantic.DeepEqual(wanted.Status.AcceptedNames, crd.Status.AcceptedNames) && crd.Status.AcceptedNames.Plural != "" {
		c.reconsider(wanted.Spec.Group) // a name may have become free
	}
	return nil
}

func (c *Controller) newest(d *definition) *apiextensionsv1.CustomResourceDefinition {
	c.mu.Lock()
	defer c.mu.Unlock()
	return d.crd
}

// others are all other definitions of a group.
func (c *Controller) others(crd *apiextensionsv1.CustomResourceDefinition) []*apiextensionsv1.CustomResourceDefinition {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*apiextensionsv1.CustomResourceDefinition
	for name, d := range c.definitions {
		if name != crd.Name && d.crd != nil && d.crd.Spec.Group == crd.Spec.Group {
			out = append(out, d.crd)
		}
	}
	return out
}

// reconsider looks again at the definitions of a group that were refused a name.
func (c *Controller) reconsider(group string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, d := range c.definitions {
		if d.crd != nil && d.crd.Spec.Group == group && !apihelpers.IsCRDConditionTrue(d.crd, apiextensionsv1.NamesAccepted) {
			c.queue.Add(name)
		}
	}
}

// writeStatus writes what judge makes of the definition that is there by then.
func (c *Controller) writeStatus(ctx context.Context, d *definition, name string) error {
	return c.update(ctx, d, name, func(crd *apiextensionsv1.CustomResourceDefinition) {
		judge(crd, c.others(crd), c.Now())
	})
}

// update changes a definition in etcd and remembers the outcome: the next definition must not be given the same names.
func (c *Controller) update(ctx context.Context, d *definition, name string, change func(*apiextensionsv1.CustomResourceDefinition)) error {
	obj, err := c.Registry.Hooks().Update(ctx, c.Definition, "", name, false, func(obj runtime.Object) error {
		change(obj.(*apiextensionsv1.CustomResourceDefinition))
		return nil
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	crd := obj.(*apiextensionsv1.CustomResourceDefinition)
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.crd != nil && later(crd.ResourceVersion, d.crd.ResourceVersion) {
		d.crd = crd
	}
	return nil
}

// later compares two revisions, which are numbers without leading zeros.
func later(a, b string) bool { return len(a) > len(b) || len(a) == len(b) && a > b }
