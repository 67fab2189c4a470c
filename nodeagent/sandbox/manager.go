package sandbox

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	goruntime "runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/nodeagent/cgroups"
	"github.com/skiff-project/skiff/nodeagent/process"
	"github.com/skiff-project/skiff/nodeagent/runtime"
	"github.com/skiff-project/skiff/nodeagent/sandbox/pause"
)

// Network connects sandboxes; see package network.
type Network interface {
	Attach(id string, netns *os.File, inside func(func() error) error) ([]netip.Addr, error)
	MapPorts(ctx context.Context, id string, addrs []netip.Addr, ports []runtime.PortMapping) error
	Detach(id string) error
	Keep(ids []string)
}

// Config of a Manager.
type Config struct {
	// Root folder of the runtime; sandboxes are kept in Root/sandboxes.
	Root string
	// PauseProgram is run in every sandbox; "" is the built-in one.
	PauseProgram string
	Network      Network
	Cgroups      *cgroups.Manager
	Log          *slog.Logger
}

// Manager of the sandboxes of a node.
type Manager struct {
	config Config
	dir    string
	log    *slog.Logger
	host   hostNamespaces

	mu  sync.Mutex // guards what follows
	all map[string]*Sandbox

	exits chan string
}

// Sandbox as kept on disk. Only Process, Ready and Addrs change after it was made.
type Sandbox struct {
	ID        string
	Config    runtime.SandboxConfig
	CreatedAt time.Time
	Process   process.ID
	Addrs     []netip.Addr
	// Ready is false while it is being made and after it was stopped.
	Ready bool
}

// New finds the sandboxes of a former agent and goes on with them. Those that were being made when it died, or whose
// process died meanwhile, are there as not ready.
func New(config Config) (*Manager, error) {
	if config.Log == nil {
		config.Log = slog.Default()
	}
	m := &Manager{
		config: config,
		dir:    filepath.Join(config.Root, "sandboxes"),
		log:    config.Log,
		all:    map[string]*Sandbox{},
		exits:  make(chan string, 256),
	}
	if err := os.MkdirAll(m.dir, 0o711); err != nil {
		return nil, err
	}
	var err error
	if m.host, err = openHostNamespaces(); err != nil {
		return nil, err
	}
	if m.config.PauseProgram == "" {
		if m.config.PauseProgram, err = installPause(config.Root); err != nil {
			return nil, err
		}
	}
	return m, m.load()
}

// installPause writes the built-in program where it can be run. Replacing it by rename leaves running ones alone.
func installPause(root string) (string, error) {
	program, err := pause.Program(goruntime.GOARCH)
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, "pause")
	if old, err := os.ReadFile(path); err == nil && string(old) == string(program) {
		return path, nil
	}
	if err := os.WriteFile(path+".new", program, 0o755); err != nil {
		return "", err
	}
	return path, os.Rename(path+".new", path)
}

func (m *Manager) load() error {
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return err
	}
	var ids []string
	for _, e := range entries {
		s := &Sandbox{ID: e.Name()}
		data, err := os.ReadFile(m.path(s.ID, "sandbox.json"))
		if err == nil {
			err = json.Unmarshal(data, s)
		}
		if err != nil {
			m.log.Warn("unreadable sandbox is removed", "sandbox", e.Name(), "error", err)
			m.eraseFiles(s.ID)
			continue
		}
		m.all[s.ID] = s
		if s.Ready && s.Process.Alive() {
			m.watch(s)
		} else {
			s.Ready = false
		}
		if s.Ready && !s.Config.HostNetwork {
			ids = append(ids, s.ID)
		}
	}
	m.config.Network.Keep(ids)
	return nil
}

func (m *Manager) path(id, name string) string { return filepath.Join(m.dir, id, name) }

// Shm is the folder that the containers of the sandbox have as /dev/shm.
func (m *Manager) Shm(id string) string { return m.path(id, "shm") }

func (m *Manager) save(s *Sandbox) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	path := m.path(s.ID, "sandbox.json")
	// No sync: after a crash of the machine there is no process left that the file could tell about.
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// Exits tells the ids of sandboxes whose process died by itself.
func (m *Manager) Exits() <-chan string { return m.exits }

