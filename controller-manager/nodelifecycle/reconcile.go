package nodelifecycle

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiff-project/skiff/controller-manager/control"
)

func (c *Controller) reconcile(ctx context.Context, key string) error {
	if err := c.writes.Behind(key); err != nil {
		return err
	}
	node, err := c.nodes.Get(key)
	if err != nil {
		c.forget(key)
		return nil
	}
	now := c.env.Clock.Now()
	silentIn, was := c.look(node, now)
	if silentIn <= 0 {
		if node, err = c.declareSilent(ctx, node, now); node == nil || err != nil {
			return err
		}
	} else {
		c.loop.AddAfter(key, silentIn)
	}
	if ready := readiness(node); ready != corev1.ConditionTrue && ready != "" && (was == corev1.ConditionTrue || was == "") {
		if was == corev1.ConditionTrue {
			c.events.Eventf(reference(node), corev1.EventTypeNormal, "NodeNotReady", "Node %s status is now: NodeNotReady", node.Name)
		}
		if err := c.podsNotReady(ctx, node, now); err != nil {
			c.remember(node, was) // to be tried again
			return err
		}
	}
	if err := c.label(ctx, node); err != nil {
		return err
	}
	evict, again := c.mayEvict(node, now)
	if again > 0 {
		c.loop.AddAfter(key, again)
	}
	return c.taint(ctx, key, node, taints(node, evict, now))
}

// look takes note of the node's heartbeats. It answers in how long the node will have been silent for too long, and what
// its Ready condition was when last looked at.
func (c *Controller) look(node *corev1.Node, now time.Time) (silentIn time.Duration, was corev1.ConditionStatus) {
	lease, err := c.leases.Leases(corev1.NamespaceNodeLease).Get(node.Name)
	if err != nil {
		lease = nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.health[node.Name]
	if h == nil || h.uid != string(node.UID) {
		if h == nil {
			c.events.Eventf(reference(node), corev1.EventTypeNormal, "RegisteredNode", "Node %s event: Registered Node %v in Controller", node.Name, node.Name)
		}
		h = &health{uid: string(node.UID), seen: now}
		c.health[node.Name] = h
	}
	h.look(node, lease, now)
	was, h.ready = h.ready, readiness(node)
	grace := c.config.Grace
	if h.ready == "" {
		grace = c.config.StartupGrace
	}
	return h.seen.Add(grace).Sub(now), was
}

func (c *Controller) remember(node *corev1.Node, ready corev1.ConditionStatus) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.health[node.Name]; h != nil {
		h.ready = ready
	}
}

func (c *Controller) forget(key string) {
	c.writes.Forget(key)
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.health[key]; h != nil {
		c.events.Eventf(&corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: key, UID: types.UID(h.uid)}, corev1.EventTypeNormal, "RemovingNode", "Node %s event: Removing Node %v from Controller", key, key)
		delete(c.health, key)
	}
}

// declareSilent makes the node's conditions Unknown, after a last look at its Lease. It answers the node as it is then, or
// nil when the Lease has been renewed.
func (c *Controller) declareSilent(ctx context.Context, node *corev1.Node, now time.Time) (*corev1.Node, error) {
	silent := node.DeepCopy()
	if !silence(silent, now) {
		return node, nil
	}
	lease, err := c.env.Client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(ctx, node.Name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, err
	}
	if err == nil {
		c.mu.Lock()
		h := c.health[node.Name]
		alive := h != nil && lease.Spec.RenewTime != nil && (h.renewed == nil || h.renewed.Before(lease.Spec.RenewTime))
		c.mu.Unlock()
		if alive {
			return nil, control.Again(time.Second) // our cache is behind
		}
	}
	slog.Warn("node is silent", "controller", name, "node", node.Name, "grace", c.config.Grace)
	updated, err := c.env.Client.CoreV1().Nodes().UpdateStatus(ctx, silent, metav1.UpdateOptions{})
	if err != nil {
		return nil, control.IgnoreNotFound(err)
	}
	c.writes.Wrote(node.Name, c.store, updated)
	return updated, nil
}

