package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	goruntime "runtime"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// parallelLayers of one pull are on their way at the same time.
const parallelLayers = 3

// pulls makes callers that want the same thing share one transfer.
type pulls struct {
	mu   sync.Mutex
	byID map[string]*pull
}

type pull struct {
	cancel  context.CancelFunc
	waiting int
	done    chan struct{}
	image   runtime.Image
	err     error

	mu      sync.Mutex
	reports map[int]func(runtime.Progress)
	next    int
}

func (p *pull) progress(line runtime.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, report := range p.reports {
		report(line)
	}
}

func (p *pull) watch(report func(runtime.Progress)) (stop func()) {
	if report == nil {
		return func() {}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.next
	p.next++
	p.reports[n] = report
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.reports, n)
	}
}

// Pull implements runtime.Images.
func (s *Store) Pull(ctx context.Context, ref string, auths []runtime.RegistryAuth, report func(runtime.Progress)) (runtime.Image, error) {
	normal, err := normalize(ref)
	if err != nil {
		return runtime.Image{}, err
	}
	// Credentials are part of what is asked for: a caller must not be served by what another one was allowed to do.
	key := fmt.Sprintf("%s %q", normal, auths)
	s.pulls.mu.Lock()
	p := s.pulls.byID[key]
	if p == nil {
		p = s.startPull(ctx, key, normal, auths)
	}
	p.waiting++
	s.pulls.mu.Unlock()
	stop := p.watch(report)
	defer stop()

	select {
	case <-p.done:
		return p.image, p.err
	case <-ctx.Done():
		s.pulls.mu.Lock()
		defer s.pulls.mu.Unlock()
		if p.waiting--; p.waiting == 0 {
			p.cancel()
			if s.pulls.byID[key] == p {
				delete(s.pulls.byID, key) // who comes now starts anew
			}
		}
		return runtime.Image{}, fmt.Errorf("pull %s: %w", normal, context.Cause(ctx))
	}
}

// startPull needs pulls.mu. The transfer outlives the caller that began it, if others wait for it.
func (s *Store) startPull(ctx context.Context, key, ref string, auths []runtime.RegistryAuth) *pull {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &pull{cancel: cancel, done: make(chan struct{}), reports: map[int]func(runtime.Progress){}}
	if s.pulls.byID == nil {
		s.pulls.byID = map[string]*pull{}
	}
	s.pulls.byID[key] = p
	go func() {
		defer cancel()
		p.image, p.err = s.pullWith(ctx, ref, auths, p.progress)
		s.pulls.mu.Lock()
		if s.pulls.byID[key] == p {
			delete(s.pulls.byID, key)
		}
		s.pulls.mu.Unlock()
		close(p.done)
	}()
	return p
}

// pullWith tries the credentials in turn, and then none. The first error is the one told: it is about what was configured.
func (s *Store) pullWith(ctx context.Context, ref string, auths []runtime.RegistryAuth, progress func(runtime.Progress)) (runtime.Image, error) {
	var first error
	for _, auth := range append(authenticators(auths), authn.Anonymous) {
		image, err := s.pullFrom(ctx, ref, auth, progress)
		if err == nil {
			return image, nil
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil || !refused(err) {
			break
		}
	}
	return runtime.Image{}, fmt.Errorf("pull %s: %w", ref, first)
}

// refused says that other credentials could help.
func refused(err error) bool {
	var te *transport.Error
	return errors.As(err, &te) && (te.StatusCode == http.StatusUnauthorized || te.StatusCode == http.StatusForbidden || te.StatusCode == http.StatusNotFound)
}

func authenticators(auths []runtime.RegistryAuth) []authn.Authenticator {
	var list []authn.Authenticator
	for _, a := range auths {
		list = append(list, authn.FromConfig(authn.AuthConfig{
			Username: a.Username, Password: a.Password, Auth: a.Auth, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken,
		}))
	}
	return list
}

func platform() v1.Platform {
	p := v1.Platform{OS: "linux", Architecture: goruntime.GOARCH}
	if p.Architecture == "arm" {
		p.Variant = "v7"
	}
	return p
}

// pullFrom asks the mirrors, then the registry itself.
func (s *Store) pullFrom(ctx context.Context, ref string, auth authn.Authenticator, progress func(runtime.Progress)) (runtime.Image, error) {
	own, err := s.reference(ref)
	if err != nil {
		return runtime.Image{}, err
	}
	var first error
	for _, at := range append(s.mirrored(own), own) {
		image, err := s.pullAt(ctx, at, ref, auth, progress)
		if err == nil {
			return image, nil
		}
		first = err // the registry's own word comes last and counts
	}
	return runtime.Image{}, first
}

// reference is ref in the library's terms. docker.io is an alias there, too.
func (s *Store) reference(ref string) (name.Reference, error) {
	r, err := name.ParseReference(ref)
	if err != nil {
		return nil, err
	}
	if s.plainHTTP[r.Context().RegistryStr()] {
		return name.ParseReference(ref, name.Insecure)
	}
	return r, nil
}

func (s *Store) mirrored(ref name.Reference) []name.Reference {
	var list []name.Reference
	host := ref.Context().RegistryStr()
	if host == name.DefaultRegistry {
		host = "docker.io"
	}
	mirrors, ok := s.mirrors[host]
	if !ok {
		mirrors = s.mirrors[AnyRegistry]
	}
	for _, mirror := range mirrors {
		separator := ":"
		if _, ok := ref.(name.Digest); ok {
			separator = "@"
		}
		if r, err := s.reference(mirror + "/" + ref.Context().RepositoryStr() + separator + ref.Identifier()); err == nil {
			list = append(list, r)
		}
	}
	return list
}

func (s *Store) pullAt(ctx context.Context, at name.Reference, ref string, auth authn.Authenticator, progress func(runtime.Progress)) (runtime.Image, error) {
	progress(runtime.Progress{Ref: ref, Message: "Resolving " + at.Name()})
	desc, err := remote.Get(at,
		remote.WithContext(ctx), remote.WithAuth(auth), remote.WithPlatform(platform()), remote.WithTransport(s.transport),
		remote.WithUserAgent("skiff"),
		// The pod worker tries again with a growing delay; trying here as well only delays its report.
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}))
	if err != nil {
		return runtime.Image{}, err
	}
	image, err := desc.Image()
	if err != nil {
		return runtime.Image{}, err
	}
	id, err := image.ConfigName()
	if err != nil {
		return runtime.Image{}, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return runtime.Image{}, err
	}
	remoteLayers, err := image.Layers()
	if err != nil {
		return runtime.Image{}, err
	}
	src := source{id: id.String(), config: config, names: []string{repository(ref) + "@" + desc.Digest.String()}}
	if !isDigest(ref) {
		src.names = append(src.names, ref)
	}
	// Downloads end with the pull, whichever way it ends.
	ctx, cancel := context.WithCancel(ctx)
	var downloads sync.WaitGroup
	defer downloads.Wait()
	defer cancel()
	src.layers = s.fetchLayers(ctx, &downloads, remoteLayers, config, func(p runtime.Progress) { p.Ref = ref; progress(p) })
	return s.install(ctx, src, func(p runtime.Progress) { p.Ref = ref; progress(p) })
}

