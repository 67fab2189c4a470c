package encryption

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Config of an Encryption.
type Config struct {
	// File is an EncryptionConfiguration in YAML or JSON.
	File string
	// Reload has the file looked at every now and then.
	Reload bool
	// Every is how often. Default one minute, as upstream.
	Every time.Duration
	// Resource says whose key in etcd that is. Keys that belong to no resource of the API are never encrypted. It is asked
	// at every read and write.
	Resource func(key string) (schema.GroupResource, bool)
	// Changed, if set, is called when another configuration has come into force.
	Changed func()
	// Metrics, if set, takes the metrics.
	Metrics prometheus.Registerer
	Log     *slog.Logger
}

// Encryption implements storage.Transformer by a file.
type Encryption struct {
	cfg     Config
	rules   atomic.Pointer[rules]
	metrics metrics
	retired sync.WaitGroup
}

// New reads the file. Plugins are asked once; one that does not answer yet is no error.
func New(ctx context.Context, cfg Config) (*Encryption, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Every == 0 {
		cfg.Every = time.Minute
	}
	e := &Encryption{cfg: cfg, metrics: newMetrics(cfg.Metrics)}
	c, digest, err := read(cfg.File)
	if err != nil {
		return nil, err
	}
	r, err := newRules(c, digest, cfg.Log)
	if err != nil {
		return nil, fmt.Errorf("encryption configuration %s: %w", cfg.File, err)
	}
	if err := r.prime(ctx); err != nil {
		cfg.Log.Warn("a KMS plugin is not well", "err", err)
	}
	e.rules.Store(r)
	return e, nil
}

// Run looks after plugins and file until ctx ends.
func (e *Encryption) Run(ctx context.Context) error {
	e.rules.Load().run(ctx)
	defer func() {
		e.retired.Wait()
		e.rules.Load().close()
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(e.cfg.Every):
		}
		if e.cfg.Reload {
			e.reload(ctx)
		}
	}
}

// reload takes over a file that has changed and is good.
func (e *Encryption) reload(ctx context.Context) {
	changed, err := e.tryReload(ctx)
	switch {
	case err != nil && ctx.Err() == nil:
		e.metrics.reloads.WithLabelValues("failure").Inc()
		e.cfg.Log.Error("the encryption configuration has changed, and the old one stays in force", "err", err)
	case changed:
		e.metrics.reloads.WithLabelValues("success").Inc()
		e.metrics.reloaded.SetToCurrentTime()
		e.cfg.Log.Info("another encryption configuration is in force", "file", e.cfg.File)
		if e.cfg.Changed != nil {
			e.cfg.Changed()
		}
	}
}

func (e *Encryption) tryReload(ctx context.Context) (bool, error) {
	old := e.rules.Load()
	c, digest, err := read(e.cfg.File)
	if err != nil {
		return false, err
	}
	if digest == old.digest {
		return false, nil
	}
	next, err := newRules(c, digest, e.cfg.Log)
	if err != nil {
		return false, fmt.Errorf("encryption configuration %s: %w", e.cfg.File, err)
	}
	// Plugins that cannot be reached must not take the place of ones that can.
	patience, cancel := context.WithTimeout(ctx, max(next.grace(), 10*time.Second))
	defer cancel()
	for err = next.prime(patience); err != nil; err = next.prime(patience) {
		select {
		case <-patience.Done():
			next.close()
			return false, err
		case <-time.After(100 * time.Millisecond):
		}
	}
	next.run(ctx)
	e.rules.Store(next)
	e.retired.Go(func() {
		select {
		case <-ctx.Done():
		case <-time.After(old.grace()):
		}
		old.close()
	})
	return true, nil
}

// ChecksHealth says whether Health has anything to say, now or after a reload.
func (e *Encryption) ChecksHealth() bool { return e.cfg.Reload || len(e.rules.Load().plugins) > 0 }

// Health is that of the plugins.
func (e *Encryption) Health(ctx context.Context) error { return e.rules.Load().health(ctx) }

func (e *Encryption) of(key string) *prefixes {
	gr, ok := e.cfg.Resource(key)
	if !ok {
		return nil
	}
	return e.rules.Load().of(gr)
}

// Applies implements storage.Transformer.
func (e *Encryption) Applies(key string) bool { return e.of(key) != nil }

// Seal implements storage.Transformer.
func (e *Encryption) Seal(ctx context.Context, key, place string, plain []byte) ([]byte, error) {
	p := e.of(key)
	if p == nil {
		return plain, nil
	}
	start := time.Now()
	sealed, err := p.seal(ctx, place, plain)
	e.metrics.observe("to_storage", p.list[0].prefix, start, err)
	return sealed, err
}

// Open implements storage.Transformer.
func (e *Encryption) Open(ctx context.Context, key, place string, sealed []byte) ([]byte, bool, error) {
	p := e.of(key)
	if p == nil {
		return sealed, false, nil
	}
	start := time.Now()
	plain, stale, err := p.open(ctx, place, sealed)
	e.metrics.observe("from_storage", p.prefixOf(sealed), start, err)
	return plain, stale, err
}
