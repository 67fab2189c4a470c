package watchcache

import (
	"context"
	"errors"
	"time"

	"github.com/skiff-project/skiff/apiserver/storage"
)

// unlockEvery is how often values are tried again that could not be decrypted: a plugin may answer by now.
const unlockEvery = 10 * time.Second

// Reread has values that could not be decrypted tried again soon: another configuration is in force.
func (h *Hub) Reread() {
	select {
	case h.reread <- struct{}{}:
	default:
	}
}

// unlock loads kinds anew of which objects can be decrypted that could not be when they were read. No change in etcd tells
// of that, so whoever watches has to list again.
func (h *Hub) unlock(ctx context.Context) {
	ticker := time.NewTicker(unlockEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-h.reread:
		}
		for _, c := range *h.caches.Load() {
			key := c.firstLocked()
			if key == "" {
				continue
			}
			if _, err := h.cfg.Store.Get(ctx, key); err == nil {
				h.reload(c)
			} else if errors.Is(err, storage.ErrTransform) {
				h.cfg.Log.Debug("still unreadable", "key", key, "err", err)
			}
		}
	}
}

// reload loads a kind anew.
func (h *Hub) reload(c *Cache) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.running || (*h.caches.Load())[c.Prefix] != c {
		return
	}
	c.unload()
	h.load(h.ctx, c)
}

// firstLocked is the key of an object that could not be decrypted; empty if there is none.
func (c *Cache) firstLocked() string {
	s := c.state.Load()
	if s == nil || !c.hasLocked.Load() {
		return ""
	}
	found := ""
	s.objects.all(func(o *Object) bool {
		if o.locked() {
			found = o.Key
		}
		return found == ""
	})
	return found
}
