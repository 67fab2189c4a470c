package resourcequota

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"github.com/skiff-project/skiff/controller-manager/control"
	"github.com/skiff-project/skiff/controller-manager/discovered"
	"github.com/skiff-project/skiff/pkg/quota"
)

// recount is how often everything is counted even if nothing has happened: an object that was charged and then refused by
// a later step of admission tells nobody.
const recount = 5 * time.Minute

// settle is how long a quota must not have been charged before less is written than what was charged: an object is charged
// first and stored a moment later, and what this process knows of it is older still.
const settle = 500 * time.Millisecond

func (c *Controller) reconcile(ctx context.Context, key string) error {
	if err := c.writes.Behind(key); err != nil {
		return err
	}
	namespace, name := control.SplitKey(key)
	q, err := c.quotas.ResourceQuotas(namespace).Get(name)
	if err != nil {
		c.writes.Forget(key)
		return nil
	}
	used, countErr := c.count(ctx, q)
	status := corev1.ResourceQuotaStatus{Hard: q.Spec.Hard.DeepCopy(), Used: corev1.ResourceList{}}
	for name := range q.Spec.Hard {
		if quantity, ok := used[name]; ok {
			status.Used[name] = quantity
		} else if quantity, ok := q.Status.Used[name]; ok {
			status.Used[name] = quantity // it could not be counted: what was known stays
		}
	}
	if at, ok := c.charged.Load(key); ok {
		if rest := settle - c.env.Clock.Since(at.(time.Time)); rest > 0 && keepHigher(status.Used, q.Status.Used) {
			c.loop.AddAfter(key, rest)
		}
	}
	if !equality.Semantic.DeepEqual(status, q.Status) {
		updated := q.DeepCopy()
		updated.Status = status
		written, err := c.env.Client.CoreV1().ResourceQuotas(namespace).UpdateStatus(ctx, updated, metav1.UpdateOptions{})
		if err != nil {
			return control.IgnoreNotFound(err)
		}
		c.writes.Wrote(key, c.store, written)
	}
	c.loop.AddAfter(key, recount)
	return countErr
}

// keepHigher puts back what is lower in used than it was, and says whether anything was.
func keepHigher(used, before corev1.ResourceList) bool {
	kept := false
	for name, now := range used {
		if was, ok := before[name]; ok && now.Cmp(was) < 0 {
			used[name], kept = was, true
		}
	}
	return kept
}

// count answers the use of everything that q limits.
func (c *Controller) count(ctx context.Context, q *corev1.ResourceQuota) (corev1.ResourceList, error) {
	used := corev1.ResourceList{}
	need := map[quota.Source]bool{}
	var counted []corev1.ResourceName
	for name := range q.Spec.Hard {
		source := quota.SourceOf(name)
		need[source] = true
		if source == quota.Counted {
			counted = append(counted, name)
		} else {
			used[name] = resource.Quantity{Format: q.Spec.Hard[name].Format}
		}
	}
	scoped := len(quota.Scopes(q)) > 0
	if need[quota.Pods] {
		if err := c.countPods(q, used); err != nil {
			return used, err
		}
	}
	if need[quota.Services] && !scoped {
		all, err := c.services.Services(q.Namespace).List(labels.Everything())
		if err != nil {
			return used, err
		}
		for _, service := range all {
			addLimited(used, quota.Service(service))
		}
	}
	if need[quota.Claims] && !scoped {
		all, err := c.claims.PersistentVolumeClaims(q.Namespace).List(labels.Everything())
		if err != nil {
			return used, err
		}
		for _, claim := range all {
			addLimited(used, quota.Claim(claim))
		}
	}
	var firstErr error
	for _, name := range counted {
		n, err := c.number(ctx, q.Namespace, name)
		if err != nil {
			if firstErr == nil {
				firstErr = fmt.Errorf("count %s in %s: %w", name, q.Namespace, err)
			}
			continue
		}
		used[name] = *resource.NewQuantity(n, resource.DecimalSI)
	}
	return used, firstErr
}

func (c *Controller) countPods(q *corev1.ResourceQuota, used corev1.ResourceList) error {
	all, err := c.pods.Pods(q.Namespace).List(labels.Everything())
	if err != nil {
		return err
	}
	now := c.env.Clock.Now()
	for _, pod := range all {
		if !quota.Covers(q, pod) {
			continue
		}
		addLimited(used, quota.Pod(pod, now))
		if pod.DeletionTimestamp != nil && pod.DeletionGracePeriodSeconds != nil {
			// It stops counting when its time is over, whether or not it is gone then.
			if over := pod.DeletionTimestamp.Add(time.Duration(*pod.DeletionGracePeriodSeconds) * time.Second).Sub(now); over > 0 {
				c.loop.AddAfter(control.Key(q.Namespace, q.Name), over+time.Second)
			}
		}
	}
	return nil
}

// addLimited adds only what is limited.
func addLimited(used, cost corev1.ResourceList) {
	for name, quantity := range cost {
		if sum, ok := used[name]; ok {
			sum.Add(quantity)
			used[name] = sum
		}
	}
}

// number asks the server how many objects there are: one object and the number of the others.
func (c *Controller) number(ctx context.Context, namespace string, name corev1.ResourceName) (int64, error) {
	counted, _ := quota.CountedBy(name)
	resource, ok, err := c.resolve.find(counted)
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, nil // there is no such kind, so there are none of it
	}
	list, err := c.env.Metadata.Resource(resource).Namespace(namespace).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return 0, err
	}
	n := int64(len(list.Items))
	if list.RemainingItemCount != nil {
		return n + *list.RemainingItemCount, nil
	}
	for list.Continue != "" { // a server that does not say
		if list, err = c.env.Metadata.Resource(resource).Namespace(namespace).List(ctx, metav1.ListOptions{Limit: 500, Continue: list.Continue}); err != nil {
			return 0, err
		}
		n += int64(len(list.Items))
	}
	return n, nil
}

// resolver finds the version of a resource to ask for. What it has found it keeps for a while.
type resolver struct {
	discovery discovery.DiscoveryInterface

	mu    sync.Mutex
	at    time.Time
	known map[schema.GroupResource]schema.GroupVersionResource
}

const keepFor = 30 * time.Second

func (r *resolver) find(gr schema.GroupResource) (schema.GroupVersionResource, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if found, ok := r.known[gr]; ok {
		return found, true, nil
	}
	if time.Since(r.at) < keepFor {
		return schema.GroupVersionResource{}, false, nil
	}
	resources, err := discovered.List(r.discovery)
	if err != nil && len(resources) == 0 {
		return schema.GroupVersionResource{}, false, err
	}
	r.known, r.at = map[schema.GroupResource]schema.GroupVersionResource{}, time.Now()
	for _, found := range resources {
		r.known[found.GroupResource()] = found.GroupVersionResource
	}
	found, ok := r.known[gr]
	return found, ok, nil
}
