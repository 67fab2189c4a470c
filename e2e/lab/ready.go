package lab

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NodeReady waits for the lab's node.
func (l *Lab) NodeReady(ctx context.Context) error {
	return l.Await(ctx, 90*time.Second, func(ctx context.Context) (bool, string) {
		node, err := l.Client.CoreV1().Nodes().Get(ctx, Node, metav1.GetOptions{})
		if err != nil {
			return false, err.Error() + "; the agent's last words: " + l.lastLine(Agent)
		}
		for _, c := range node.Status.Conditions {
			if c.Type == corev1.NodeReady {
				return c.Status == corev1.ConditionTrue, "node: " + c.Message
			}
		}
		return false, "the node has not reported; the agent's last words: " + l.lastLine(Agent)
	})
}

// DNSReady waits for the cluster's DNS.
func (l *Lab) DNSReady(ctx context.Context) error {
	return l.Await(ctx, 2*time.Minute, func(ctx context.Context) (bool, string) {
		d, err := l.Client.AppsV1().Deployments("kube-system").Get(ctx, "coredns", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		return d.Status.AvailableReplicas > 0, "DNS has no pod that is available; the agent's last words: " + l.lastLine(Agent)
	})
}
