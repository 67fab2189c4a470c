package oidc

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/skiff-project/skiff/apiserver/request"
)

// Config says which issuers are trusted.
type Config struct {
	// File is an AuthenticationConfiguration; empty if Flags are given.
	File  string
	Flags Flags
	// Every is how often the file is looked at. Default one minute, as upstream.
	Every time.Duration
	// Own are the issuers of this server's own tokens, which nobody else may claim to be.
	Own []string
	// Metrics, if set, takes the metrics.
	Metrics prometheus.Registerer
	Log     *slog.Logger
}

// Tokens knows the users of tokens that trusted issuers have signed.
type Tokens struct {
	cfg     Config
	current atomic.Pointer[issuers]
	reloads *prometheus.CounterVec
}

// issuers is a configuration at work.
type issuers struct {
	text      []byte
	by        map[string]*issuer
	anonymous *Anonymous
	end       context.CancelFunc
	jobs      sync.WaitGroup
}

// New reads the configuration.
func New(cfg Config) (*Tokens, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Every == 0 {
		cfg.Every = time.Minute
	}
	t := &Tokens{cfg: cfg, reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "apiserver_authentication_config_controller_automatic_reloads_total",
		Help: "[BETA] Total number of automatic reloads of authentication configuration split by status and apiserver identity."}, []string{"status"})}
	if cfg.Metrics != nil {
		cfg.Metrics.MustRegister(t.reloads)
	}
	var text []byte
	var c *Configuration
	var err error
	if cfg.File == "" {
		c, err = cfg.Flags.configuration()
	} else {
		text, c, err = t.read()
	}
	if err != nil {
		return nil, err
	}
	next, err := t.build(text, c)
	if err != nil {
		return nil, err
	}
	t.current.Store(next)
	return t, nil
}

func (t *Tokens) read() ([]byte, *Configuration, error) {
	text, err := os.ReadFile(t.cfg.File)
	if err != nil {
		return nil, nil, fmt.Errorf("authentication configuration: %w", err)
	}
	c, err := parse(text)
	if err != nil {
		err = fmt.Errorf("authentication configuration %s: %w", t.cfg.File, err)
	}
	return text, c, err
}

func (t *Tokens) build(text []byte, c *Configuration) (*issuers, error) {
	algorithms := Algorithms
	if t.cfg.File == "" && len(t.cfg.Flags.SigningAlgs) > 0 {
		algorithms = nil
		for _, name := range t.cfg.Flags.SigningAlgs {
			if !slices.Contains(Algorithms, jose.SignatureAlgorithm(name)) {
				return nil, fmt.Errorf("oidc: unsupported signing alg: %q", name)
			}
			algorithms = append(algorithms, jose.SignatureAlgorithm(name))
		}
	}
	compiled, errs := c.check(t.cfg.Own)
	if len(errs) > 0 {
		return nil, fmt.Errorf("authentication configuration: %w", errs.ToAggregate())
	}
	out := &issuers{text: text, by: map[string]*issuer{}, anonymous: c.Anonymous, end: func() {}}
	for n := range c.JWT {
		i, err := newIssuer(&c.JWT[n], compiled[n], algorithms)
		if err != nil {
			return nil, err
		}
		out.by[c.JWT[n].Issuer.URL] = i
	}
	return out, nil
}

// start begins to look for the issuers' keys.
func (s *issuers) start(ctx context.Context, log *slog.Logger) {
	ctx, s.end = context.WithCancel(ctx)
	for url, i := range s.by {
		s.jobs.Go(func() {
			i.run(ctx, func(err error) {
				log.Warn("an issuer of tokens does not answer as it should", "issuer", url, "err", err)
			})
		})
	}
}

func (s *issuers) stop() {
	s.end()
	s.jobs.Wait()
	for _, i := range s.by {
		i.close()
	}
}

// Run looks after issuers and file until ctx ends.
func (t *Tokens) Run(ctx context.Context) error {
	t.current.Load().start(ctx, t.cfg.Log)
	defer func() { t.current.Load().stop() }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(t.cfg.Every):
		}
		if t.cfg.File != "" {
			t.reload(ctx)
		}
	}
}

func (t *Tokens) reload(ctx context.Context) {
	old := t.current.Load()
	text, c, err := t.read()
	if err == nil && bytes.Equal(text, old.text) {
		return
	}
	var next *issuers
	if err == nil {
		next, err = t.build(text, c)
	}
	if err != nil {
		t.reloads.WithLabelValues("failure").Inc()
		t.cfg.Log.Error("the authentication configuration has changed, and the old one stays in force", "err", err)
		return
	}
	next.start(ctx, t.cfg.Log)
	t.current.Store(next)
	old.stop()
	t.reloads.WithLabelValues("success").Inc()
	t.cfg.Log.Info("another authentication configuration is in force", "file", t.cfg.File)
}

// Authenticate answers nil without an error for a token of an issuer that is not trusted.
func (t *Tokens) Authenticate(ctx context.Context, token string) (*request.User, error) {
	i := t.current.Load().by[issuerOf(token)]
	if i == nil {
		return nil, nil
	}
	return i.authenticate(ctx, token)
}

// Anonymous says whether a path is open to requests without credentials; the flag decides where the file does not.
func (t *Tokens) Anonymous(path string, flag bool) bool {
	a := t.current.Load().anonymous
	switch {
	case a == nil:
		return flag
	case !a.Enabled || len(a.Conditions) == 0:
		return a.Enabled
	}
	return slices.Contains(a.Conditions, Condition{Path: path})
}

// DecidesAnonymous says that the file speaks of anonymous requests.
func (t *Tokens) DecidesAnonymous() bool { return t.current.Load().anonymous != nil }
