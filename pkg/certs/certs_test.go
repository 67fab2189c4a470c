package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var config = Config{Server: "https://172.30.0.2:6443", Names: []string{"172.30.0.2", "api.example"}, Nodes: []string{"one"}}

func read(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = b
	}
	return out
}

func TestEnsureClusterMakesEverythingOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	// Several at once, as skiff and the API server may.
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := EnsureCluster(dir, config); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	first := read(t, dir)
	for _, want := range strings.Fields(`ca.crt ca.key apiserver.crt apiserver.key apiserver-kubelet-client.crt
		apiserver-kubelet-client.key front-proxy-ca.crt front-proxy-ca.key front-proxy-client.crt front-proxy-client.key
		sa.key sa.pub admin.conf controller-manager.conf scheduler.conf proxy.conf node-one.conf`) {
		if len(first[want]) == 0 {
			t.Errorf("%s is missing", want)
		}
		info, err := os.Stat(filepath.Join(dir, want))
		if err == nil && !strings.HasSuffix(want, ".crt") && want != "sa.pub" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", want, info.Mode())
		}
	}
	if _, err := EnsureCluster(dir, config); err != nil {
		t.Fatal(err)
	}
	for name, content := range read(t, dir) {
		if !bytes.Equal(content, first[name]) {
			t.Errorf("%s was changed by the second call", name)
		}
	}
}

func TestServerCertificateFollowsItsNames(t *testing.T) {
	dir := t.TempDir()
	c, err := EnsureCluster(dir, config)
	if err != nil {
		t.Fatal(err)
	}
	before := read(t, dir)
	more := config
	more.Names = []string{"192.0.2.7"} // the old names stay
	if _, err := EnsureCluster(dir, more); err != nil {
		t.Fatal(err)
	}
	after := read(t, dir)
	if !bytes.Equal(before["ca.crt"], after["ca.crt"]) || !bytes.Equal(before["admin.conf"], after["admin.conf"]) {
		t.Error("more was made anew than the server's certificate")
	}
	pair, err := tls.X509KeyPair(after["apiserver.crt"], after["apiserver.key"])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(c.CA.Cert)
	for _, name := range []string{"192.0.2.7", "172.30.0.2", "api.example", "10.96.0.1", "kubernetes.default.svc.cluster.local"} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKubeconfigsFollowTheServer(t *testing.T) {
	dir := t.TempDir()
	if _, err := EnsureCluster(dir, config); err != nil {
		t.Fatal(err)
	}
	moved := config
	moved.Server = "https://192.0.2.1:6443"
	for _, c := range []struct {
		keep bool
		want string
	}{{true, config.Server}, {false, moved.Server}} {
		moved.KeepServer = c.keep
		if _, err := EnsureCluster(dir, moved); err != nil {
			t.Fatal(err)
		}
		have, err := readKubeconfig(filepath.Join(dir, "admin.conf"))
		if err != nil || have.Server != c.want {
			t.Errorf("keep %v: %v, %v", c.keep, have.Server, err)
		}
	}
}

func TestWhatCannotBeRepairedIsSaid(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(dir string)
		names []string
		want  string
	}{
		{"CA key without certificate", func(dir string) { os.Remove(filepath.Join(dir, "ca.crt")) }, nil, "its certificate"},
		{"CA kept elsewhere, new name", func(dir string) { os.Remove(filepath.Join(dir, "ca.key")) }, []string{"new.example"}, "does not name new.example"},
		{"CA kept elsewhere, all good", func(dir string) { os.Remove(filepath.Join(dir, "ca.key")) }, nil, ""},
		{"key of another CA", func(dir string) {
			b, _ := os.ReadFile(filepath.Join(dir, "front-proxy-ca.key"))
			os.WriteFile(filepath.Join(dir, "ca.key"), b, 0o600)
		}, nil, "does not belong to certificate file"},
		{"rubbish", func(dir string) { os.WriteFile(filepath.Join(dir, "ca.crt"), []byte("x"), 0o600) }, nil, "holds no certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := EnsureCluster(dir, config); err != nil {
				t.Fatal(err)
			}
			c.spoil(dir)
			again := config
			again.Names = append(again.Names, c.names...)
			_, err := EnsureCluster(dir, again)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
		})
	}
}

func TestExpiringCertificateIsRenewed(t *testing.T) {
	dir := t.TempDir()
	c, err := EnsureCluster(dir, config)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := c.FrontProxyCA.Issue(Leaf{CommonName: "front-proxy-client", Client: true, Life: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"front-proxy-client.crt": pair.Cert, "front-proxy-client.key": pair.Key} {
		if err := os.WriteFile(c.Path(name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := EnsureCluster(dir, config); err != nil {
		t.Fatal(err)
	}
	chain, err := LoadCerts(c.Path("front-proxy-client.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if time.Until(chain[0].NotAfter) < 300*24*time.Hour {
		t.Errorf("still ends %v", chain[0].NotAfter)
	}
}

func TestSignNeverMakesACAAndNeverOutlivesIt(t *testing.T) {
	ca, err := NewAuthority("x")
	if err != nil {
		t.Fatal(err)
	}
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := NewRequest(key, Leaf{CommonName: "a", Names: []string{"b", "192.0.2.1"}})
	if err != nil {
		t.Fatal(err)
	}
	req, err := ParseRequest(csr)
	if err != nil {
		t.Fatal(err)
	}
	der, err := ca.Sign(&x509.Certificate{Subject: req.Subject, NotAfter: time.Now().Add(2 * caLife), IsCA: true}, req.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if cert.IsCA || cert.NotAfter.After(ca.Cert.NotAfter) || cert.Subject.CommonName != "a" {
		t.Errorf("CA %v, ends %v, subject %v", cert.IsCA, cert.NotAfter, cert.Subject)
	}
}
