package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/skiff-project/skiff/pkg/certs"
)

// candidate is a server that can be measured.
type candidate struct{ name, binary, etcd string }

// server is a running candidate.
type server struct {
	client    *http.Client
	base      string
	pid       int
	processes []*exec.Cmd
	namespace netns.NsHandle
	folder    string
	log       bytes.Buffer
}

const address = "10.0.0.1"

// start runs the candidate in a network namespace of its own. stop must be called even after an error of what follows.
func (c candidate) start(ctx context.Context) (s *server, err error) {
	s = &server{base: "https://" + address + ":6443"}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	if s.folder, err = os.MkdirTemp("", "skiff-bench-"); err != nil {
		return s, err
	}
	if s.namespace, err = isolated(); err != nil {
		return s, err
	}
	pki := filepath.Join(s.folder, "pki")
	if _, err = certs.EnsureCluster(pki, certs.Config{Server: s.base, Names: []string{address}}); err != nil {
		return s, err
	}
	file := func(name string) string { return filepath.Join(pki, name) }
	args := []string{
		"--bind-address=" + address, "--advertise-address=" + address, "--secure-port=6443",
		"--tls-cert-file=" + file("apiserver.crt"), "--tls-private-key-file=" + file("apiserver.key"), "--client-ca-file=" + file("ca.crt"),
		"--service-account-key-file=" + file("sa.pub"), "--service-account-signing-key-file=" + file("sa.key"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local", "--authorization-mode=Node,RBAC",
		"--service-cluster-ip-range=10.96.0.0/16",
	}
	if c.etcd == "" {
		args = append(args, "--data-dir="+filepath.Join(s.folder, "etcd"))
	} else {
		if _, err := s.run(c.etcd, "--data-dir="+filepath.Join(s.folder, "etcd"), "--listen-client-urls=http://127.0.0.1:2379",
			"--advertise-client-urls=http://127.0.0.1:2379", "--listen-peer-urls=http://127.0.0.1:2380", "--unsafe-no-fsync"); err != nil {
			return s, err
		}
		args = append(args, "--etcd-servers=http://127.0.0.1:2379")
	}
	if s.pid, err = s.run(c.binary, args...); err != nil {
		return s, err
	}
	if s.client, err = s.newClient(pki); err != nil {
		return s, err
	}
	return s, s.ready(ctx)
}

// isolated makes a network namespace with nothing but a loopback device. The calling goroutine's thread stays where it is.
func isolated() (netns.NsHandle, error) {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return netns.None(), err
	}
	defer home.Close()
	ns, err := netns.New()
	if err != nil {
		runtime.UnlockOSThread()
		return netns.None(), fmt.Errorf("a network namespace needs root: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		addr, _ := netlink.ParseAddr(address + "/32")
		err = errors.Join(netlink.LinkSetUp(lo), netlink.AddrAdd(lo, addr))
	}
	if back := netns.Set(home); back != nil {
		return ns, back // the thread is lost; it stays locked and ends with the goroutine
	}
	runtime.UnlockOSThread()
	return ns, err
}

// inside runs f on a thread that is in the server's namespace.
func (s *server) inside(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := netns.Set(s.namespace); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

func (s *server) run(binary string, args ...string) (pid int, err error) {
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = &s.log, &s.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.inside(cmd.Start); err != nil {
		return 0, err
	}
	s.processes = append(s.processes, cmd)
	return cmd.Process.Pid, nil
}

func (s *server) newClient(pki string) (*http.Client, error) {
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(pki, "admin.conf"))
	if err != nil {
		return nil, err
	}
	tlsConfig, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, err
	}
	dial := func(ctx context.Context, network, addr string) (c net.Conn, err error) {
		err = s.inside(func() error {
			c, err = (&net.Dialer{}).DialContext(ctx, network, addr)
			return err
		})
		return c, err
	}
	return &http.Client{Transport: &http.Transport{
		DialContext: dial, ForceAttemptHTTP2: true, DisableCompression: true, MaxIdleConnsPerHost: 512, ReadBufferSize: 256 << 10,
		TLSClientConfig: tlsConfig,
	}}, nil
}

func (s *server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/readyz", nil)
		if err != nil {
			return err
		}
		if resp, err := s.client.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("server not ready: %s", tail(s.log.String()))
		case <-tick.C:
		}
	}
}

func tail(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// stop ends all processes and removes what they left.
func (s *server) stop() {
	if s.client != nil {
		s.client.CloseIdleConnections()
	}
	for i := range s.processes {
		cmd := s.processes[len(s.processes)-1-i]
		_ = cmd.Process.Kill() // it may have ended by itself
		_ = cmd.Wait()
	}
	if s.namespace.IsOpen() {
		_ = s.namespace.Close()
	}
	if s.folder != "" {
		_ = os.RemoveAll(s.folder)
	}
}

// pss is the memory of the server in MB, shared pages counted by share.
func (s *server) pss() (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", s.pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb / 1024, err
		}
	}
	return 0, fmt.Errorf("no Pss in smaps_rollup")
}
