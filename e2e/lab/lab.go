package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/skiff-project/skiff/pkg/certs"
	"github.com/skiff-project/skiff/pkg/machine"
	"github.com/skiff-project/skiff/pkg/machine/control"
)

// Config says what a lab is made of.
type Config struct {
	// Name tells labs of one process apart. Default: "lab".
	Name string
	// Bin is the folder of Skiff's programs, with images/ in it; Peers that of upstream's (e2e/bench/peers/build.sh).
	Bin, Peers string
	// Parts are the components to run from the start, each from the side named.
	Parts Parts
	// Etcd, if not empty, is a folder whose copy etcd begins with.
	Etcd string
	// PKI, if not empty, is a folder of keys and certificates to use: those of the cluster that Etcd comes from.
	PKI string
	// Started is when the cluster began, for those who measure it; Start sets it to the time before anything was made.
	Started time.Time
}

// Lab is a running machine with a cluster, or part of one, on it.
type Lab struct {
	// REST and Client act as an administrator, without a limit on requests.
	REST   *rest.Config
	Client kubernetes.Interface
	// Base is the API server's URL, reachable by Dial.
	Base string
	// Machine is what everything runs on.
	Machine *machine.Machine

	config  Config
	host    machine.Host
	cluster *machine.Cluster
	pki     *certs.Cluster
}

// Node is the name of the lab's only machine, and of the node on it.
const Node = "node-1"

// Where the machine sees the host's folders.
const (
	binDir   = "/opt/skiff/bin"
	peersDir = "/opt/peers"
	pkiDir   = "/etc/skiff/pki"
	filesDir = "/etc/lab"
)

// prefix begins the names of all labs; the number of the process that made them follows.
const prefix = "lab"

// Name is the cluster name, as package machine and `skiff` know it, of a thing of this process.
func Name(suffix string) string { return fmt.Sprintf("%s%d-%s", prefix, os.Getpid(), suffix) }

// Host is where labs live.
func Host(bin string) machine.Host {
	h := machine.DefaultHost()
	h.Init = filepath.Join(bin, "machine-init")
	return h
}

// Sweep ends what processes that are gone by now have left behind.
func Sweep(ctx context.Context, bin string) error {
	h := Host(bin)
	names, err := h.Names()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		rest, ok := strings.CutPrefix(name, prefix)
		number, _, dashed := strings.Cut(rest, "-")
		pid, err := strconv.Atoi(number)
		if !ok || !dashed || err != nil {
			continue
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); errors.Is(err, os.ErrNotExist) {
			errs = append(errs, h.Destroy(ctx, name, false))
		}
	}
	return errors.Join(errs...)
}

// Start makes a lab and waits until its API server, if it has one, is ready. Stop must be called if there is no error.
func Start(ctx context.Context, config Config) (*Lab, error) {
	if config.Name == "" {
		config.Name = "lab"
	}
	if config.Started.IsZero() {
		config.Started = time.Now()
	}
	var err error
	if config.Bin, err = filepath.Abs(config.Bin); err != nil {
		return nil, err
	}
	if config.Peers, err = filepath.Abs(config.Peers); err != nil {
		return nil, err
	}
	l := &Lab{config: config, host: Host(config.Bin)}
	if l.cluster, err = l.host.Create(ctx, Name(config.Name), false); err != nil {
		return nil, err
	}
	if err := l.start(ctx); err != nil {
		return nil, errors.Join(err, l.Stop())
	}
	return l, nil
}

func (l *Lab) start(ctx context.Context) error {
	address := l.cluster.AddressOf(0).String()
	l.Base = "https://" + net.JoinHostPort(address, "6443")
	if err := l.keys(address); err != nil {
		return err
	}
	files, binds, err := l.files()
	if err != nil {
		return err
	}
	if l.Machine, err = l.cluster.Add(ctx, machine.Config{Name: Node, Files: files, Binds: binds}); err != nil {
		return err
	}
	if err := l.connect(); err != nil {
		return err
	}
	if l.config.Etcd != "" {
		if err := os.CopyFS(l.Data(), os.DirFS(l.config.Etcd)); err != nil {
			return err
		}
		if err := os.Chmod(l.Data(), 0o700); err != nil { // or etcd warns
			return err
		}
	}
	for _, part := range l.config.Parts.list() {
		if err := l.StartPart(part.name, part.side); err != nil {
			return err
		}
	}
	if l.config.Parts.API == None {
		return nil
	}
	return l.Await(ctx, time.Minute, func(ctx context.Context) (bool, string) {
		body, err := l.Client.Discovery().RESTClient().Get().AbsPath("/readyz").Timeout(2 * time.Second).DoRaw(ctx)
		if err != nil {
			return false, "API server: " + err.Error() + ": " + l.lastLine("apiserver")
		}
		return string(body) == "ok", "API server is not ready"
	})
}

