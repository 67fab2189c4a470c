package tainteviction

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"github.com/skiff-project/skiff/controller-manager/control"
)

func (c *Controller) reconcile(ctx context.Context, key string) error {
	namespace, name := control.SplitKey(key)
	pod, err := c.pods.Pods(namespace).Get(name)
	if err != nil || pod.Spec.NodeName == "" || pod.DeletionTimestamp != nil {
		c.forget(key)
		return nil
	}
	node, err := c.nodes.Get(pod.Spec.NodeName)
	if err != nil {
		c.cancel(key, pod)
		return nil
	}
	taints := noExecute(node)
	if len(taints) == 0 {
		c.cancel(key, pod)
		return nil
	}
	stay, forever := tolerated(taints, pod.Spec.Tolerations)
	if forever {
		c.cancel(key, pod)
		return nil
	}
	now := c.env.Clock.Now()
	if due := c.start(key, pod, now).Add(stay); now.Before(due) {
		c.loop.AddAfter(key, due.Sub(now))
		return nil
	}
	return c.evict(ctx, key, pod, now)
}

// noExecute answers the taints of node that drive pods out.
func noExecute(node *corev1.Node) []corev1.Taint {
	var taints []corev1.Taint
	for _, t := range node.Spec.Taints {
		if t.Effect == corev1.TaintEffectNoExecute {
			taints = append(taints, t)
		}
	}
	return taints
}

// tolerated answers how long a pod may stay with these taints: the shortest time of the tolerations that it needs, none
// if a taint is not tolerated, forever if none of them is limited.
func tolerated(taints []corev1.Taint, tolerations []corev1.Toleration) (stay time.Duration, forever bool) {
	forever = true
	for i := range taints {
		found := false
		for j := range tolerations {
			t := &tolerations[j]
			if !t.ToleratesTaint(klog.Background(), &taints[i], true) {
				continue
			}
			found = true
			if t.TolerationSeconds != nil {
				if seconds := time.Duration(max(*t.TolerationSeconds, 0)) * time.Second; forever || seconds < stay {
					stay, forever = seconds, false
				}
			}
		}
		if !found {
			return 0, false
		}
	}
	return stay, forever
}

// start answers since when the pod's time has been running.
func (c *Controller) start(key string, pod *corev1.Pod, now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.since[key]
	if !ok || s.uid != pod.UID {
		s = scheduled{pod.UID, now}
		c.since[key] = s
	}
	return s.since
}

func (c *Controller) forget(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, had := c.since[key]
	delete(c.since, key)
	return had
}

func (c *Controller) cancel(key string, pod *corev1.Pod) {
	if c.forget(key) {
		c.events.Eventf(pod, corev1.EventTypeNormal, "TaintManagerEviction", "Cancelling deletion of Pod %s", key)
	}
}

func (c *Controller) evict(ctx context.Context, key string, pod *corev1.Pod, now time.Time) error {
	c.events.Eventf(pod, corev1.EventTypeNormal, "TaintManagerEviction", "Marking for deletion Pod %s", key)
	err := control.Disrupt(ctx, c.env.Client, pod, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint", false, metav1.NewTime(now))
	if err != nil {
		return err
	}
	err = c.env.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, *metav1.NewPreconditionDeleteOptions(string(pod.UID)))
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return err
	}
	c.forget(key)
	return nil
}
