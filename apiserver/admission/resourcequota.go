package admission

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/component-helpers/resource"

	"github.com/skiff-project/skiff/pkg/quota"
)

// ResourceQuota charges new objects to the quotas of their namespace and refuses what they cannot pay. It must be the
// last rule: what it has charged is given back by the quota controller alone.
//
// A quota is one object, and every charge a compare-and-swap of it. So that many writers in one namespace do not undo
// each other's, those of one server who wait at the same time are charged together, in one write for each quota.
func ResourceQuota(o *Objects) Rule {
	c := &cashier{o: o, desks: map[string]*desk{}}
	return Rule{Name: "ResourceQuota", Validate: c.validate}
}

type cashier struct {
	o  *Objects
	mu sync.Mutex
	// desks by namespace, each there as long as somebody waits.
	desks map[string]*desk
}

// desk is where the writers of one namespace queue up. The first one serves all who have come until it is done.
type desk struct{ waiting []*bill }

// bill is what one object costs.
type bill struct {
	ctx context.Context
	*Attributes
	cost, before corev1.ResourceList
	err          error
	done         chan struct{}
}

// uncharged are kinds that no quota counts: Events come and go by themselves.
var uncharged = []string{"events", "resourceclaims"}

func (c *cashier) validate(ctx context.Context, a *Attributes) error {
	if a.Namespace == "" || a.Kind.Virtual || a.Object == nil || slices.Contains(uncharged, a.Kind.Resource) || !chargeable(a) {
		return nil
	}
	if reader := c.o.Readers(core("resourcequotas")); reader == nil || reader.Count() == 0 {
		return nil
	}
	b := &bill{ctx: ctx, Attributes: a, done: make(chan struct{})}
	b.cost = costOf(a, a.Object)
	if a.Operation == Update {
		b.before = costOf(a, a.Old)
	}
	c.mu.Lock()
	d, first := c.desks[a.Namespace], false
	if d == nil {
		d, first = &desk{}, true
		c.desks[a.Namespace] = d
	}
	d.waiting = append(d.waiting, b)
	c.mu.Unlock()
	if first {
		c.serve(a.Namespace, d)
	}
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// chargeable are the operations that may cost more than before.
func chargeable(a *Attributes) bool {
	switch {
	case a.Is("", "pods", ""):
		return a.Operation == Create || a.Operation == Update && deadline(a.Object) != deadline(a.Old)
	case a.Is("", "pods", "resize"):
		return a.Operation == Update
	case a.Is("", "services", ""), a.Is("", "persistentvolumeclaims", ""):
		return a.Operation == Create || a.Operation == Update
	}
	return a.Subresource == "" && a.Operation == Create
}

func deadline(obj runtime.Object) bool {
	pod, ok := obj.(*corev1.Pod)
	return ok && pod.Spec.ActiveDeadlineSeconds != nil
}

func costOf(a *Attributes, obj runtime.Object) corev1.ResourceList {
	switch o := obj.(type) {
	case *corev1.Pod:
		return quota.Pod(o, time.Now())
	case *corev1.Service:
		return quota.Service(o)
	case *corev1.PersistentVolumeClaim:
		return quota.Claim(o)
	}
	gr := a.Kind.GroupResource()
	out := corev1.ResourceList{quota.CountName(gr): one()}
	if old := corev1.ResourceName(gr.Resource); gr.Group == "" {
		if counted, ok := quota.CountedBy(old); ok && counted == gr {
			out[old] = one()
		}
	}
	return out
}

func (c *cashier) serve(namespace string, d *desk) {
	for {
		c.mu.Lock()
		batch := d.waiting
		d.waiting = nil
		if len(batch) == 0 {
			delete(c.desks, namespace)
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		c.charge(namespace, batch)
		for _, b := range batch {
			close(b.done)
		}
	}
}

// charge settles a batch.
func (c *cashier) charge(namespace string, batch []*bill) {
	// The write must not end with the request of whoever happens to stand first.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(batch[0].ctx), 10*time.Second)
	defer cancel()
	list, err := c.o.list(ctx, core("resourcequotas"), namespace)
	if err != nil {
		for _, b := range batch {
			b.err = err
		}
		return
	}
	quotas := make([]*corev1.ResourceQuota, len(list))
	for i, obj := range list {
		quotas[i] = obj.(*corev1.ResourceQuota)
	}
	slices.SortFunc(quotas, func(a, b *corev1.ResourceQuota) int { return strings.Compare(a.Name, b.Name) })
	// Nobody is charged by one quota who is plainly refused by another.
	for _, b := range batch {
		for _, q := range quotas {
			if b.err == nil {
				_, b.err = b.share(q, nil)
			}
		}
	}
	for _, q := range quotas {
		c.chargeOne(ctx, q, batch)
	}
}

// chargeOne charges all who are left to one quota, in one write. Each is judged by what those before him leave.
func (c *cashier) chargeOne(ctx context.Context, q *corev1.ResourceQuota, batch []*bill) {
	var due []*bill
	for _, b := range batch {
		if share, err := b.share(q, nil); b.err == nil && err == nil && len(share) > 0 {
			due = append(due, b)
		}
	}
	if len(due) == 0 {
		return
	}
	if c.allDry(due) {
		return
	}
	refused := map[*bill]error{}
	_, err := c.o.Store.Update(ctx, c.o.Store.Kind(core("resourcequotas")), q.Namespace, q.Name, false, func(obj runtime.Object) error {
		now := obj.(*corev1.ResourceQuota)
		clear(refused)
		used := now.Status.Used.DeepCopy()
		for _, b := range due {
			share, err := b.share(now, used)
			switch {
			case err != nil:
				refused[b] = err
			case !b.DryRun:
				quota.Add(used, share)
			}
		}
		now.Status.Used = used
		return nil
	})
	if apierrors.IsNotFound(err) {
		return // the quota is gone: nobody is bound by it
	}
	for _, b := range due {
		if err != nil {
			b.err = err
		} else if refusal := refused[b]; refusal != nil {
			b.err = refusal
		}
	}
}

func (c *cashier) allDry(due []*bill) bool {
	return !slices.ContainsFunc(due, func(b *bill) bool { return !b.DryRun })
}

// share is what of the bill a quota pays: nothing if it does not apply. The error says that it cannot. used replaces what
// the quota's status says is used.
func (b *bill) share(q *corev1.ResourceQuota, used corev1.ResourceList) (corev1.ResourceList, error) {
	if !b.under(q, b.Object) {
		return nil, nil
	}
	if used == nil {
		used = q.Status.Used
	}
	var names []corev1.ResourceName
	for name := range q.Status.Hard {
		if b.concerns(name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	slices.Sort(names)
	if err := b.complete(q, names); err != nil {
		return nil, err
	}
	for _, name := range names {
		if _, ok := q.Status.Used[name]; !ok {
			return nil, forbidden(b.Attributes, "status unknown for quota: %s, resources: %s", q.Name, joinNames(names))
		}
	}
	share := corev1.ResourceList{}
	counted := b.before != nil && b.under(q, b.Old)
	for _, name := range names {
		cost, ok := b.cost[name]
		if !ok {
			continue
		}
		cost = cost.DeepCopy()
		if counted {
			cost.Sub(b.before[name])
		}
		if cost.Sign() > 0 {
			share[name] = cost
		}
	}
	return share, b.affordable(q, share, used)
}

func (b *bill) affordable(q *corev1.ResourceQuota, share, used corev1.ResourceList) error {
	exceeded := map[corev1.ResourceName]bool{}
	for name, cost := range share {
		sum := used[name].DeepCopy()
		sum.Add(cost)
		if sum.Cmp(q.Status.Hard[name]) > 0 {
			exceeded[name] = true
		}
	}
	if len(exceeded) == 0 {
		return nil
	}
	return forbidden(b.Attributes, "exceeded quota: %s, requested: %s, used: %s, limited: %s", q.Name,
		show(share, exceeded), show(used, exceeded), show(q.Status.Hard, exceeded))
}

// under says whether an object is within a quota's scopes. Objects other than pods are in no scope.
func (b *bill) under(q *corev1.ResourceQuota, obj runtime.Object) bool {
	if pod, ok := obj.(*corev1.Pod); ok {
		return quota.Covers(q, pod)
	}
	return len(quota.Scopes(q)) == 0
}

// concerns says whether a quota's resource is one that objects like this cost, even if this one costs nothing of it.
func (b *bill) concerns(name corev1.ResourceName) bool {
	switch b.Object.(type) {
	case *corev1.Pod:
		return quota.SourceOf(name) == quota.Pods
	case *corev1.Service:
		return quota.SourceOf(name) == quota.Services
	case *corev1.PersistentVolumeClaim:
		return quota.SourceOf(name) == quota.Claims
	}
	_, ok := b.cost[name]
	return ok
}

// mustSay are resources that every container must name where a quota limits them.
var mustSay = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceMemory,
	corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory}

func (b *bill) complete(q *corev1.ResourceQuota, names []corev1.ResourceName) error {
	pod, ok := b.Object.(*corev1.Pod)
	if !ok || resource.IsPodLevelResourcesSet(pod) {
		return nil
	}
	var missing []string
	for _, name := range mustSay {
		if !slices.Contains(names, name) {
			continue
		}
		var lacking []string
		for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
			for i := range list {
				if !says(&list[i], name) {
					lacking = append(lacking, list[i].Name)
				}
			}
		}
		if len(lacking) > 0 {
			slices.Sort(lacking)
			missing = append(missing, fmt.Sprintf("%s for: %s", name, strings.Join(slices.Compact(lacking), ",")))
		}
	}
	if len(missing) > 0 {
		return forbidden(b.Attributes, "failed quota: %s: must specify %s", q.Name, strings.Join(missing, "; "))
	}
	return nil
}

func says(c *corev1.Container, name corev1.ResourceName) bool {
	text := string(name)
	if plain, ok := strings.CutPrefix(text, "limits."); ok {
		_, ok = c.Resources.Limits[corev1.ResourceName(plain)]
		return ok
	}
	_, ok := c.Resources.Requests[corev1.ResourceName(strings.TrimPrefix(text, "requests."))]
	return ok
}

func show(list corev1.ResourceList, only map[corev1.ResourceName]bool) string {
	var out []string
	for name := range only {
		q := list[name]
		out = append(out, string(name)+"="+q.String())
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

func joinNames(names []corev1.ResourceName) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = string(n)
	}
	return strings.Join(out, ",")
}

func one() apiresource.Quantity { return *apiresource.NewQuantity(1, apiresource.DecimalSI) }
