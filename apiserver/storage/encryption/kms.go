package encryption

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/singleflight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	kmsv2 "k8s.io/kms/apis/v2"
)

// The times are upstream's. A seed may be written with for three minutes after the plugin was last seen well; with a look
// a minute, and one every ten seconds while it is not, that leaves a plugin some time to restart. Reads have no such end.
const (
	probeEvery   = time.Minute
	reprobeEvery = 10 * time.Second
	writeLife    = 3 * time.Minute
	// freshWell and freshIll are how long a probe's result answers health checks. Upstream waits 20 s; but this is the only
	// way by which anybody learns that a plugin is gone, and Status is made to be polled.
	freshWell = 5 * time.Second
	freshIll  = 3 * time.Second
	// mostSources bounds the secrets of earlier starts and other servers that are remembered. Each is one call to the plugin.
	mostSources = 4096
)

// plugin is a KMS provider: seeds are made here and encrypted by a process on a unix socket, values are encrypted with
// keys derived from seeds.
type plugin struct {
	name    string
	timeout time.Duration
	conn    *grpc.ClientConn
	client  kmsv2.KeyManagementServiceClient
	log     *slog.Logger

	// current is what values are written with; nil until the plugin has answered once.
	current atomic.Pointer[current]

	probing sync.Mutex
	// last is the result of the last probe, at its time. version is what the plugin first said.
	last    error
	at      time.Time
	version string

	// opened are decrypted sources, by all that a plugin gets to decrypt one.
	openedMu sync.RWMutex
	opened   map[string]transformer
	// refused are the latest answers that were none: with a plugin that is silent, each of a thousand values would
	// otherwise be waited for.
	refused map[string]refusal
	flights singleflight.Group
}

type refusal struct {
	err error
	at  time.Time
}

// refusalLife is how long a failure to decrypt a source is repeated without asking.
const refusalLife = time.Second

// current is a seed with what is stored about it.
type current struct {
	transformer
	envelope // without data
	until    time.Time
}

func newPlugin(cfg *KMS, log *slog.Logger) (*plugin, error) {
	path := strings.TrimPrefix(cfg.Endpoint, "unix://")
	p := &plugin{name: cfg.Name, timeout: cfg.Timeout.Duration, log: log,
		opened: map[string]transformer{}, refused: map[string]refusal{}}
	conn, err := grpc.NewClient("passthrough:///"+path, grpc.WithAuthority("localhost"), grpc.WithTransportCredentials(insecure.NewCredentials()),
		// A plugin that is being restarted is worth waiting for, within the time-out.
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}}),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		}))
	if err != nil {
		return nil, fmt.Errorf("could not configure KMSv2-Plugin's probe %q, error: %w", cfg.Name, err)
	}
	p.conn, p.client = conn, kmsv2.NewKeyManagementServiceClient(conn)
	return p, nil
}

func (p *plugin) close() { _ = p.conn.Close() }

