package watchcache

import (
	"context"
	"log/slog"

	"github.com/skiff-project/skiff/apiserver/storage"
)

// Config of a Hub.
type Config struct {
	Store *storage.Store
	// Log is where the hub tells of lost watches and objects that it cannot decode. Default slog.Default.
	Log *slog.Logger
}

// Hub follows etcd by one watch and keeps the caches of all kinds.
type Hub struct{}

// NewHub makes a hub. Kinds may be added before and while it runs.
func NewHub(cfg Config) *Hub { panic("in work") }

// Run follows etcd until ctx ends. Reads wait until it runs.
func (h *Hub) Run(ctx context.Context) error { panic("in work") }

// Add begins to serve a kind. Reads wait until its objects are loaded. A kind with the same prefix is replaced.
func (h *Hub) Add(r Resource) Reader { panic("in work") }

// Remove ends serving a kind: its watchers end.
func (h *Hub) Remove(prefix string) { panic("in work") }

// Ready waits until every kind added so far is loaded.
func (h *Hub) Ready(ctx context.Context) error { panic("in work") }

// Revision is how far the hub has followed etcd.
func (h *Hub) Revision() int64 { panic("in work") }
