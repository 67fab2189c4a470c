package podgc

import (
	"cmp"
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/controller-manager/control"
)

const (
	// quarantine is how long a node must be missing before its pods go: it may be registering anew.
	quarantine = 40 * time.Second
	// surplusPeriod is how soon after a pod has ended the ended ones are counted.
	surplusPeriod = 20 * time.Second
)

func (c *Controller) reconcile(ctx context.Context, key string) error {
	if key == surplus {
		return c.collectSurplus(ctx)
	}
	namespace, name := control.SplitKey(key)
	pod, err := c.pods.Pods(namespace).Get(name)
	if err != nil {
		return nil
	}
	if pod.Spec.NodeName == "" {
		if pod.DeletionTimestamp != nil {
			return c.remove(ctx, pod, "", "")
		}
		return nil
	}
	node, err := c.nodes.Get(pod.Spec.NodeName)
	switch {
	case err == nil:
		c.found(node.Name)
		if pod.DeletionTimestamp != nil && outOfService(node) {
			return c.remove(ctx, pod, "", "")
		}
		return nil
	case !apierrors.IsNotFound(err):
		return err
	}
	if wait := c.lost(pod.Spec.NodeName).Add(quarantine).Sub(c.env.Clock.Now()); wait > 0 {
		return control.Again(wait)
	}
	// The cache says that the node is no more. Only the server's word is good enough to end pods by.
	switch _, err := c.env.Client.CoreV1().Nodes().Get(ctx, pod.Spec.NodeName, metav1.GetOptions{}); {
	case err == nil:
		c.found(pod.Spec.NodeName)
		return control.Again(quarantine)
	case !apierrors.IsNotFound(err):
		return err
	}
	return c.remove(ctx, pod, "DeletionByPodGC", "PodGC: node no longer exists")
}

// outOfService says that an administrator has declared the node dead, and that it does not contradict.
func outOfService(node *corev1.Node) bool {
	tainted := slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
	ready := slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
	return tainted && !ready
}

func (c *Controller) lost(node string) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.missing[node]; !ok {
		c.missing[node] = c.env.Clock.Now()
	}
	return c.missing[node]
}

func (c *Controller) found(node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.missing, node)
}

// remove marks a pod as failed, so that its owner does not count on it, and deletes it without waiting for anybody.
func (c *Controller) remove(ctx context.Context, pod *corev1.Pod, reason, message string) error {
	if err := control.Disrupt(ctx, c.env.Client, pod, reason, message, true, metav1.NewTime(c.env.Clock.Now())); err != nil {
		return err
	}
	err := c.env.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: ptr.To[int64](0), Preconditions: &metav1.Preconditions{UID: &pod.UID},
	})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

func (c *Controller) collectSurplus(ctx context.Context) error {
	all, err := c.pods.List(labels.Everything())
	if err != nil {
		return err
	}
	over := excess(all, c.keep)
	return control.Each(ctx, len(over), func(ctx context.Context, i int) error { return c.remove(ctx, over[i], "", "") })
}

// excess answers the ended pods beyond keep: evicted ones first, then the oldest.
func excess(pods []*corev1.Pod, keep int) []*corev1.Pod {
	var ended []*corev1.Pod
	for _, pod := range pods {
		if control.Ended(pod) {
			ended = append(ended, pod)
		}
	}
	if keep <= 0 || len(ended) <= keep {
		return nil
	}
	evicted := func(pod *corev1.Pod) int {
		if pod.Status.Reason == "Evicted" {
			return 0
		}
		return 1
	}
	slices.SortFunc(ended, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(evicted(a), evicted(b)), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return ended[:len(ended)-keep]
}
