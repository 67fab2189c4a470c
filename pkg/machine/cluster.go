package machine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Cluster is a set of machines on one network. Its methods may be called from one goroutine at a time.
type Cluster struct {
	host  Host
	state *state

	mu   sync.Mutex // guards state and lan while machines start side by side
	lan  *os.File   // nil if opened by Open and not needed yet
	data *os.File   // the lock on the data folder
}

// Create makes a cluster without machines, or says that there is one (ErrExists) or that its data folder is in use.
// When it fails, nothing of it is left.
func (h Host) Create(ctx context.Context, name string, egress bool) (*Cluster, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	lock, err := h.lock()
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := h.clearRemains(ctx, name); err != nil {
		return nil, err
	}
	c := &Cluster{host: h, state: &state{Name: name, Egress: egress, Data: filepath.Join(h.DataRoot, name)}}
	if err := c.create(ctx); err != nil {
		c.Close()
		return nil, errors.Join(err, h.destroy(context.WithoutCancel(ctx), c.state, true))
	}
	return c, nil
}

// clearRemains refuses a name whose cluster lives, and removes what is left of one that died on its own.
func (h Host) clearRemains(ctx context.Context, name string) error {
	s, err := h.readState(name)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, m := range s.Machines {
		if m.lives() {
			return fmt.Errorf("%w: %s", ErrExists, name)
		}
	}
	return h.destroy(ctx, s, true)
}

func (c *Cluster) create(ctx context.Context) error {
	if err := os.MkdirAll(c.state.Data, 0o711); err != nil {
		return err
	}
	var err error
	c.data, err = lockFolder(c.state.Data, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("data folder %s is in use by a running cluster", c.state.Data)
	}
	if err != nil {
		return err
	}
	if c.state.Number, err = c.host.pickNumber(c.state.Data); err != nil {
		return err
	}
	c.state.Forwarding = c.state.Egress && !hostForwards()
	if err := os.MkdirAll(c.host.runDir(c.state.Name), 0o700); err != nil {
		return err
	}
	if err := c.host.writeState(c.state); err != nil {
		return err
	}
	if c.lan, err = newLAN(c.Subnet()); err != nil {
		return err
	}
	if c.state.Egress {
		if err := openEgress(ctx, c.state, c.lan); err != nil {
			return fmt.Errorf("way out (--egress=false does without): %w", err)
		}
	}
	return nil
}

// pickNumber chooses a subnet that no other cluster has and that the host does not reach by a route of its own. A
// cluster whose data was kept gets its old one if it is free, since its certificates name it.
func (h Host) pickNumber(data string) (int, error) {
	taken := map[int]bool{}
	names, err := h.Names()
	if err != nil {
		return 0, err
	}
	for _, n := range names {
		if s, err := h.readState(n); err == nil {
			taken[s.Number] = true
		}
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return 0, fmt.Errorf("routes of the host: %w", err)
	}
	free := func(n int) bool {
		return !taken[n] && !overlaps(routes, subnet(n))
	}
	remembered := filepath.Join(data, "number")
	if body, err := os.ReadFile(remembered); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(body))); err == nil && free(n) {
			return n, nil
		}
	}
	for n := range 128 {
		if free(n) {
			return n, os.WriteFile(remembered, []byte(strconv.Itoa(n)), 0o644)
		}
	}
	return 0, errors.New("every subnet of 172.30.0.0/17 is taken")
}

func overlaps(routes []netlink.Route, p netip.Prefix) bool {
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		a, ok := netip.AddrFromSlice(r.Dst.IP.To4())
		ones, _ := r.Dst.Mask.Size()
		if ok && ones > 0 && netip.PrefixFrom(a, ones).Overlaps(p) {
			return true
		}
	}
	return false
}

// Open finds a cluster that was created, by this process or another.
func (h Host) Open(name string) (*Cluster, error) {
	s, err := h.readState(name)
	if err != nil {
		return nil, err
	}
	return &Cluster{host: h, state: s}, nil
}

// Close lets go of what this process holds of the cluster; the machines live on.
func (c *Cluster) Close() {
	for _, f := range []*os.File{c.lan, c.data} {
		if f != nil {
			f.Close()
		}
	}
	c.lan, c.data = nil, nil
}

// Name is the cluster's name.
func (c *Cluster) Name() string { return c.state.Name }

// Data is the cluster's folder, where the caller may keep what should outlive the machines.
func (c *Cluster) Data() string { return c.state.Data }

// Egress says whether the machines reach the outside.
func (c *Cluster) Egress() bool { return c.state.Egress }

// Subnet is the machines' network.
func (c *Cluster) Subnet() netip.Prefix { return subnet(c.state.Number) }

// Number tells the clusters of a host apart.
func (c *Cluster) Number() int { return c.state.Number }

// Machines lists the machines in the order of their making, alive or not.
func (c *Cluster) Machines() []*Machine {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*Machine
	for _, m := range c.state.Machines {
		all = append(all, &Machine{cluster: c, state: m})
	}
	return all
}

// Machine finds a machine by name.
func (c *Cluster) Machine(name string) (*Machine, error) {
	for _, m := range c.Machines() {
		if m.Name() == name {
			return m, nil
		}
	}
	return nil, fmt.Errorf("cluster %s has no machine %q", c.Name(), name)
}

// Destroy ends the machines and removes everything that the cluster took from the host; its data as well, unless
// keepData. What is gone already is no error.
func (h Host) Destroy(ctx context.Context, name string, keepData bool) error {
	if err := CheckName(name); err != nil {
		return err
	}
	lock, err := h.lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	s, err := h.readState(name)
	if errors.Is(err, ErrNotFound) {
		data := filepath.Join(h.DataRoot, name)
		if !exists(h.runDir(name)) && (keepData || !exists(data)) {
			// The folder is removed again if it was made for the lock alone.
			_ = os.Remove(h.RunDir)
			return err
		}
		// A process killed before it wrote the state had made no more than folders.
		s, err = &state{Name: name, Data: data, Number: -1}, nil
	}
	if err != nil {
		return err
	}
	return h.destroy(ctx, s, keepData)
}

// destroy is Destroy with the lock held.
func (h Host) destroy(ctx context.Context, s *state, keepData bool) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var errs []error
	for _, m := range s.Machines {
		errs = append(errs, m.kill(ctx))
	}
	if s.Egress && s.Number >= 0 {
		errs = append(errs, closeEgress(ctx, s, h.othersForward(s.Name)))
	}
	errs = append(errs, removeCgroups(ctx, cgroupOf(s.Name)))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cluster %s: %w", s.Name, err) // the state stays, so that it can be tried again
	}
	if !keepData {
		errs = append(errs, removeData(s.Data))
		_ = os.Remove(h.DataRoot) // goes with its last cluster
	}
	errs = append(errs, os.RemoveAll(h.runDir(s.Name)))
	_ = os.Remove(h.RunDir)
	return errors.Join(errs...)
}

// removeData removes a folder that may hold mount points of namespaces that are just going.
func removeData(path string) error {
	if path == "" || path == "/" {
		return fmt.Errorf("data folder %q", path)
	}
	return os.RemoveAll(path)
}

// othersForward says whether another cluster needs the host to forward. The first of those inherits the duty to undo
// it from nobody: the host that forwarded before the second came keeps forwarding after it.
func (h Host) othersForward(name string) bool {
	names, err := h.Names()
	if err != nil {
		return true
	}
	for _, n := range names {
		if s, err := h.readState(n); err == nil && n != name && s.Egress {
			s.Forwarding = true
			if h.writeState(s) == nil {
				return true
			}
		}
	}
	return false
}
