package machine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/pkg/machine/control"
	"github.com/skiff-project/skiff/pkg/machine/pid1"
)

// Config describes a machine to be.
type Config struct {
	// Name is the machine's host name, unique in its cluster.
	Name string
	// Binds show folders of the host in the machine.
	Binds []control.Bind
	// Files are put into the machine's file system.
	Files []control.File
	// Held are descriptors that init keeps for its components, by the name that control.Component.Held uses.
	Held map[string]*os.File
}

// Machine is a machine of a cluster.
type Machine struct {
	cluster *Cluster
	state   machineState
}

// Paths in every machine.
const (
	// DataDir is a folder on the host's own disk, not on the machine's overlay: images and pods live below it.
	DataDir = "/var/lib/skiff"
	// LogDir has a log file for each component.
	LogDir = "/var/log/skiff"
)

// Names in Spec.Held that the package uses itself.
const (
	heldLAN  = "lan"
	heldData = "data"
)

// Add reserves and starts a machine.
func (c *Cluster) Add(ctx context.Context, cfg Config) (*Machine, error) {
	m, err := c.Reserve(cfg.Name)
	if err != nil {
		return nil, err
	}
	return m, m.Start(ctx, cfg)
}

// Reserve gives a machine to be its address. It may then be started beside others.
func (c *Cluster) Reserve(name string) (*Machine, error) {
	index, addr, err := c.reserve(name)
	if err != nil {
		return nil, err
	}
	return &Machine{cluster: c, state: machineState{Name: name, Address: addr, Port: fmt.Sprintf("m%d", index)}}, nil
}

// Start starts a reserved machine: on return its init listens. When it fails, nothing of the machine is left but its
// data.
func (m *Machine) Start(ctx context.Context, cfg Config) error {
	err := ctx.Err()
	if err == nil {
		err = m.start(ctx, cfg)
	}
	if err != nil {
		killErr := m.state.kill(context.WithoutCancel(ctx))
		m.cluster.forget(m.Name())
		return errors.Join(fmt.Errorf("machine %s: %w", m.Name(), err), killErr)
	}
	return nil
}

// AddressOf is the address that the machine number i of a cluster gets, counted from 0, if none has been removed.
func (c *Cluster) AddressOf(i int) netip.Addr { return hostAddr(c.Subnet(), firstMachine+i) }

// reserve notes a machine of that name and gives it an address.
func (c *Cluster) reserve(name string) (int, netip.Addr, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := CheckName(name); err != nil {
		return 0, netip.Addr{}, err
	}
	taken := map[netip.Addr]bool{}
	for _, m := range c.state.Machines {
		if m.Name == name {
			return 0, netip.Addr{}, fmt.Errorf("machine %s exists already", name)
		}
		taken[m.Address] = true
	}
	for i := range maxMachines {
		if a := hostAddr(c.Subnet(), firstMachine+i); !taken[a] {
			c.state.Machines = append(c.state.Machines, machineState{Name: name, Address: a})
			return i, a, c.host.writeState(c.state)
		}
	}
	return 0, netip.Addr{}, fmt.Errorf("a cluster has at most %d machines", maxMachines)
}

func (c *Cluster) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	keep := c.state.Machines[:0]
	for _, m := range c.state.Machines {
		if m.Name != name {
			keep = append(keep, m)
		}
	}
	c.state.Machines = keep
	_ = c.host.writeState(c.state) // a name too many is what Destroy can live with
}

// record notes init's number, before init does anything.
func (c *Cluster) record(m machineState) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.state.Machines {
		if c.state.Machines[i].Name == m.Name {
			c.state.Machines[i] = m
		}
	}
	return c.host.writeState(c.state)
}

// holdings returns what every init holds open: the LAN and the lock on the data folder. A process that did not create
// the cluster takes them from a machine that lives.
func (c *Cluster) holdings() (lan, data *os.File, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lan != nil && c.data != nil {
		return c.lan, c.data, nil
	}
	for _, m := range c.state.Machines {
		if !m.lives() {
			continue
		}
		if c.lan, err = os.Open(fmt.Sprintf("/proc/%d/fd/%d", m.PID, firstHeld+1)); err != nil {
			return nil, nil, err
		}
		// Opening the folder anew would make a lock of its own; init's very descriptor is copied instead.
		c.data, err = copyDescriptor(m.PID, firstHeld+2)
		return c.lan, c.data, err
	}
	return nil, nil, fmt.Errorf("cluster %s has no machine that runs", c.state.Name)
}

func copyDescriptor(pid, fd int) (*os.File, error) {
	p, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(p)
	n, err := unix.PidfdGetfd(p, fd, 0)
	if err != nil {
		return nil, fmt.Errorf("descriptor %d of process %d: %w", fd, pid, err)
	}
	return os.NewFile(uintptr(n), "copied"), nil
}

// firstHeld is the number of the first descriptor of Spec.Held: the standard ones and the gate come before it, then
// control socket, LAN and data lock in this order, then the caller's.
const firstHeld = pid1.GateFD + 1

