package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/skiff-project/skiff/pkg/certs"
	"github.com/skiff-project/skiff/pkg/machine"
	"github.com/skiff-project/skiff/pkg/machine/control"
)

// up is one run of `skiff up`.
type up struct {
	target
	nodes      int
	egress     bool
	kubeconfig string
	port       int
	timeout    time.Duration
	extra      []string // NAME=--flag=value
	dns        bool

	progress *progress
	install  installation
	cluster  *machine.Cluster
}

func newUp(streams genericiooptions.IOStreams) *cobra.Command {
	u := &up{egress: egressDefault(), progress: &progress{out: streams.Out}}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a cluster whose nodes are machines on this host",
		Long: `Start a cluster. Its nodes are machines: sets of namespaces of this host with addresses, packet rules and files of
their own. When it returns, all nodes and the cluster's DNS are ready and the kubeconfig has a context for it.
When it fails or is interrupted, nothing is left running. 'skiff down' ends the cluster.`,
		Example: `  # A cluster of one node
  skiff up

  # A second one, of three nodes that reach nothing outside, with a kubeconfig of its own
  skiff up --name lab --nodes 3 --egress=false --kubeconfig lab.conf`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return u.run(ctx)
		},
	}
	u.addFlags(cmd.Flags())
	cmd.Flags().IntVar(&u.nodes, "nodes", 1, "Number of nodes; the first also runs the control plane")
	cmd.Flags().BoolVar(&u.egress, "egress", u.egress, "Let pods reach the outside, hidden behind this host's addresses (default from SKIFF_EGRESS)")
	ownKubeconfig(cmd, &u.kubeconfig)
	cmd.Flags().IntVar(&u.port, "api-port", 0, "Loopback port of this host for the API (default 6443, or any free one)")
	cmd.Flags().DurationVar(&u.timeout, "timeout", 2*time.Minute, "How long the cluster may take")
	cmd.Flags().BoolVar(&u.dns, "dns", true, "Run the cluster's DNS")
	cmd.Flags().StringArrayVar(&u.extra, "component-flag", nil, "One more flag for a component, as NAME=--flag=value; may be repeated")
	return cmd
}

func egressDefault() bool {
	on, err := strconv.ParseBool(os.Getenv("SKIFF_EGRESS"))
	return err != nil || on
}

func (u *up) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, u.timeout)
	defer cancel()
	u.progress.begin()
	host, listener, err := u.preflight()
	if err != nil {
		return err
	}
	defer listener.Close()
	u.cluster, err = host.Create(ctx, u.name, u.egress)
	if errors.Is(err, machine.ErrExists) {
		return fmt.Errorf("cluster %q is up already (skiff down --name %s ends it)", u.name, u.name)
	}
	if err != nil {
		return err
	}
	defer u.cluster.Close()
	if err := u.build(ctx, listener); err != nil {
		if ctx.Err() == context.DeadlineExceeded {
			err = fmt.Errorf("not ready after %s: %w", u.timeout, err)
		}
		u.progress.say("failed; taking everything down again")
		removeContext(u.cluster)
		return errors.Join(err, host.Destroy(context.Background(), u.name, false))
	}
	u.progress.say("cluster %q is up; kubeconfig context %q in %s", u.name, "skiff-"+u.name, u.kubeconfigFile())
	return nil
}

// preflight finds out all that can be wrong before anything is made.
func (u *up) preflight() (machine.Host, *net.TCPListener, error) {
	host, err := u.host()
	if err != nil {
		return host, nil, err
	}
	if err := machine.CheckName(u.name); err != nil {
		return host, nil, err
	}
	if u.nodes < 1 || u.nodes > 100 {
		return host, nil, fmt.Errorf("--nodes=%d: must be from 1 to 100", u.nodes)
	}
	if u.install, err = findInstallation(); err != nil {
		return host, nil, err
	}
	var missing []string
	if !installed("crun") && !installed("runc") {
		missing = append(missing, "runc")
	}
	for _, tool := range []string{"conmon", "iptables"} {
		if !installed(tool) {
			missing = append(missing, tool)
		}
	}
	if len(missing) > 0 {
		list := strings.Join(missing, " ")
		return host, nil, fmt.Errorf("missing on this host: %s (apt-get install %s)", list, list)
	}
	if err := u.checkExtra(); err != nil {
		return host, nil, err
	}
	if _, err := host.Open(u.name); err == nil {
		if c, err := u.open(); err == nil && len(c.Machines()) > 0 && c.Machines()[0].Lives() {
			return host, nil, fmt.Errorf("cluster %q is up already (skiff down --name %s ends it)", u.name, u.name)
		}
	}
	l, err := listenAPI(u.port)
	return host, l, err
}

func installed(tool string) bool {
	_, err := exec.LookPath(tool)
	return err == nil
}

// listenAPI opens the loopback port that the cluster's API gets on this host.
func listenAPI(port int) (*net.TCPListener, error) {
	listen := func(p int) (*net.TCPListener, error) {
		return net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: p})
	}
	if port != 0 {
		l, err := listen(port)
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("port %d of 127.0.0.1 is in use; choose another with --api-port", port)
		}
		return l, err
	}
	if l, err := listen(apiPort); err == nil {
		return l, nil
	}
	return listen(0)
}