// run looks after the plugin until ctx ends.
func (p *plugin) run(ctx context.Context) {
	for {
		wait := probeEvery
		// The second of two probes at a start is none.
		if err := p.probe(ctx, time.Second); err != nil {
			if ctx.Err() != nil {
				return
			}
			p.log.Warn("a KMS plugin is not well", "plugin", p.name, "err", err)
			wait = reprobeEvery
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// check is probe for those who ask often.
func (p *plugin) check(ctx context.Context) error {
	age := freshWell
	p.probing.Lock()
	if p.last != nil {
		age = freshIll
	}
	p.probing.Unlock()
	return p.probe(ctx, age)
}

// probe asks the plugin how it is and makes a seed for its key if that is another one than before. A result younger than
// age is taken as it is.
func (p *plugin) probe(ctx context.Context, age time.Duration) error {
	p.probing.Lock()
	defer p.probing.Unlock()
	if !p.at.IsZero() && time.Since(p.at) < age {
		return p.last
	}
	p.last = p.look(ctx)
	p.at = time.Now()
	return p.last
}

// look is the work of probe. The caller holds probing.
func (p *plugin) look(ctx context.Context) error {
	status, err := p.status(ctx)
	if err != nil {
		return fmt.Errorf("failed to perform status section of the healthz check for KMS Provider %s, error: %w", p.name, err)
	}
	var errs []error
	if status.Healthz != "ok" {
		errs = append(errs, fmt.Errorf("got unexpected healthz status: %s", status.Healthz))
	}
	switch {
	case status.Version != "v2" && status.Version != "v2beta1":
		errs = append(errs, fmt.Errorf("expected KMSv2 API version v2, got %s", status.Version))
	case p.version == "":
		p.version = status.Version
	case p.version != status.Version:
		errs = append(errs, fmt.Errorf("KMSv2 API version should not change after the initial status response version %s, got %s", p.version, status.Version))
	}
	if err := validateKeyID(status.KeyId); err != nil {
		errs = append(errs, fmt.Errorf("got invalid KMSv2 KeyID hash %q: %w", hash(status.KeyId), err))
	} else if err := p.rotate(ctx, status.KeyId); err != nil {
		errs = append(errs, err)
	}
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("kmsv2 Provider %s is not healthy, error: %w", p.name, errs[0])
	}
	return fmt.Errorf("kmsv2 Provider %s is not healthy, error: %w", p.name, joined(errs))
}

func (p *plugin) status(ctx context.Context) (*kmsv2.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	return p.client.Status(ctx, &kmsv2.StatusRequest{})
}

// rotate sees to it that the current seed belongs to the plugin's key. If that fails the seed of before is good until
// its time is up.
func (p *plugin) rotate(ctx context.Context, keyID string) error {
	until := time.Now().Add(writeLife) // counted from before the call, which may take long
	if now := p.current.Load(); now != nil && now.keyID == keyID {
		next := *now
		next.until = until
		p.current.Store(&next)
		return nil
	}
	next, err := p.seed(ctx)
	if err == nil && next.keyID != keyID {
		err = fmt.Errorf("the plugin encrypted with key hash %q while its status said %q", hash(next.keyID), hash(keyID))
	}
	if err != nil {
		return fmt.Errorf("failed to rotate DEK: %w", err)
	}
	next.until = until
	p.remember(&next.envelope, next.transformer)
	p.current.Store(next)
	return nil
}

// seed makes a new seed and has it encrypted.
func (p *plugin) seed(ctx context.Context) (*current, error) {
	seed := make([]byte, seedSize)
	if _, err := rand.Read(seed); err != nil {
		return nil, err
	}
	t, err := newDerived(seed)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	resp, err := p.client.Encrypt(ctx, &kmsv2.EncryptRequest{Plaintext: seed, Uid: uuid.NewString()})
	if err != nil {
		return nil, fmt.Errorf("failed to encrypt DEK, error: %w", err)
	}
	c := &current{transformer: t, envelope: envelope{keyID: resp.KeyId, source: resp.Ciphertext, annotations: resp.Annotations, typ: sourceSeed}}
	return c, c.validateSource()
}

var errNoSeed = errors.New("the KMS plugin has not answered yet")

func (p *plugin) seal(ctx context.Context, place string, plain []byte) ([]byte, error) {
	now := p.current.Load()
	if now == nil {
		return nil, fmt.Errorf("KMS provider %s: %w", p.name, errNoSeed)
	}
	if t := time.Now(); t.After(now.until) {
		return nil, fmt.Errorf("encryptedDEKSource with keyID hash %q expired at %s (current time is %s)", hash(now.keyID),
			now.until.Format(time.RFC3339), t.Format(time.RFC3339))
	}
	data, err := now.transformer.seal(ctx, place, plain)
	if err != nil {
		return nil, err
	}
	e := now.envelope
	e.data = data
	return e.marshal(), nil
}

func (p *plugin) open(ctx context.Context, place string, sealed []byte) ([]byte, bool, error) {
	e := &envelope{}
	if err := e.unmarshal(sealed); err != nil {
		return nil, false, err
	}
	if err := e.validate(); err != nil {
		return nil, false, err
	}
	t, err := p.opener(ctx, e)
	if err != nil {
		return nil, false, err
	}
	plain, _, err := t.open(ctx, place, e.data)
	now := p.current.Load()
	return plain, now != nil && (e.keyID != now.keyID || e.typ != now.typ), err
}

// opener finds what opens an envelope, by asking the plugin if need be: once, however many wait for it.
func (p *plugin) opener(ctx context.Context, e *envelope) (transformer, error) {
	name := e.name()
	p.openedMu.RLock()
	t, r := p.opened[name], p.refused[name]
	p.openedMu.RUnlock()
	switch {
	case t != nil:
		return t, nil
	case r.err != nil && time.Since(r.at) < refusalLife:
		return nil, r.err
	}
	// Whoever comes first asks for all: its going away must not fail the others.
	shared := context.WithoutCancel(ctx)
	answer := p.flights.DoChan(name, func() (any, error) { return p.ask(shared, e) })
	select {
	case a := <-answer:
		if a.Err != nil {
			return nil, a.Err
		}
		return a.Val.(transformer), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *plugin) ask(ctx context.Context, e *envelope) (transformer, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	resp, err := p.client.Decrypt(ctx, &kmsv2.DecryptRequest{Ciphertext: e.source, Uid: uuid.NewString(), KeyId: e.keyID, Annotations: e.annotations})
	if err != nil {
		err = fmt.Errorf("failed to decrypt DEK, error: %w", err)
		p.refuse(e, err)
		return nil, err
	}
	make := newDerived
	if e.typ == sourceKey {
		make = newGCM
	}
	t, err := make(resp.Plaintext)
	if err != nil {
		return nil, err
	}
	p.remember(e, t)
	return t, nil
}

// remember keeps what opens envelopes like e. When there are too many all are forgotten: what is in use comes back.
func (p *plugin) remember(e *envelope, t transformer) {
	p.openedMu.Lock()
	defer p.openedMu.Unlock()
	if len(p.opened) >= mostSources {
		clear(p.opened)
	}
	p.opened[e.name()] = t
}

func (p *plugin) refuse(e *envelope, err error) {
	p.openedMu.Lock()
	defer p.openedMu.Unlock()
	if len(p.refused) >= mostSources {
		clear(p.refused)
	}
	p.refused[e.name()] = refusal{err, time.Now()}
}

// name is all that a plugin gets to decrypt e's source, and its type.
func (e *envelope) name() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %d:%s %d:%s", e.typ, len(e.source), e.source, len(e.keyID), e.keyID)
	for _, key := range slices.Sorted(maps.Keys(e.annotations)) {
		fmt.Fprintf(&b, " %d:%s %d:%s", len(key), key, len(e.annotations[key]), e.annotations[key])
	}
	return b.String()
}

// hash stands for a key's name where that is none of the reader's business.
func hash(id string) string {
	if id == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(id))
	return "sha256:" + hex.EncodeToString(sum[:])
}
