package encryption

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// rules is a configuration at work.
type rules struct {
	by      map[schema.GroupResource]*prefixes
	plugins []*plugin
	digest  [32]byte
	// end stops what looks after the plugins.
	end  context.CancelFunc
	jobs sync.WaitGroup
}

// newRules builds what a configuration says. The caller closes it.
func newRules(c *Configuration, digest [32]byte, log *slog.Logger) (*rules, error) {
	r := &rules{by: map[schema.GroupResource]*prefixes{}, digest: digest, end: func() {}}
	for _, rule := range c.Resources {
		list, err := r.providers(rule.Providers, log)
		if err != nil {
			r.close()
			return nil, err
		}
		for _, name := range rule.Resources {
			gr := schema.ParseGroupResource(name)
			p := r.by[gr]
			if p == nil {
				p = &prefixes{none: errNoPrefix}
				r.by[gr] = p
			}
			p.list = append(p.list, list...)
		}
	}
	return r, nil
}

func (r *rules) providers(list []Provider, log *slog.Logger) (out []prefixed, err error) {
	for _, p := range list {
		var next prefixed
		switch {
		case p.AESGCM != nil:
			next.prefix = "k8s:enc:aesgcm:v1:"
			next.transformer, err = withKeys("AES", p.AESGCM, newGCM)
		case p.AESCBC != nil:
			next.prefix = "k8s:enc:aescbc:v1:"
			next.transformer, err = withKeys("AES", p.AESCBC, newCBC)
		case p.Secretbox != nil:
			next.prefix = "k8s:enc:secretbox:v1:"
			next.transformer, err = withKeys("Secretbox", p.Secretbox, newBox)
		case p.KMS != nil && p.KMS.APIVersion == "v1":
			err = errKMSv1
		case p.KMS != nil:
			var kms *plugin
			if kms, err = newPlugin(p.KMS, log); err == nil {
				r.plugins = append(r.plugins, kms)
				next = prefixed{"k8s:enc:kms:v2:" + p.KMS.Name + ":", kms}
			}
		default:
			next.transformer = identity{}
		}
		if err != nil {
			return nil, err
		}
		out = append(out, next)
	}
	return out, nil
}

// prime asks every plugin once, so that the first write finds a seed. A plugin that does not answer yet is asked again by
// run.
func (r *rules) prime(ctx context.Context) error {
	var first error
	for _, p := range r.plugins {
		if err := p.probe(ctx, 0); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// run starts looking after the plugins.
func (r *rules) run(ctx context.Context) {
	ctx, r.end = context.WithCancel(ctx)
	for _, p := range r.plugins {
		r.jobs.Go(func() { p.run(ctx) })
	}
}

func (r *rules) close() {
	r.end()
	r.jobs.Wait()
	for _, p := range r.plugins {
		p.close()
	}
}

// grace is how long requests that have begun may still need the plugins.
func (r *rules) grace() time.Duration {
	var sum time.Duration
	for _, p := range r.plugins {
		sum += 2 * p.timeout
	}
	return sum
}

// of is what stores a resource; nil for plainly. A narrow rule goes before a wide one.
func (r *rules) of(gr schema.GroupResource) *prefixes {
	for _, name := range [...]schema.GroupResource{gr, {Group: gr.Group, Resource: "*"}, everything} {
		if p := r.by[name]; p != nil {
			return p
		}
	}
	return nil
}

// health is that of all plugins.
func (r *rules) health(ctx context.Context) error {
	var errs []error
	for i, p := range r.plugins {
		if err := p.check(ctx); err != nil {
			errs = append(errs, fmt.Errorf("kms-provider-%d: %w", i, err))
		}
	}
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	return joined(errs)
}
