package extensions

import (
	"errors"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// serve puts the row of a definition in place, or takes it away.
func (c *Controller) serve(d *definition, crd *apiextensionsv1.CustomResourceDefinition) {
	accepted := apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.NamesAccepted) || apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.Established)
	if !accepted {
		c.unserve(d)
		return
	}
	terminating := crd.DeletionTimestamp != nil || apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.Terminating)
	if r := d.row; r != nil && apiequality.Semantic.DeepEqual(*r.spec, crd.Spec) && apiequality.Semantic.DeepEqual(*r.names, crd.Status.AcceptedNames) {
		if r.terminating.Swap(terminating) != terminating {
			c.changed()
		}
		return
	}
	r, err := newRow(crd, webhooks{c.Dial})
	if err == nil && c.compiledIn(r.kind) {
		err = errors.New("instances overlap with built-in resources in storage")
	}
	if err != nil {
		c.Log.Error("a custom resource cannot be served", "name", crd.Name, "err", err)
		c.unserve(d)
		return
	}
	r.terminating.Store(terminating)
	if d.row != nil && d.row.kind.GroupResource() != r.kind.GroupResource() {
		c.unserve(d)
	}
	d.row = r
	c.Registry.AddWith(r.kind, r.fields)
	c.changed()
}

// compiledIn says that a kind would take the place, or the keys, of one that is no custom resource.
func (c *Controller) compiledIn(k *kinds.Kind) bool {
	if res := c.Registry.Resource(k.GroupResource()); res != nil && !res.Kind.Custom {
		return true
	}
	if gr, ok := c.Registry.AtKey(k.KeyPrefix("") + "x"); ok {
		res := c.Registry.Resource(gr)
		return res != nil && !res.Kind.Custom
	}
	return false
}

func (c *Controller) unserve(d *definition) {
	if d.row != nil {
		c.Registry.Remove(d.row.kind)
		c.changed()
	}
}

func (c *Controller) changed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unpublished = true
}

// publish tells clients what there is, if that has changed. A definition that is being deleted shows fewer verbs.
func (c *Controller) publish() {
	c.mu.Lock()
	due := c.unpublished && c.synced
	c.unpublished = c.unpublished && !due
	terminating := map[*kinds.Kind]bool{}
	for _, d := range c.definitions {
		if d.row != nil && d.row.terminating.Load() {
			terminating[d.row.kind] = true
		}
	}
	c.mu.Unlock()
	if !due {
		return
	}
	table := c.Registry.Kinds()
	for i, k := range table {
		if terminating[k] {
			less := *k
			less.Verbs = terminatingVerbs
			table[i] = &less
		}
	}
	c.Publish(table)
}