// keys makes the cluster's keys, or takes those of another cluster, which then get this machine's addresses.
func (l *Lab) keys(address string) error {
	dir := filepath.Join(l.cluster.Data(), "pki")
	if l.config.PKI != "" {
		if err := os.CopyFS(dir, os.DirFS(l.config.PKI)); err != nil {
			return err
		}
		for _, name := range []string{"apiserver.key", "sa.key", "ca.key", "front-proxy-ca.key"} {
			if err := os.Chmod(filepath.Join(dir, name), 0o600); err != nil {
				return err
			}
		}
	}
	var err error
	l.pki, err = certs.EnsureCluster(dir, certs.Config{Names: []string{address, Node}, Server: l.Base, Nodes: []string{Node}})
	if err != nil {
		return err
	}
	return l.pki.EnsureNodeServing(Node, Node, address)
}

// PKI is the folder of the cluster's keys.
func (l *Lab) PKI() string { return l.pki.Dir }

// Data is the host's path of etcd's folder. It may be copied once etcd is stopped.
func (l *Lab) Data() string { return filepath.Join(l.Machine.Data(), "etcd") }

func (l *Lab) connect() error {
	config, err := clientcmd.BuildConfigFromFlags("", l.pki.Path("admin.conf"))
	if err != nil {
		return err
	}
	config.QPS, config.Dial, config.WarningHandler = -1, l.Dial, rest.NoWarnings{}
	l.REST = config
	l.Client, err = kubernetes.NewForConfig(config)
	return err
}

// Dial connects from within the machine.
func (l *Lab) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return l.Machine.DialContext(ctx, network, address)
}

// Await asks done again and again until it says yes; its word on why not is the error once the time is up.
func (l *Lab) Await(ctx context.Context, limit time.Duration, done func(ctx context.Context) (bool, string)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		ok, why := done(ctx)
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not so after %s: %s", limit, why)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Run runs a program in the machine and returns what it wrote.
func (l *Lab) Run(argv ...string) (string, error) {
	out, err := os.CreateTemp("", "lab")
	if err != nil {
		return "", err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return "", err
	}
	defer null.Close()
	code, err := l.Machine.Exec(control.Exec{Argv: argv, Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}}, null, out, out)
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(out.Name())
	if err == nil && code != 0 {
		err = fmt.Errorf("%s: exit code %d: %s", strings.Join(argv, " "), code, tail(string(text)))
	}
	return string(text), err
}

// Kubectl runs upstream's kubectl in the machine, as an administrator.
func (l *Lab) Kubectl(args ...string) (string, error) {
	return l.Run(append([]string{filepath.Join(peersDir, "kubectl"), kubeconfig("admin")}, args...)...)
}

// Log is what a component has written.
func (l *Lab) Log(component string) string {
	body, err := l.Machine.Log(component)
	if err != nil {
		return err.Error()
	}
	return string(body)
}

func (l *Lab) lastLine(component string) string { return tail(l.Log(component)) }

func tail(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], "\n")
}

// Restarts is how often each component has ended by itself so far. Upstream's end while the API server is not there yet.
func (l *Lab) Restarts() map[string]int {
	states, err := l.Machine.Components()
	if err != nil {
		return nil
	}
	counts := map[string]int{}
	for _, s := range states {
		counts[s.Name] = s.Restarts
	}
	return counts
}

// Failing names the components that have ended by themselves oftener than it says in before, or do not run.
func (l *Lab) Failing(before map[string]int) []string {
	states, err := l.Machine.Components()
	if err != nil {
		return []string{err.Error()}
	}
	var bad []string
	for _, s := range states {
		if s.Restarts > before[s.Name] || s.Wanted && s.PID == 0 {
			bad = append(bad, fmt.Sprintf("%s ended (%s): %s", s.Name, s.LastExit, l.lastLine(s.Name)))
		}
	}
	slices.Sort(bad)
	return bad
}

// Stop ends everything; nothing of the lab is left.
func (l *Lab) Stop() error {
	l.cluster.Close()
	// The end of a run must not keep it from cleaning up.
	return l.host.Destroy(context.Background(), Name(l.config.Name), false)
}
