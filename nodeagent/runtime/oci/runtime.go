package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/skiff-project/skiff/nodeagent/cgroups"
	"github.com/skiff-project/skiff/nodeagent/images"
	"github.com/skiff-project/skiff/nodeagent/network"
	"github.com/skiff-project/skiff/nodeagent/runtime"
	"github.com/skiff-project/skiff/nodeagent/sandbox"
)

// Config of a Runtime.
type Config struct {
	// Root folder for sandboxes and containers.
	Root string
	// Command is the OCI runtime: a path or a name on PATH. Default: crun, which takes half as much processor time to make a
	// container, where it is installed and works; else runc.
	Command string
	// Handlers are further OCI runtimes by the handler name of a RuntimeClass.
	Handlers map[string]string
	// Conmon is a path or a name on PATH. Default conmon.
	Conmon string
	// PauseProgram; "" is the built-in one.
	PauseProgram string
	// Version of the node agent, told as the version of the runtime.
	Version string

	Images  *images.Store
	Network *network.Network
	Cgroups *cgroups.Manager
	Log     *slog.Logger
}

// Runtime implements runtime.Runtime.
type Runtime struct {
	config   Config
	log      *slog.Logger
	handlers map[string]string // handler to command path; "" is the default
	conmon   string
	limits   limits

	sandboxes *sandbox.Manager
	images    *images.Store
	network   *network.Network
	cgroups   *cgroups.Manager
	events    events

	// starting bounds how many containers are created in the kernel at a time: more than the processors can do at once
	// only makes all of them late.
	starting chan struct{}

	mu  sync.Mutex // guards what follows; taken before a container's
	all map[string]*container
}

var _ runtime.Runtime = (*Runtime)(nil)

// New finds the sandboxes and containers of a former agent and goes on with them.
func New(config Config) (*Runtime, error) {
	if config.Log == nil {
		config.Log = slog.Default()
	}
	if config.Command == "" {
		config.Command = defaultCommand(config.Cgroups)
	}
	if config.Conmon == "" {
		config.Conmon = "conmon"
	}
	if config.Version == "" {
		config.Version = "0.1.0"
	}
	root, err := filepath.Abs(config.Root)
	if err != nil {
		return nil, err
	}
	config.Root = root
	r := &Runtime{
		config: config, log: config.Log, handlers: map[string]string{},
		images: config.Images, network: config.Network, cgroups: config.Cgroups,
		all: map[string]*container{}, starting: make(chan struct{}, 2*goruntime.NumCPU()),
	}
	if r.conmon, err = exec.LookPath(config.Conmon); err != nil {
		return nil, fmt.Errorf("container monitor: %w", err)
	}
	command, err := exec.LookPath(config.Command)
	if err != nil {
		return nil, fmt.Errorf("OCI runtime: %w", err)
	}
	r.handlers[""], r.handlers[filepath.Base(command)] = command, command
	for name, c := range config.Handlers {
		if r.handlers[name], err = exec.LookPath(c); err != nil {
			return nil, fmt.Errorf("OCI runtime of handler %q: %w", name, err)
		}
	}
	for _, dir := range []string{"containers", "exits", "run"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o711); err != nil {
			return nil, err
		}
	}
	r.limits = probeLimits(config.Log)
	r.sandboxes, err = sandbox.New(sandbox.Config{
		Root: root, PauseProgram: config.PauseProgram, Network: config.Network, Cgroups: config.Cgroups, Log: config.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("sandboxes: %w", err)
	}
	if err := r.load(); err != nil {
		return nil, fmt.Errorf("containers: %w", err)
	}
	go func() {
		for id := range r.sandboxes.Exits() {
			s, err := r.sandboxes.Get(id)
			if err == nil {
				r.log.Warn("sandbox process died", "sandbox", id, "pod", s.Config.Pod.Namespace+"/"+s.Config.Pod.Name)
				r.events.publish(runtime.Event{Kind: runtime.SandboxStopped, PodUID: s.Config.Pod.UID, SandboxID: id})
			}
		}
	}()
	return r, nil
}

// defaultCommand chooses the OCI runtime. Crun makes no container on a machine of both control group versions where the newer one
// has controllers, too.
func defaultCommand(groups *cgroups.Manager) string {
	if groups.Hybrid() || exec.Command("crun", "--version").Run() != nil {
		return "runc"
	}
	return "crun"
}

// Version implements runtime.Runtime.
func (r *Runtime) Version(context.Context) (runtime.Version, error) {
	return runtime.Version{Name: "skiff", Version: r.config.Version}, nil
}

// Ready implements runtime.Runtime.
func (r *Runtime) Ready(context.Context) error {
	for _, path := range []string{r.conmon, r.handlers[""]} {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("container runtime is not ready: %w", err)
		}
	}
	if len(r.network.CIDRs()) == 0 {
		return errors.New("container runtime network not ready: the pod range of this node is not known yet")
	}
	return nil
}

// SetPodCIDRs implements runtime.Runtime.
func (r *Runtime) SetPodCIDRs(ctx context.Context, cidrs []string) error {
	var list []netip.Prefix
	for _, c := range cidrs {
		p, err := netip.ParsePrefix(c)
		if err != nil {
			return fmt.Errorf("pod range: %w", err)
		}
		list = append(list, p)
	}
	return r.network.SetPodCIDRs(ctx, list)
}

