package images

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// AnyRegistry stands for all registries in Config.Mirrors.
const AnyRegistry = "*"

// Config of a Store.
type Config struct {
	// Root folder; created when missing. It should be on a file system that overlayfs can use as a lower one.
	Root string
	// PlainHTTP are registries (host or host:port) that are spoken to without TLS.
	PlainHTTP []string
	// Mirrors maps a registry to others that are asked before it; AnyRegistry is every registry without mirrors of its own.
	Mirrors map[string][]string
	// Transport for registries; nil is one that gives up soon on what does not answer.
	Transport http.RoundTripper
	Log       *slog.Logger
}

// Store is the images of one node. It implements runtime.Images.
type Store struct {
	root      string
	plainHTTP map[string]bool
	mirrors   map[string][]string
	transport http.RoundTripper
	log       *slog.Logger

	layers *layers
	pulls  pulls

	mu      sync.Mutex // guards what follows; taken before layers.mu
	records map[string]*record
	names   map[string]string // tag or digest reference to id
	held    map[string]int    // chains that are being unpacked or mounted, and must not be removed
}

var _ runtime.Images = (*Store)(nil)

// New opens the store and clears away what a crash left behind.
func New(config Config) (*Store, error) {
	if config.Log == nil {
		config.Log = slog.Default()
	}
	if strings.ContainsAny(config.Root, `,:\`) {
		return nil, fmt.Errorf("image store: %s: a comma, colon or backslash in the path cannot be told to overlayfs", config.Root)
	}
	for _, dir := range []string{"records", "spool", "l"} {
		if err := os.MkdirAll(filepath.Join(config.Root, dir), 0o700); err != nil {
			return nil, fmt.Errorf("image store: %w", err)
		}
	}
	s := &Store{
		root:      config.Root,
		plainHTTP: map[string]bool{},
		mirrors:   config.Mirrors,
		transport: config.Transport,
		log:       config.Log,
		records:   map[string]*record{},
		names:     map[string]string{},
		held:      map[string]int{},
	}
	for _, host := range config.PlainHTTP {
		s.plainHTTP[host] = true
	}
	if s.transport == nil {
		s.transport = newTransport()
	}
	var err error
	if s.layers, err = openLayers(filepath.Join(config.Root, "l"), config.Log); err != nil {
		return nil, err
	}
	if err := s.load(); err != nil {
		return nil, err
	}
	return s, nil
}

// Close waits for what goes on in the background.
func (s *Store) Close() { s.layers.background.Wait() }

func (s *Store) load() error {
	spool, err := os.ReadDir(filepath.Join(s.root, "spool"))
	if err != nil {
		return err
	}
	for _, e := range spool {
		os.RemoveAll(filepath.Join(s.root, "spool", e.Name()))
	}
	files, err := os.ReadDir(filepath.Join(s.root, "records"))
	if err != nil {
		return err
	}
	for _, e := range files {
		path := filepath.Join(s.root, "records", e.Name())
		if !strings.HasSuffix(path, ".json") {
			os.Remove(path)
			continue
		}
		r, err := readRecord(path)
		if err != nil || !s.layers.haveAll(r.Chain) {
			s.log.Warn("image is incomplete and forgotten", "record", e.Name(), "error", err)
			os.Remove(path)
			continue
		}
		s.records[r.ID] = r
		for _, name := range slices.Concat(r.Tags, r.Digests) {
			s.names[name] = r.ID
		}
	}
	return nil
}

// find needs mu.
func (s *Store) find(ref string) (*record, error) {
	if id, ok := idOf(ref); ok {
		if r := s.records[id]; r != nil {
			return r, nil
		}
		return nil, fmt.Errorf("image %q: %w", ref, runtime.ErrNotFound)
	}
	name, err := normalize(ref)
	if err != nil {
		return nil, err
	}
	if r := s.records[s.names[name]]; r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("image %q: %w", ref, runtime.ErrNotFound)
}

// Status implements runtime.Images.
func (s *Store) Status(_ context.Context, ref string) (runtime.Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(ref)
	if err != nil {
		return runtime.Image{}, err
	}
	return r.image(), nil
}

// List implements runtime.Images, sorted by id.
func (s *Store) List(context.Context) ([]runtime.Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]runtime.Image, 0, len(s.records))
	for _, r := range s.records {
		list = append(list, r.image())
	}
	slices.SortFunc(list, func(a, b runtime.Image) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// Remove implements runtime.Images. Layers below mounted containers stay until those are gone.
func (s *Store) Remove(_ context.Context, ref string) error {
	if err := s.forget(ref); err != nil {
		return err
	}
	return s.removeUnusedLayers()
}

func (s *Store) forget(ref string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(ref)
	if err != nil {
		return nil // not here, or no name at all: nothing to remove
	}
	if _, isID := idOf(ref); !isID {
		name, _ := normalize(ref)
		r.dropName(name)
		delete(s.names, name)
		if len(r.Tags) > 0 {
			return r.save(s.root)
		}
	}
	for _, name := range slices.Concat(r.Tags, r.Digests) {
		delete(s.names, name)
	}
	delete(s.records, r.ID)
	if err := os.Remove(r.file(s.root)); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove image %s: %w", r.ID, err)
	}
	return nil
}

// hold keeps layers from being removed until release is called.
func (s *Store) hold(chain []string) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.holdLocked(chain)
}

func (s *Store) holdLocked(chain []string) (release func()) {
	for _, c := range chain {
		s.held[c]++
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, c := range chain {
			if s.held[c]--; s.held[c] == 0 {
				delete(s.held, c)
			}
		}
	}
}

// removeUnusedLayers removes the layers that no image, no mount and no call in flight uses.
func (s *Store) removeUnusedLayers() error {
	s.mu.Lock()
	used := map[string]bool{}
	for _, r := range s.records {
		for _, chain := range r.Chain {
			used[chain] = true
		}
	}
	for chain := range s.held {
		used[chain] = true
	}
	gone, err := s.layers.takeExcept(used)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.layers.erase(gone)
}

// put records an image whose layers are all here. A name moves from the image that had it.
func (s *Store) put(r *record, names []string) (runtime.Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.records[r.ID]; old != nil {
		r = old
	}
	for _, name := range names {
		if previous := s.records[s.names[name]]; previous != nil && previous != r {
			previous.dropName(name)
			if err := previous.save(s.root); err != nil {
				return runtime.Image{}, err
			}
		}
		r.addName(name)
	}
	r.lastUsed = time.Now()
	if err := r.save(s.root); err != nil {
		return runtime.Image{}, fmt.Errorf("record image %s: %w", r.ID, err)
	}
	s.records[r.ID] = r
	for _, name := range names {
		s.names[name] = r.ID
	}
	return r.image(), nil
}

// Pin keeps an image from being collected, or no longer.
func (s *Store) Pin(ref string, pinned bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(ref)
	if err != nil || r.Pinned == pinned {
		return err
	}
	r.Pinned = pinned
	return r.save(s.root)
}

// use looks an image up for mounting: it stays until release is called, and its time of use is noted, which garbage
// collection goes by.
func (s *Store) use(ref string) (r *record, release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, err = s.find(ref); err != nil {
		return nil, nil, err
	}
	s.used(r)
	return r, s.holdLocked(r.Chain), nil
}

func (s *Store) used(r *record) {
	r.lastUsed = time.Now()
	os.Chtimes(r.file(s.root), r.lastUsed, r.lastUsed)
}
