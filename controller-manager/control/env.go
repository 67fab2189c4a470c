package control

import (
	"net/http"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

// Env is what every controller is given.
type Env struct {
	// Client speaks protobuf; it acts as the controller that the context of a call names (package identity).
	Client kubernetes.Interface
	// Config and its http client make further clients (metadata, dynamic, scale).
	Config *rest.Config
	HTTP   *http.Client
	// Metadata reads and deletes objects of any kind by their metadata alone.
	Metadata metadata.Interface
	// Discovery knows which kinds there are.
	Discovery discovery.DiscoveryInterface
	// Informers is the one factory of the process. Nothing in its caches may be changed.
	Informers informers.SharedInformerFactory
	// Hubs is by what controllers watch informers.
	Hubs *Hubs
	// Broadcaster takes the Events of all controllers.
	Broadcaster record.EventBroadcaster
	// Gone hands on which objects are no more, of whatever kind, from the one controller that sees them all to those that
	// count.
	Gone *Gone
	// Clock is the wall clock, except in tests.
	Clock clock.WithTicker
}

// Events answers the recorder of one controller.
func (e Env) Events(component string) record.EventRecorder {
	return e.Broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: component})
}

// EventSink writes Events through client. It acts as the process: an Event outlives the reconcile that caused it.
func EventSink(client kubernetes.Interface) record.EventSink {
	return &typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")}
}

// Gone is a list of listeners. Listen is called before any controller runs, Tell after.
type Gone struct {
	listeners []func(resource schema.GroupResource, namespace string)
}

// Listen adds a listener, which must be quick.
func (g *Gone) Listen(listener func(resource schema.GroupResource, namespace string)) {
	g.listeners = append(g.listeners, listener)
}

// Tell calls all listeners.
func (g *Gone) Tell(resource schema.GroupResource, namespace string) {
	for _, listener := range g.listeners {
		listener(resource, namespace)
	}
}