// handler finds the command of a RuntimeClass' handler.
func (r *Runtime) handler(name string) (string, error) {
	command, ok := r.handlers[name]
	if !ok {
		return "", fmt.Errorf("no runtime for %q is configured", name)
	}
	return command, nil
}

// known says that a command keeps its state as runc does: a folder per container with a fifo that start opens.
func known(command string) bool {
	return slices.Contains([]string{"runc", "crun"}, filepath.Base(command))
}

func (r *Runtime) runRoot() string             { return filepath.Join(r.config.Root, "run") }
func (r *Runtime) dir(id string) string        { return filepath.Join(r.config.Root, "containers", id) }
func (r *Runtime) exitFile(id string) string   { return filepath.Join(r.config.Root, "exits", id) }
func (r *Runtime) file(id, name string) string { return filepath.Join(r.dir(id), name) }

// invoke runs the OCI runtime to its end.
func (r *Runtime) invoke(ctx context.Context, command string, args ...string) error {
	cmd := exec.CommandContext(ctx, command, append([]string{"--root", r.runRoot()}, args...)...)
	var out bytes.Buffer
	cmd.Stderr = &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", filepath.Base(command), args[0], err, strings.TrimSpace(out.String()))
	}
	return nil
}

// RunSandbox implements runtime.Runtime.
func (r *Runtime) RunSandbox(ctx context.Context, config runtime.SandboxConfig) (runtime.Sandbox, error) {
	if _, err := r.handler(config.RuntimeHandler); err != nil {
		return runtime.Sandbox{}, err
	}
	begin := time.Now()
	s, err := r.sandboxes.Create(ctx, config)
	if err != nil {
		return runtime.Sandbox{}, err
	}
	r.log.Debug("sandbox is running", "pod", config.Pod.Namespace+"/"+config.Pod.Name, "sandbox", s.ID, "took", time.Since(begin))
	return show(s), nil
}

func show(s sandbox.Sandbox) runtime.Sandbox {
	out := runtime.Sandbox{
		ID: s.ID, Pod: s.Config.Pod, State: runtime.SandboxNotReady, CreatedAt: s.CreatedAt, IPs: s.IPs(),
		HostNetwork: s.Config.HostNetwork, RuntimeHandler: s.Config.RuntimeHandler, CgroupParent: s.Config.CgroupParent,
		LogDirectory: s.Config.LogDirectory, Labels: s.Config.Labels, Annotations: s.Config.Annotations,
	}
	if s.Ready {
		out.State, out.PID = runtime.SandboxReady, s.Process.PID
		if !s.Config.HostNetwork {
			out.NetNS = s.Namespace("net")
		}
	}
	return out
}

// StopSandbox implements runtime.Runtime.
func (r *Runtime) StopSandbox(ctx context.Context, id string) error {
	s, err := r.sandboxes.Get(id)
	if err != nil {
		return nil
	}
	if err := r.sandboxes.Retire(id); err != nil {
		return err
	}
	if err := r.each(id, func(c *container) error { return r.StopContainer(ctx, c.ID, 0) }); err != nil {
		return err
	}
	if err := r.sandboxes.Stop(ctx, id); err != nil {
		return err
	}
	if s.Ready {
		r.events.publish(runtime.Event{Kind: runtime.SandboxStopped, PodUID: s.Config.Pod.UID, SandboxID: id})
	}
	return nil
}

// RemoveSandbox implements runtime.Runtime.
func (r *Runtime) RemoveSandbox(ctx context.Context, id string) error {
	if err := r.StopSandbox(ctx, id); err != nil {
		return err
	}
	if err := r.each(id, func(c *container) error { return r.RemoveContainer(ctx, c.ID) }); err != nil {
		return err
	}
	return r.sandboxes.Remove(ctx, id)
}

// each runs f for all containers of a sandbox at the same time.
func (r *Runtime) each(sandboxID string, f func(*container) error) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for _, c := range r.containersOf(sandboxID) {
		wg.Go(func() {
			if err := f(c); err != nil {
				mu.Lock()
				failed = errors.Join(failed, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return failed
}

func (r *Runtime) containersOf(sandboxID string) []*container {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*container
	for _, c := range r.all {
		if c.Config.SandboxID == sandboxID {
			list = append(list, c)
		}
	}
	return list
}

// Sandboxes implements runtime.Runtime, oldest first.
func (r *Runtime) Sandboxes(context.Context) ([]runtime.Sandbox, error) {
	var list []runtime.Sandbox
	for _, s := range r.sandboxes.List() {
		list = append(list, show(s))
	}
	slices.SortFunc(list, func(a, b runtime.Sandbox) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return list, nil
}

// Sandbox implements runtime.Runtime.
func (r *Runtime) Sandbox(_ context.Context, id string) (runtime.Sandbox, error) {
	s, err := r.sandboxes.Get(id)
	if err != nil {
		return runtime.Sandbox{}, err
	}
	return show(s), nil
}

// UpdatePodResources implements runtime.Runtime.
func (r *Runtime) UpdatePodResources(_ context.Context, sandboxID string, res runtime.Resources) error {
	s, err := r.sandboxes.Get(sandboxID)
	if err != nil {
		return err
	}
	return r.cgroups.Update(s.Config.CgroupParent, sandbox.WithMonitors(res))
}
