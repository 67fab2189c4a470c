package clients

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// admin is the configuration of an administrator of the server that all tests share.
var admin *rest.Config

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// run builds the API server and starts it on a loopback port.
func run(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "clients")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "apiserver")
	build := exec.Command("go", "build", "-o", binary, "./cmd/apiserver")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build the API server: %w\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	address := l.Addr().String()
	f, err := l.(*net.TCPListener).File()
	l.Close()
	if err != nil {
		return 0, err
	}
	pki := filepath.Join(dir, "pki")
	server := exec.Command(binary, "--data-dir="+filepath.Join(dir, "etcd"), "--cert-dir="+pki, "--secure-port=0", "--listen-fds=3",
		"--bind-address=127.0.0.1", "--advertise-address=192.0.2.1")
	server.ExtraFiles, server.Stderr = []*os.File{f}, os.Stderr
	if err := server.Start(); err != nil {
		return 0, err
	}
	f.Close()
	defer func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	}()
	if err := waitReady("https://" + address); err != nil {
		return 0, err
	}
	if admin, err = clientcmd.BuildConfigFromFlags("https://"+address, filepath.Join(pki, "admin.conf")); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

func waitReady(url string) error {
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // it is asked whether it lives
	var err error
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var resp *http.Response
		if resp, err = client.Get(url + "/readyz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("%s", resp.Status)
		}
	}
	return fmt.Errorf("the API server is not ready: %w", err)
}

func eventually(t *testing.T, check func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("after 30 s: %v", err)
}

// within is a context that ends with the test.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}