func (u *up) build(ctx context.Context, listener *net.TCPListener) error {
	port := listener.Addr().(*net.TCPAddr).Port
	nodes := u.plan()
	if err := u.keys(nodes); err != nil {
		return err
	}
	config, err := writeAdmin(u.cluster, port)
	if err != nil {
		return err
	}
	r := record{APIPort: port}
	if err := r.write(u.cluster); err != nil {
		return err
	}
	u.progress.say("keys and certificates in %s", filepath.Join(u.cluster.Data(), "pki"))
	if err := u.machines(ctx, nodes, listener); err != nil {
		return err
	}
	if err := u.bootstrap(ctx, nodes); err != nil {
		return err
	}
	r.Kubeconfig = u.kubeconfigFile()
	if r.Previous, err = addContext(r.Kubeconfig, config); err != nil {
		return fmt.Errorf("kubeconfig %s: %w", r.Kubeconfig, err)
	}
	return r.write(u.cluster)
}

// plan names the nodes and their addresses, which machines get in the order of their making.
func (u *up) plan() []node {
	nodes := make([]node, u.nodes)
	for i := range nodes {
		nodes[i].name = fmt.Sprintf("node-%d", i+1)
		nodes[i].address = u.cluster.AddressOf(i).String()
		nodes[i].controlPlane = nodes[0].address
	}
	return nodes
}

func (u *up) keys(nodes []node) error {
	config := certs.Config{
		Names:       []string{nodes[0].address, nodes[0].name},
		Domain:      domain,
		Server:      fmt.Sprintf("https://%s:%d", nodes[0].address, apiPort),
		ClusterName: u.name,
	}
	for _, n := range nodes {
		config.Nodes = append(config.Nodes, n.name)
	}
	folder, err := certs.EnsureCluster(filepath.Join(u.cluster.Data(), "pki"), config)
	if err != nil {
		return fmt.Errorf("keys and certificates: %w", err)
	}
	for _, n := range nodes {
		if err := folder.EnsureNodeServing(n.name, n.name, n.address); err != nil {
			return fmt.Errorf("certificate of node %s: %w", n.name, err)
		}
	}
	return nil
}

// machines starts all machines and their components: the first machine first, since its components are what the others'
// wait for, then the others side by side.
func (u *up) machines(ctx context.Context, nodes []node, listener *net.TCPListener) error {
	api, err := listener.File()
	if err != nil {
		return err
	}
	defer api.Close()
	first, err := u.cluster.Add(ctx, machine.Config{
		Name:  nodes[0].name,
		Binds: append(u.binds(), control.Bind{Source: filepath.Join(u.cluster.Data(), "pki"), Target: pkiDir}),
		Held:  map[string]*os.File{"api": api},
	})
	if err != nil {
		return err
	}
	if err := u.start(first, nodes[0], append(append([]component{}, controlPlane...), everyNode...)); err != nil {
		return err
	}
	u.progress.say("machine %s (%s): control plane and node agent started", nodes[0].name, nodes[0].address)
	group, ctx := errgroup.WithContext(ctx)
	for i := 1; i < len(nodes); i++ {
		// Added in order, for the addresses; each starts by itself.
		n := nodes[i]
		added, err := u.cluster.Reserve(n.name)
		if err != nil {
			return err
		}
		group.Go(func() error {
			files, err := u.nodeKeys(n)
			if err != nil {
				return err
			}
			if err := added.Start(ctx, machine.Config{Name: n.name, Binds: u.binds(), Files: files}); err != nil {
				return err
			}
			if err := u.start(added, n, everyNode); err != nil {
				return err
			}
			u.progress.say("machine %s (%s): node agent started", n.name, n.address)
			return nil
		})
	}
	return group.Wait()
}

func (u *up) binds() []control.Bind {
	return []control.Bind{
		{Source: u.install.bin, Target: binDir, ReadOnly: true},
		{Source: u.install.images, Target: imagesDir, ReadOnly: true},
	}
}

// nodeKeys are the files that a node without control plane gets: no key of the cluster's is among them.
func (u *up) nodeKeys(n node) ([]control.File, error) {
	var files []control.File
	for _, name := range []string{"ca.crt", "proxy.conf", "node-" + n.name + ".conf", "node-" + n.name + ".crt", "node-" + n.name + ".key"} {
		body, err := os.ReadFile(filepath.Join(u.cluster.Data(), "pki", name))
		if err != nil {
			return nil, err
		}
		files = append(files, control.File{Path: filepath.Join(pkiDir, name), Content: string(body), Mode: 0o600})
	}
	return files, nil
}

func (u *up) start(m *machine.Machine, n node, components []component) error {
	for _, c := range components {
		if err := m.StartComponent(c.spec(n, u.extraFor(c.name))); err != nil {
			return fmt.Errorf("%s on %s: %w", c.name, n.name, err)
		}
	}
	return nil
}

func (u *up) extraFor(name string) []string {
	var flags []string
	for _, e := range u.extra {
		if of, flag, ok := strings.Cut(e, "="); ok && of == name {
			flags = append(flags, flag)
		}
	}
	return flags
}

func (u *up) checkExtra() error {
	for _, e := range u.extra {
		name, flag, _ := strings.Cut(e, "=")
		known := false
		for _, c := range append(append([]component{}, controlPlane...), everyNode...) {
			known = known || c.name == name
		}
		if !known || !strings.HasPrefix(flag, "-") {
			return fmt.Errorf("--component-flag=%s: must be COMPONENT=--flag=value", e)
		}
	}
	return nil
}
