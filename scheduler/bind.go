package scheduler

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/skiff-project/skiff/scheduler/nodes"
)

// annSelectedNode tells provisioners and the volume binder which node a claim's first pod goes to.
const annSelectedNode = "volume.kubernetes.io/selected-node"

// bindTimeout bounds one binding, volumes not counted; volumesTimeout is upstream's bindTimeoutSeconds.
const (
	bindTimeout    = 30 * time.Second
	volumesTimeout = 10 * time.Minute
)

// binding is a decision that the API has to hear of.
type binding struct {
	pod    *nodes.Pod
	node   string
	claims []*corev1.PersistentVolumeClaim // that wait for the node
}

func (s *Scheduler) startBinders(ctx context.Context) *sync.WaitGroup {
	var group sync.WaitGroup
	for range s.Binders {
		group.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case b := <-s.bindings:
					if len(b.claims) > 0 {
						// Volumes may take minutes; that must not hold up the others.
						group.Go(func() { s.bind(ctx, b) })
						continue
					}
					s.bind(ctx, b)
				}
			}
		})
	}
	return &group
}

func (s *Scheduler) bind(ctx context.Context, b binding) {
	err := s.bindVolumes(ctx, b)
	if err == nil {
		err = s.bindPod(ctx, b)
	}
	if ctx.Err() != nil {
		return
	}
	s.inbox.put(bound{b.pod, b.node, err})
	switch {
	case err == nil:
		s.recorder.Eventf(b.pod.Obj, nil, corev1.EventTypeNormal, "Scheduled", "Binding", "Successfully assigned %v/%v to %v", b.pod.Key.Namespace, b.pod.Key.Name, b.node)
	case !apierrors.IsNotFound(err):
		s.log.Warn("binding failed", "pod", b.pod.Key, "node", b.node, "error", err)
		s.recorder.Eventf(b.pod.Obj, nil, corev1.EventTypeWarning, "FailedScheduling", "Scheduling", "%v", err)
	}
}

func (s *Scheduler) bindPod(ctx context.Context, b binding) error {
	ctx, cancel := context.WithTimeout(ctx, bindTimeout)
	defer cancel()
	err := s.clients.CoreV1().Pods(b.pod.Key.Namespace).Bind(ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: b.pod.Key.Namespace, Name: b.pod.Key.Name, UID: b.pod.UID()},
		Target:     corev1.ObjectReference{Kind: "Node", Name: b.node},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("bind pod %s to node %s: %w", b.pod.Key, b.node, err)
	}
	return nil
}

// bindVolumes names the node on claims that wait for it, and waits until they are bound.
func (s *Scheduler) bindVolumes(ctx context.Context, b binding) error {
	if len(b.claims) == 0 {
		return nil
	}
	for _, claim := range b.claims {
		if claim.Annotations[annSelectedNode] == b.node {
			continue
		}
		claim = claim.DeepCopy()
		metav1.SetMetaDataAnnotation(&claim.ObjectMeta, annSelectedNode, b.node)
		if _, err := s.clients.CoreV1().PersistentVolumeClaims(claim.Namespace).Update(ctx, claim, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("select node %s for claim %s/%s: %w", b.node, claim.Namespace, claim.Name, err)
		}
	}
	// The lister is fed by a watch; looking at it costs nothing.
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, volumesTimeout, true, func(context.Context) (bool, error) {
		for _, claim := range b.claims {
			c, err := s.volumes.Claims.PersistentVolumeClaims(claim.Namespace).Get(claim.Name)
			if err != nil {
				return false, err
			}
			if c.Spec.VolumeName == "" || c.Status.Phase != corev1.ClaimBound {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("binding volumes: %w", err)
	}
	return nil
}