func (m *Machine) start(ctx context.Context, cfg Config) error {
	lan, data, err := m.cluster.holdings()
	if err != nil {
		return err
	}
	socket, err := m.listen()
	if err != nil {
		return err
	}
	defer socket.Close()
	held := map[string]int{pid1.HeldControl: firstHeld, heldLAN: firstHeld + 1, heldData: firstHeld + 2}
	files := []*os.File{nil, socket, lan, data}
	for name, f := range cfg.Held {
		held[name] = firstHeld - 1 + len(files)
		files = append(files, f)
	}
	spec, err := m.writeSpec(cfg, held)
	if err != nil {
		return err
	}
	near, far, err := socketPair()
	if err != nil {
		return err
	}
	defer near.Close()
	defer far.Close()
	files[0] = far
	cmd, logFile, err := m.initCommand(spec, files)
	if err != nil {
		return err
	}
	defer logFile.Close()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("namespaces: %w", err)
	}
	far.Close()
	go cmd.Wait() //nolint:errcheck // collects a dead init while this process lives; its end is noticed elsewhere
	m.state.PID, m.state.Started = cmd.Process.Pid, startTime(cmd.Process.Pid)
	if err := m.cluster.record(m.state); err != nil {
		return err
	}
	if err := enterCgroups(m.cluster.Name(), m.Name(), m.state.PID); err != nil {
		return err
	}
	ns, err := m.namespace()
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := attach(lan, ns, m.state.Port, m.state.Address, m.cluster.Subnet()); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	return m.openGate(ctx, near)
}

// openGate lets init go on and waits for its word.
func (m *Machine) openGate(ctx context.Context, gate *os.File) error {
	if _, err := gate.Write([]byte{pid1.Go}); err != nil {
		return m.whyDead(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	stop := context.AfterFunc(ctx, func() { _ = gate.SetDeadline(time.Now()) })
	defer stop()
	if err := gate.SetReadDeadline(deadline); err != nil {
		return err
	}
	var word [1]byte
	if _, err := io.ReadFull(gate, word[:]); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return m.whyDead(err)
	}
	return nil
}

// whyDead prefers init's own last words to what the gate said.
func (m *Machine) whyDead(err error) error {
	body, readErr := os.ReadFile(m.initLog())
	if readErr != nil || len(body) == 0 {
		return fmt.Errorf("init: %w", err)
	}
	lines := strings.Split(strings.TrimSpace(string(body)), "\n")
	return errors.New(lines[len(lines)-1])
}

func (m *Machine) initCommand(spec string, files []*os.File) (*exec.Cmd, *os.File, error) {
	if !exists(m.cluster.host.Init) {
		return nil, nil, fmt.Errorf("%s is missing", m.cluster.host.Init)
	}
	log, err := os.OpenFile(m.initLog(), os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o644)
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(m.cluster.host.Init, "enter", spec) //nolint:noctx // the machine outlives this process
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = "/", log, log, files
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true,
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS |
			unix.CLONE_NEWIPC,
	}
	return cmd, log, nil
}

func socketPair() (near, far *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	if err := unix.SetNonblock(fds[0], true); err != nil { // for its deadline
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "gate"), os.NewFile(uintptr(fds[1]), "gate"), nil
}

// listen makes the control socket.
func (m *Machine) listen() (*os.File, error) {
	path := m.socket()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix(control.Network, &net.UnixAddr{Name: path, Net: control.Network})
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	defer l.Close()
	return l.File()
}

func (m *Machine) writeSpec(cfg Config, held map[string]int) (string, error) {
	dir := m.dataDir()
	for _, d := range []string{"root", "overlay", "data", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return "", err
		}
	}
	if err := os.Chmod(filepath.Join(dir, "tmp"), 0o777|os.ModeSticky); err != nil {
		return "", err
	}
	spec := control.Spec{
		Hostname: cfg.Name,
		Root:     filepath.Join(dir, "root"),
		Overlay:  filepath.Join(dir, "overlay"),
		Binds: append([]control.Bind{
			{Source: filepath.Join(dir, "data"), Target: DataDir},
			{Source: filepath.Join(dir, "tmp"), Target: "/tmp"},
		}, cfg.Binds...),
		Files:   append(m.ownFiles(), cfg.Files...),
		Sysctls: map[string]string{"net.ipv4.ip_forward": "1"},
		Held:    held,
		Logs:    LogDir,
	}
	body, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "spec.json")
	return path, replaceFile(path, body, 0o600)
}

// ownFiles is how a machine differs from the host in /etc.
func (m *Machine) ownFiles() []control.File {
	resolv := ""
	if m.cluster.Egress() {
		resolv = resolvers()
	}
	hosts := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" +
		m.state.Address.String() + "\t" + m.Name() + "\n"
	return []control.File{
		{Path: "/etc/hostname", Content: m.Name() + "\n"},
		{Path: "/etc/hosts", Content: hosts},
		{Path: "/etc/resolv.conf", Content: resolv},
		{Path: "/etc/machine-id", Content: machineID(m.cluster.Name(), m.Name()) + "\n", Mode: 0o444},
	}
}

// Name is the machine's host name.
func (m *Machine) Name() string { return m.state.Name }

// Address is the machine's on the cluster's network.
func (m *Machine) Address() netip.Addr { return m.state.Address }

// PID is init's, as the host counts.
func (m *Machine) PID() int { return m.state.PID }

// Lives says whether the machine's init runs.
func (m *Machine) Lives() bool { return m.state.lives() }

// Data is the host's path of what the machine sees as DataDir.
func (m *Machine) Data() string { return filepath.Join(m.dataDir(), "data") }

func (m *Machine) dataDir() string { return filepath.Join(m.cluster.Data(), "machines", m.Name()) }
func (m *Machine) initLog() string { return filepath.Join(m.dataDir(), "init.log") }
func (m *Machine) socket() string {
	return filepath.Join(m.cluster.host.runDir(m.cluster.Name()), m.Name()+".sock")
}

// namespace opens the machine's network namespace.
func (m *Machine) namespace() (*os.File, error) {
	return os.Open(fmt.Sprintf("/proc/%d/ns/net", m.state.PID))
}
