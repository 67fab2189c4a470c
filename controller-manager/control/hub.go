package control

import (
	"fmt"
	"sync"

	"k8s.io/client-go/tools/cache"
)

// Hubs gives each informer one event handler, whoever watches it. A handler of client-go costs two goroutines and a buffer
// of 16 kB; thirty controllers that each watch four kinds would pay for it a hundred times over.
type Hubs struct {
	mu sync.Mutex
	// all is by the informer's store: the informer itself comes in a new wrapper each time that it is asked for.
	all map[cache.Store]*hub
}

// hub calls its listeners one after the other, in the order in which they came. The list is complete before the informer
// starts and does not change after.
type hub struct {
	listeners []cache.ResourceEventHandler
	synced    cache.InformerSynced
}

// Listen adds a listener to an informer that has not been started yet, and answers what says that it has been told of all
// that was there at the start. Listeners must be quick: they run one after the other.
func (h *Hubs) Listen(informer cache.SharedIndexInformer, listener cache.ResourceEventHandler) cache.InformerSynced {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all == nil {
		h.all = map[cache.Store]*hub{}
	}
	known := h.all[informer.GetStore()]
	if known == nil {
		known = &hub{}
		registration, err := informer.AddEventHandler(known)
		if err != nil {
			panic(fmt.Sprintf("listen: %v", err)) // only a stopped informer refuses, and none has been started yet
		}
		known.synced = registration.HasSynced
		h.all[informer.GetStore()] = known
	}
	known.listeners = append(known.listeners, listener)
	return known.synced
}

// OnAdd is for the informer.
func (h *hub) OnAdd(object any, initial bool) {
	for _, l := range h.listeners {
		l.OnAdd(object, initial)
	}
}

// OnUpdate is for the informer.
func (h *hub) OnUpdate(old, new any) {
	for _, l := range h.listeners {
		l.OnUpdate(old, new)
	}
}

// OnDelete is for the informer. Listeners get the object itself, also when its last state had to be guessed.
func (h *hub) OnDelete(object any) {
	if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = gone.Obj
	}
	for _, l := range h.listeners {
		l.OnDelete(object)
	}
}