// watch waits for the end of the sandbox's process in a goroutine of its own, which costs no thread.
func (m *Manager) watch(s *Sandbox) {
	id, proc := s.ID, s.Process
	go func() {
		if err := proc.Wait(context.Background()); err != nil {
			m.log.Warn("sandbox process cannot be watched", "sandbox", id, "error", err)
			return
		}
		proc.Reap()
		m.mu.Lock()
		s, ok := m.all[id]
		died := ok && s.Ready
		if died {
			s.Ready = false
			m.save(s)
		}
		m.mu.Unlock()
		if died {
			m.exits <- id
		}
	}()
}

// NewID makes an id for a sandbox or container: 64 hexadecimal digits, as all runtimes have them.
func NewID() string {
	b := make([]byte, 32)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// Get returns a copy of a sandbox.
func (m *Manager) Get(id string) (Sandbox, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.all[id]
	if !ok {
		return Sandbox{}, fmt.Errorf("sandbox %s: %w", id, runtime.ErrNotFound)
	}
	return *s, nil
}

// List returns copies of all.
func (m *Manager) List() []Sandbox {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]Sandbox, 0, len(m.all))
	for _, s := range m.all {
		list = append(list, *s)
	}
	return list
}

// Check says whether the sandbox's process is still the one whose namespaces were joined.
func (m *Manager) Check(id string) error {
	s, err := m.Get(id)
	if err != nil {
		return err
	}
	if !s.Ready || !s.Process.Alive() {
		return fmt.Errorf("sandbox %s has ended", id)
	}
	return nil
}

// Namespace is the path of one of the sandbox's namespaces: net, ipc, uts, pid, user.
func (s Sandbox) Namespace(kind string) string {
	return fmt.Sprintf("/proc/%d/ns/%s", s.Process.PID, kind)
}

// Retire shows a sandbox as not ready, so that nothing more is started in it, and leaves its process alone. It comes before the end
// of its containers: whoever sees one of those end must see that it ended with its sandbox.
func (m *Manager) Retire(id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.all[id]
	if !ok || !s.Ready {
		return nil
	}
	s.Ready = false
	return m.save(s)
}

// Stop ends the sandbox's process and gives the address back. What is stopped is no error. The containers have been
// stopped by the caller; others in the PID namespace of the sandbox die with it.
func (m *Manager) Stop(ctx context.Context, id string) error {
	m.mu.Lock()
	s, ok := m.all[id]
	if !ok {
		m.mu.Unlock()
		return nil
	}
	wasReady := s.Ready
	s.Ready = false
	proc := s.Process
	m.mu.Unlock()

	var failed error
	if !s.Config.HostNetwork {
		failed = m.config.Network.Detach(id)
	}
	if proc.PID > 0 {
		if err := end(ctx, proc); err != nil {
			failed = errors.Join(failed, fmt.Errorf("end process of sandbox %s: %w", id, err))
		}
	}
	if err := unmountShm(m.Shm(id)); err != nil {
		failed = errors.Join(failed, err)
	}
	if wasReady {
		m.mu.Lock()
		failed = errors.Join(failed, m.save(s))
		m.mu.Unlock()
	}
	return failed
}

func end(ctx context.Context, proc process.ID) error {
	if err := proc.Signal(unix.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	err := proc.Wait(ctx)
	proc.Reap()
	return err
}

// Remove forgets a sandbox that is stopped, with its control group unless another sandbox of the same pod uses it.
func (m *Manager) Remove(ctx context.Context, id string) error {
	m.mu.Lock()
	s, ok := m.all[id]
	m.mu.Unlock()
	if !ok {
		return nil
	}
	if err := m.Stop(ctx, id); err != nil {
		return err
	}
	if !m.groupShared(s) {
		if err := m.config.Cgroups.Remove(ctx, s.Config.CgroupParent); err != nil {
			return err
		}
	}
	m.eraseFiles(id)
	m.mu.Lock()
	delete(m.all, id)
	m.mu.Unlock()
	return nil
}

func (m *Manager) groupShared(s *Sandbox) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, other := range m.all {
		if other.ID != s.ID && other.Config.CgroupParent == s.Config.CgroupParent {
			return true
		}
	}
	return false
}

func (m *Manager) eraseFiles(id string) {
	if err := unmountShm(m.Shm(id)); err != nil {
		m.log.Warn("sandbox keeps its shared memory", "sandbox", id, "error", err)
		return
	}
	os.RemoveAll(filepath.Join(m.dir, id))
}
