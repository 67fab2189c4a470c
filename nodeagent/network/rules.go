package network

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
)

// Chains of ours. Those of the proxy begin with SKIFF-P-.
const (
	chainPostrouting = "SKIFF-POSTROUTING"
	chainForward     = "SKIFF-FORWARD"
	chainHostPorts   = "SKIFF-HOSTPORTS"
	chainHostMasq    = "SKIFF-HOSTPORTS-MASQ"
)

// ensureRules sets what does not change with pods: pods' packets may be forwarded where the node's policy is to drop, and
// leave under the node's address when that is wanted.
func (n *Network) ensureRules(ctx context.Context, cidrs []netip.Prefix) error {
	for _, family := range families(cidrs) {
		local := ofFamily(cidrs, family)
		cluster := ofFamily(append(masked(n.config.ClusterCIDRs), cidrs...), family)
		if err := restore(ctx, family, baseRules(local, cluster, n.config.Masquerade)); err != nil {
			return err
		}
		if err := jump(ctx, family, "filter", "FORWARD", chainForward, false); err != nil {
			return err
		}
		if err := jump(ctx, family, "nat", "POSTROUTING", chainPostrouting, false); err != nil {
			return err
		}
	}
	return nil
}

// baseRules as iptables-restore reads them.
func baseRules(local, cluster []netip.Prefix, masquerade bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*filter\n:%s - [0:0]\n", chainForward)
	for _, c := range cluster {
		fmt.Fprintf(&b, "-A %s -s %s -j ACCEPT\n-A %s -d %s -j ACCEPT\n", chainForward, c, chainForward, c)
	}
	fmt.Fprintf(&b, "COMMIT\n*nat\n:%s - [0:0]\n", chainPostrouting)
	if masquerade {
		for _, c := range cluster {
			fmt.Fprintf(&b, "-A %s -d %s -j RETURN\n", chainPostrouting, c)
		}
		// To this node itself a pod speaks under its own address.
		fmt.Fprintf(&b, "-A %s -m addrtype --dst-type LOCAL -j RETURN\n", chainPostrouting)
		for _, c := range local {
			fmt.Fprintf(&b, "-A %s -s %s ! -d 224.0.0.0/4 -j MASQUERADE\n", chainPostrouting, c)
		}
	}
	b.WriteString("COMMIT\n")
	rules := b.String()
	if len(local) > 0 && local[0].Addr().Is6() {
		rules = strings.ReplaceAll(rules, "224.0.0.0/4", "ff00::/8")
	}
	return rules
}

func families(cidrs []netip.Prefix) []string {
	var list []string
	for _, f := range []string{"iptables", "ip6tables"} {
		if len(ofFamily(cidrs, f)) > 0 {
			list = append(list, f)
		}
	}
	return list
}

func ofFamily(cidrs []netip.Prefix, family string) []netip.Prefix {
	var list []netip.Prefix
	seen := map[netip.Prefix]bool{}
	for _, c := range cidrs {
		if c.Addr().Is6() == (family == "ip6tables") && !seen[c] {
			list = append(list, c)
			seen[c] = true
		}
	}
	return list
}

// jump makes a built-in chain go through ours, first or last.
func jump(ctx context.Context, family, table, from, to string, first bool, match ...string) error {
	rule := append(match, "-j", to)
	if run(ctx, family, append([]string{"-w", "-t", table, "-C", from}, rule...)...) == nil {
		return nil
	}
	how := "-A"
	if first {
		how = "-I"
	}
	return run(ctx, family, append([]string{"-w", "-t", table, how, from}, rule...)...)
}

// restore replaces the chains named in rules and leaves all others alone, in one transaction.
func restore(ctx context.Context, family, rules string) error {
	return command(exec.CommandContext(ctx, family+"-restore", "-w", "--noflush"), rules)
}

func run(ctx context.Context, family string, args ...string) error {
	return command(exec.CommandContext(ctx, family, args...), "")
}

func command(cmd *exec.Cmd, input string) error {
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(out.Bytes()))
	}
	return nil
}