// fetchLayers downloads the layers that are not here, a few at a time, while those before them are unpacked.
func (s *Store) fetchLayers(ctx context.Context, running *sync.WaitGroup, list []v1.Layer, config *v1.ConfigFile, progress func(runtime.Progress)) []layerSource {
	slots := make(chan struct{}, parallelLayers)
	sources := make([]layerSource, len(list))
	chain := chainOf(config.RootFS.DiffIDs)
	for i, l := range list {
		size, _ := l.Size()
		if i < len(chain) && s.layers.get(chain[i]) != nil {
			// Fetched after all should it be removed in this moment.
			sources[i] = layerSource{size: size, open: func(context.Context) (io.ReadCloser, error) { return l.Compressed() }}
			continue
		}
		d := &download{layer: l, size: size, done: make(chan struct{})}
		sources[i] = layerSource{size: size, open: d.open}
		running.Go(func() {
			d.run(ctx, slots, filepath.Join(s.root, "spool"), progress)
			<-ctx.Done()
			if d.path != "" {
				os.Remove(d.path)
			}
		})
	}
	return sources
}

// download is a layer on its way into the spool.
type download struct {
	layer v1.Layer
	size  int64
	done  chan struct{}
	path  string
	err   error
}

func (d *download) run(ctx context.Context, slots chan struct{}, spool string, progress func(runtime.Progress)) {
	defer close(d.done)
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
		d.path, d.err = d.fetch(ctx, spool, progress)
	case <-ctx.Done():
		d.err = ctx.Err()
	}
}

func (d *download) open(ctx context.Context) (io.ReadCloser, error) {
	select {
	case <-d.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if d.err != nil {
		return nil, d.err
	}
	return os.Open(d.path)
}

func (d *download) fetch(ctx context.Context, spool string, progress func(runtime.Progress)) (string, error) {
	body, err := d.layer.Compressed() // checks its digest when read to the end
	if err != nil {
		return "", err
	}
	defer body.Close()
	f, err := os.CreateTemp(spool, "layer-*")
	if err != nil {
		return "", err
	}
	defer f.Close()
	digest, _ := d.layer.Digest()
	counted := &countingReader{r: contextReader{ctx, body}, report: func(n int64) {
		progress(runtime.Progress{Layer: digest.String(), Done: n, Total: d.size, Message: "Downloading"})
	}}
	if _, err := io.Copy(f, counted); err != nil {
		os.Remove(f.Name())
		return "", fmt.Errorf("download %s: %w", digest, err)
	}
	return f.Name(), nil
}

// newTransport gives up soon on registries that do not answer: a pod waits for the verdict.
func newTransport() http.RoundTripper {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   parallelLayers,
		IdleConnTimeout:       30 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
	}
}
