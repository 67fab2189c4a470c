package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os/exec"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiff-project/skiff/proxy/rules"
)

// Config says what the rules of a node look like.
type Config struct {
	// Family chooses iptables or ip6tables.
	Family corev1.IPFamily
	// ClusterCIDRs are the pods' addresses. Traffic from elsewhere to a ClusterIP is masqueraded.
	ClusterCIDRs []netip.Prefix
	// ServiceCIDRs are the services' addresses: what goes there and finds no service is refused.
	ServiceCIDRs []netip.Prefix
	// MasqueradeAll masquerades all traffic to ClusterIPs.
	MasqueradeAll bool
	// LocalNodePorts lets node ports be used on 127.0.0.1.
	LocalNodePorts bool
}

// Backend holds the rules in the kernel to what it was last told. It is not safe for concurrent use.
type Backend struct {
	config  Config
	state   *state
	applied chains // what was applied last, to leave out what has not changed
	full    bool   // the next Apply must set up everything
	// waiting are chains that may have changed since the last Apply that succeeded.
	waiting map[key]bool
	run     func(ctx context.Context, stdin string, name string, args ...string) (string, error)
}

// New makes a backend and checks that iptables can be run. Nothing is changed until Apply.
func New(c Config) (*Backend, error) {
	b := &Backend{config: c, state: newState(c), applied: chains{}, full: true, waiting: map[key]bool{}, run: run}
	for _, name := range []string{b.command(), b.command() + "-restore", b.command() + "-save"} {
		if _, err := exec.LookPath(name); err != nil {
			return nil, fmt.Errorf("the proxy needs %s: %w", name, err)
		}
	}
	return b, nil
}

func (b *Backend) command() string {
	if b.config.Family == corev1.IPv6Protocol {
		return "ip6tables"
	}
	return "iptables"
}

// Set takes in the ports of a service, or that it is gone (no ports). Nothing happens in the kernel until Apply.
func (b *Backend) Set(name types.NamespacedName, ports []*rules.Port) {
	for k := range b.state.set(name, ports) {
		b.waiting[k] = true
	}
}

// Apply brings the kernel up to date. After an error everything is set up anew by the next call.
func (b *Backend) Apply(ctx context.Context) error {
	if b.full {
		return b.applyAll(ctx)
	}
	if len(b.waiting) == 0 {
		return nil
	}
	want := b.state.want(b.waiting)
	var gone []key
	for k := range b.waiting {
		if lines, ok := want[k]; ok {
			if old, there := b.applied[k]; there && slices.Equal(old, lines) {
				delete(want, k)
			}
		} else if _, there := b.applied[k]; there {
			gone = append(gone, k)
		}
	}
	if err := b.restore(ctx, want, gone); err != nil {
		return err
	}
	for k, lines := range want {
		b.applied[k] = lines
	}
	for _, k := range gone {
		delete(b.applied, k)
	}
	clear(b.waiting)
	return nil
}

func (b *Backend) restore(ctx context.Context, want chains, gone []key) error {
	if len(want)+len(gone) == 0 {
		return nil
	}
	slices.SortFunc(gone, func(x, y key) int { return strings.Compare(x.chain, y.chain) })
	if _, err := b.run(ctx, script(want, gone), b.command()+"-restore", "--noflush", "-w", "5"); err != nil {
		b.full = true
		return err
	}
	return nil
}

// applyAll writes every chain, removes those of ours that are left from before, and links ours to the kernel's.
func (b *Backend) applyAll(ctx context.Context) error {
	want := b.state.all()
	var gone []key
	linked := map[jump]bool{}
	for _, table := range []string{"filter", "nat"} {
		out, err := b.run(ctx, "", b.command()+"-save", "-t", table)
		if err != nil {
			return err
		}
		for line := range strings.Lines(out) {
			line = strings.TrimSpace(line)
			if name, ok := strings.CutPrefix(line, ":SKIFF-P-"); ok {
				k := key{table, "SKIFF-P-" + strings.Fields(name)[0]}
				if _, stays := want[k]; !stays {
					gone = append(gone, k)
				}
			}
			for _, j := range jumps {
				if j.table == table && line == "-A "+j.from+" "+j.rule {
					linked[j] = true
				}
			}
		}
	}
	if err := b.restore(ctx, want, gone); err != nil {
		return err
	}
	for _, j := range slices.Backward(jumps) {
		if linked[j] {
			continue
		}
		args := append([]string{"-w", "5", "-t", j.table, "-I", j.from}, strings.Fields(j.rule)...)
		if _, err := b.run(ctx, "", b.command(), args...); err != nil {
			return err
		}
	}
	b.applied = maps.Clone(want)
	b.full = false
	clear(b.waiting)
	return nil
}

// Check looks whether somebody has removed our rules (a firewall that was reloaded, say) and has the next Apply set up
// everything if so.
func (b *Backend) Check(ctx context.Context) {
	if b.full {
		return
	}
	for _, j := range jumps {
		args := append([]string{"-w", "5", "-t", j.table, "-C", j.from}, strings.Fields(j.rule)...)
		if _, err := b.run(ctx, "", b.command(), args...); err != nil {
			b.full = true
			return
		}
	}
}

// Remove takes all of our chains out of the kernel.
func (b *Backend) Remove(ctx context.Context) error {
	var errs []error
	for _, j := range jumps {
		args := append([]string{"-w", "5", "-t", j.table, "-D", j.from}, strings.Fields(j.rule)...)
		for range 8 { // as often as it is there
			if _, err := b.run(ctx, "", b.command(), args...); err != nil {
				break
			}
		}
	}
	for _, table := range []string{"filter", "nat"} {
		out, err := b.run(ctx, "", b.command()+"-save", "-t", table)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		var gone []key
		for line := range strings.Lines(out) {
			if name, ok := strings.CutPrefix(line, ":SKIFF-P-"); ok {
				gone = append(gone, key{table, "SKIFF-P-" + strings.Fields(name)[0]})
			}
		}
		errs = append(errs, b.restore(ctx, nil, gone))
	}
	b.full = true
	return errors.Join(errs...)
}

func run(ctx context.Context, stdin, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(errOut.String()))
	}
	return out.String(), nil
}
