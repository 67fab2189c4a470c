package machine_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/skiff-project/skiff/pkg/machine"
	"github.com/skiff-project/skiff/pkg/machine/control"
)

// TestEgress makes a machine play the host, and another the outside: no packet leaves this host, and its rules are not
// touched. It shows as well that machines can be made within a machine.
func TestEgress(t *testing.T) {
	h := testHost(t)
	c := newCluster(t, h)
	host, outside := add(t, c, "host"), add(t, c, "outside")
	require.NoError(t, outside.StartComponent(server(t, outside, "port")))
	server(t, host, "") // for its program
	body, err := os.ReadFile(initProgram)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(host.Data(), "machine-init"), body, 0o755))
	run(t, host, "echo 0 > /proc/sys/net/ipv4/ip_forward; iptables -P FORWARD DROP")
	// The built-in chains of the nat table, once looked at, stay; they hold no rule.
	const look = "iptables-save | grep -e ^-A -e ^:FORWARD | cut -d[ -f1; ip -br link; ip route; cat /proc/sys/net/ipv4/ip_forward"
	before := run(t, host, look)

	out := run(t, host, "SKIFF_TEST_SERVE=nested OUTSIDE="+outside.Address().String()+" /var/lib/skiff/server 2>&1")
	require.Equal(t, "outside saw "+host.Address().String(), out, "the inner machine is hidden behind its host")
	require.Equal(t, before, run(t, host, look), "nothing is left")
	require.Empty(t, run(t, host, "ls /run | grep -v lock || true"))
}

// nested is what runs on the host of TestEgress: a cluster with a way out, used and destroyed.
func nested() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	answer, err := nestedCluster(ctx)
	if err != nil {
		answer = err.Error()
	}
	fmt.Println(answer)
}

func nestedCluster(ctx context.Context) (answer string, err error) {
	h := machine.Host{RunDir: "/run/s", DataRoot: "/var/lib/skiff/clusters", Init: "/var/lib/skiff/machine-init"}
	c, err := h.Create(ctx, "inner", true)
	if err != nil {
		return "", err
	}
	defer c.Close()
	defer func() {
		if gone := h.Destroy(ctx, "inner", false); gone != nil {
			err = gone
		}
	}()
	m, err := c.Add(ctx, machine.Config{Name: "inner-1"})
	if err != nil {
		return "", err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return "", err
	}
	if _, err := m.Exec(control.Exec{Argv: []string{"true"}}, null, null, null); err != nil {
		return "", err
	}
	for { // the server may still be starting
		conn, err := m.DialContext(ctx, "tcp", os.Getenv("OUTSIDE")+":7000")
		if err != nil && ctx.Err() == nil && strings.Contains(err.Error(), "refused") {
			continue
		}
		if err != nil {
			return "", err
		}
		defer conn.Close()
		b := make([]byte, 100)
		n, err := conn.Read(b)
		return string(b[:n]), err
	}
}
