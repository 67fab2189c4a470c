package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// ErrExhausted is returned, wrapped, when every address of the pod range is taken.
var ErrExhausted = errors.New("no address left in the pod range")

// ipam hands out the addresses of the pod ranges.
type ipam struct {
	dir string

	mu     sync.Mutex
	ranges []netip.Prefix
	last   map[netip.Prefix]netip.Addr // where to go on: an address just given back is not taken again at once
	owner  map[netip.Addr]string
}

func openIPAM(dir string) (*ipam, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	p := &ipam{dir: dir, last: map[netip.Prefix]netip.Addr{}, owner: map[netip.Addr]string{}}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		path := filepath.Join(dir, f.Name())
		addr, err := netip.ParseAddr(f.Name())
		id, readErr := os.ReadFile(path)
		if err != nil || readErr != nil || len(id) == 0 {
			os.Remove(path)
			continue
		}
		p.owner[addr] = strings.TrimSpace(string(id))
	}
	return p, nil
}

func (p *ipam) setRanges(ranges []netip.Prefix) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ranges = ranges
}

// take gives a sandbox one address of each range.
func (p *ipam) take(id string) ([]netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.ranges) == 0 {
		return nil, errors.New("the pod range of this node is not known yet")
	}
	var got []netip.Addr
	for _, r := range p.ranges {
		addr, err := p.takeFrom(r, id)
		if err != nil {
			for _, a := range got {
				p.drop(a)
			}
			return nil, err
		}
		got = append(got, addr)
	}
	return got, nil
}

func (p *ipam) takeFrom(r netip.Prefix, id string) (netip.Addr, error) {
	start := p.last[r]
	if !start.IsValid() {
		start = gateway(r)
	}
	for addr := start.Next(); ; addr = addr.Next() {
		if !usable(r, addr) {
			addr = gateway(r) // round again, with the one after the gateway
		} else if p.owner[addr] == "" {
			if err := os.WriteFile(filepath.Join(p.dir, addr.String()), []byte(id), 0o600); err != nil {
				return netip.Addr{}, err
			}
			p.owner[addr], p.last[r] = id, addr
			return addr, nil
		}
		if addr == start {
			return netip.Addr{}, fmt.Errorf("pod range %s: %w", r, ErrExhausted)
		}
	}
}

// gateway is the first address after the network's own.
func gateway(r netip.Prefix) netip.Addr { return r.Masked().Addr().Next() }

// usable leaves out the broadcast address.
func usable(r netip.Prefix, addr netip.Addr) bool {
	return addr.IsValid() && r.Contains(addr) && (addr.Is6() || r.Contains(addr.Next()))
}

// of lists the addresses of a sandbox.
func (p *ipam) of(id string) []netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []netip.Addr
	for addr, owner := range p.owner {
		if owner == id {
			list = append(list, addr)
		}
	}
	return list
}

func (p *ipam) release(id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var failed error
	for addr, owner := range p.owner {
		if owner == id {
			failed = errors.Join(failed, p.drop(addr))
		}
	}
	return failed
}

// releaseExcept gives back the addresses of sandboxes that are gone.
func (p *ipam) releaseExcept(ids map[string]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for addr, owner := range p.owner {
		if !ids[owner] {
			p.drop(addr)
		}
	}
}

func (p *ipam) drop(addr netip.Addr) error {
	delete(p.owner, addr)
	if err := os.Remove(filepath.Join(p.dir, addr.String())); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}