// podsNotReady takes the readiness from the pods of a node that has lost its own: nobody is there to do it any more.
func (c *Controller) podsNotReady(ctx context.Context, node *corev1.Node, now time.Time) error {
	var ready []*corev1.Pod
	for _, pod := range control.OnNode(c.podIndex, node.Name) {
		if control.Ready(pod) {
			ready = append(ready, pod)
		}
	}
	return control.Each(ctx, len(ready), func(ctx context.Context, i int) error {
		pod := ready[i]
		patch, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"uid": pod.UID},
			"status": map[string]any{"conditions": []map[string]any{{
				"type": corev1.PodReady, "status": corev1.ConditionFalse, "lastTransitionTime": metav1.NewTime(now),
			}}},
		})
		if err != nil {
			return err
		}
		_, err = c.env.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return nil
		}
		if err == nil {
			c.events.Event(pod, corev1.EventTypeWarning, "NodeNotReady", "Node is not ready")
		}
		return err
	})
}

// betaLabels are names from before the labels were stable; old selectors still use them.
var betaLabels = map[string]string{corev1.LabelOSStable: "beta.kubernetes.io/os", corev1.LabelArchStable: "beta.kubernetes.io/arch"}

func (c *Controller) label(ctx context.Context, node *corev1.Node) error {
	missing := map[string]string{}
	for stable, beta := range betaLabels {
		if value, ok := node.Labels[stable]; ok && node.Labels[beta] != value {
			missing[beta] = value
		}
	}
	if len(missing) == 0 {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": missing}})
	if err != nil {
		return err
	}
	_, err = c.env.Client.CoreV1().Nodes().Patch(ctx, node.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	return control.IgnoreNotFound(err)
}

// mayEvict says whether the pods of node may be driven out, and when to ask again.
func (c *Controller) mayEvict(node *corev1.Node, now time.Time) (eviction, time.Duration) {
	c.mu.Lock()
	calm := !c.allDown
	c.mu.Unlock()
	if calm && readiness(node) == corev1.ConditionTrue && !hasNoExecute(node) {
		return later, 0 // nearly always: one heartbeat must not cost a look at all nodes
	}
	all, err := c.nodes.List(labels.Everything())
	if err != nil {
		return later, 0
	}
	// The node may be ahead of the list: it was perhaps declared silent just now.
	for i := range all {
		if all[i].Name == node.Name {
			all = slices.Clone(all)
			all[i] = node
		}
	}
	zones := census(all)
	c.mu.Lock()
	defer c.mu.Unlock()
	down := noneReady(zones)
	if down != c.allDown {
		c.allDown = down
		slog.Info("readiness of the whole cluster changed", "controller", name, "noNodeReady", down)
		for _, n := range all {
			if h := c.health[n.Name]; h != nil && !down {
				h.seen = now // those that were cut off together with us get a full grace period
			}
			c.loop.Add(n.Name)
		}
	}
	if down {
		return never, 0
	}
	if readiness(node) == corev1.ConditionTrue || readiness(node) == "" || hasNoExecute(node) {
		return later, 0
	}
	allowed, again := c.zones.allow(zoneOf(node), zones[zoneOf(node)], now)
	if allowed {
		return now_, 0
	}
	return later, again
}

func hasNoExecute(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool {
		return t.Effect == corev1.TaintEffectNoExecute && (t.Key == corev1.TaintNodeNotReady || t.Key == corev1.TaintNodeUnreachable)
	})
}

func (c *Controller) taint(ctx context.Context, key string, node *corev1.Node, wanted []corev1.Taint) error {
	if equality.Semantic.DeepEqual(node.Spec.Taints, wanted) {
		return nil
	}
	if wanted == nil {
		wanted = []corev1.Taint{}
	}
	// The version makes it fail if somebody else has changed the taints: the list is replaced as a whole.
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": node.UID, "resourceVersion": node.ResourceVersion},
		"spec":     map[string]any{"taints": wanted},
	})
	if err != nil {
		return err
	}
	updated, err := c.env.Client.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return control.IgnoreNotFound(err)
	}
	c.writes.Wrote(key, c.store, updated)
	return nil
}

// reference is what Events of a node are attached to. The kubelet uses the name as the UID; Events of controllers carry
// the real one.
func reference(node *corev1.Node) *corev1.ObjectReference {
	return &corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: node.Name, UID: node.UID}
}
