package control

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

const (
	byController = "controller" // the UID of the controller, or orphansOf a namespace
	byNode       = "node"
)

// IndexByController makes OwnedBy and Orphans work on the informer. Asking again for the same informer is fine.
func IndexByController(informer cache.SharedIndexInformer) {
	addIndex(informer, byController, func(object any) ([]string, error) {
		accessor, ok := object.(metav1.Object)
		if !ok {
			return nil, nil
		}
		if controller := metav1.GetControllerOfNoCopy(accessor); controller != nil {
			return []string{string(controller.UID)}, nil
		}
		return []string{orphansOf(accessor.GetNamespace())}, nil
	})
}

// IndexByNode makes OnNode work on the informer of pods.
func IndexByNode(informer cache.SharedIndexInformer) {
	addIndex(informer, byNode, func(object any) ([]string, error) {
		if pod, ok := object.(*corev1.Pod); ok && pod.Spec.NodeName != "" {
			return []string{pod.Spec.NodeName}, nil
		}
		return nil, nil
	})
}

func addIndex(informer cache.SharedIndexInformer, name string, index cache.IndexFunc) {
	if _, found := informer.GetIndexer().GetIndexers()[name]; found {
		return
	}
	if err := informer.AddIndexers(cache.Indexers{name: index}); err != nil {
		panic(fmt.Sprintf("index by %s: %v", name, err)) // only a running informer refuses, and none has been started yet
	}
}

func orphansOf(namespace string) string { return "orphan/" + namespace }

// OwnedBy answers the objects in the cache that are controlled by the object with uid.
func OwnedBy[T any](indexer cache.Indexer, uid types.UID) []T {
	return lookup[T](indexer, byController, string(uid))
}

// Orphans answers the objects of namespace that nobody controls.
func Orphans[T any](indexer cache.Indexer, namespace string) []T {
	return lookup[T](indexer, byController, orphansOf(namespace))
}

// OnNode answers the pods bound to node.
func OnNode(indexer cache.Indexer, node string) []*corev1.Pod {
	return lookup[*corev1.Pod](indexer, byNode, node)
}

func lookup[T any](indexer cache.Indexer, index, value string) []T {
	objects, err := indexer.ByIndex(index, value)
	if err != nil {
		panic(fmt.Sprintf("index by %s: %v", index, err)) // the index was never asked for
	}
	found := make([]T, 0, len(objects))
	for _, object := range objects {
		if o, ok := object.(T); ok {
			found = append(found, o)
		}
	}
	return found
}
