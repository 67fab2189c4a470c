package apiserver

import (
	"context"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/registry"
	"github.com/skiff-project/skiff/apiserver/server"
	"github.com/skiff-project/skiff/apiserver/storage"
	"github.com/skiff-project/skiff/apiserver/storage/encryption"
	"github.com/skiff-project/skiff/apiserver/watchcache"
)

// crypt is encryption at rest, joined with what is made after it: the store needs it, and it needs the table of kinds,
// which needs the store. Nil is none.
type crypt struct {
	*encryption.Encryption
	registry atomic.Pointer[registry.Registry]
	hub      atomic.Pointer[watchcache.Hub]
}

// encryption reads the configuration, if there is one.
func (s *Server) encryption(ctx context.Context) (*crypt, error) {
	if s.cfg.EncryptionConfig == "" {
		return nil, nil
	}
	c := &crypt{}
	var err error
	c.Encryption, err = encryption.New(ctx, encryption.Config{
		File: s.cfg.EncryptionConfig, Reload: s.cfg.EncryptionReload, Every: s.cfg.EncryptionEvery, Metrics: s.metrics, Log: s.log,
		Resource: func(key string) (schema.GroupResource, bool) {
			if reg := c.registry.Load(); reg != nil {
				return reg.AtKey(key)
			}
			return schema.GroupResource{}, false
		},
		Changed: func() {
			if hub := c.hub.Load(); hub != nil {
				hub.Reread()
			}
		},
	})
	return c, err
}

// transformer is what the store is given; a nil pointer in an interface would not be nil.
func (c *crypt) transformer() storage.Transformer {
	if c == nil {
		return nil
	}
	return c
}

// serve says whose keys are whose. Nothing has been read or written before.
func (c *crypt) serve(reg *registry.Registry, hub *watchcache.Hub) {
	if c != nil {
		c.registry.Store(reg)
		c.hub.Store(hub)
	}
}

// checks is the line that upstream has for plugins, and for files that may come to name some.
func (c *crypt) checks() []server.Check {
	if c == nil || !c.ChecksHealth() {
		return nil
	}
	return []server.Check{{Name: "kms-providers", Check: c.Health}}
}
