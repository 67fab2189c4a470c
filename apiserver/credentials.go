package apiserver

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/skiff-project/skiff/pkg/certs"
)

// fillIn names the files that no flag named: those of CertDir, which are made where they are missing.
func (c *Config) fillIn(advertise netip.Addr, services []netip.Prefix) error {
	own := map[*string]string{
		&c.TLSCert: "apiserver.crt", &c.TLSKey: "apiserver.key", &c.ClientCA: "ca.crt",
		&c.KubeletCert: "apiserver-kubelet-client.crt", &c.KubeletKey: "apiserver-kubelet-client.key", &c.KubeletCA: "ca.crt",
		&c.ProxyClientCert: "front-proxy-client.crt", &c.ProxyClientKey: "front-proxy-client.key",
		&c.RequestHeaderCA: "front-proxy-ca.crt", &c.ServiceAccountSigning: "sa.key",
	}
	missing := len(c.ServiceAccountKeys) == 0
	for field := range own {
		missing = missing || *field == ""
	}
	if !missing {
		return nil
	}
	cfg := certs.Config{Domain: c.ClusterDomain, Names: []string{advertise.String(), hostname()},
		Server: "https://" + net.JoinHostPort(advertise.String(), strconv.Itoa(c.SecurePort)), KeepServer: true}
	if a, err := netip.ParseAddr(c.BindAddress); err == nil && !a.IsUnspecified() {
		cfg.Names = append(cfg.Names, c.BindAddress)
	}
	if c.ExternalHostname != "" {
		cfg.Names = append(cfg.Names, c.ExternalHostname)
	}
	for _, p := range services {
		cfg.ServiceIPs = append(cfg.ServiceIPs, p.Addr().Next().String())
	}
	folder, err := certs.EnsureCluster(c.CertDir, cfg)
	if err != nil {
		return err
	}
	for field, file := range own {
		if *field == "" {
			*field = folder.Path(file)
		}
	}
	if len(c.ServiceAccountKeys) == 0 {
		c.ServiceAccountKeys = []string{folder.Path("sa.pub")}
	}
	return nil
}

// recheck is how often a file is looked at for a newer one.
const recheck = 10 * time.Second

// reloaded is something read from files, read anew when one of them changes. What cannot be read keeps the old one.
type reloaded[T any] struct {
	files []string
	read  func() (T, error)

	mu      sync.Mutex
	value   T
	stamps  []time.Time
	checked time.Time
}

func reload[T any](read func() (T, error), files ...string) (*reloaded[T], error) {
	r := &reloaded[T]{files: files, read: read, checked: time.Now()}
	r.stamps = r.stamp()
	var err error
	r.value, err = read()
	return r, err
}

func (r *reloaded[T]) stamp() []time.Time {
	out := make([]time.Time, len(r.files))
	for i, f := range r.files {
		if info, err := os.Stat(f); err == nil {
			out[i] = info.ModTime()
		}
	}
	return out
}

func (r *reloaded[T]) get() T {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.checked) < recheck {
		return r.value
	}
	r.checked = time.Now()
	now := r.stamp()
	for i := range now {
		if now[i].Equal(r.stamps[i]) {
			continue
		}
		if value, err := r.read(); err == nil {
			r.value, r.stamps = value, now
		}
		break
	}
	return r.value
}

func pool(file string) (*reloaded[*x509.CertPool], error) {
	return reload(func() (*x509.CertPool, error) {
		list, err := certs.LoadCerts(file)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		for _, c := range list {
			pool.AddCert(c)
		}
		return pool, nil
	}, file)
}

func keyPair(cert, key string) (*reloaded[*tls.Certificate], error) {
	return reload(func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("certificate %s with key %s: %w", cert, key, err)
		}
		return &pair, nil
	}, cert, key)
}

// serverTLS asks clients for certificates and verifies none: whose they are is authentication's to say, by more than one
// CA.
func serverTLS(pair *reloaded[*tls.Certificate]) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert, NextProtos: []string{"h2", "http/1.1"},
		// An event on a watch that was silent is one record and one system call, not three; nobody paints a page here.
		DynamicRecordSizingDisabled: true,
		GetCertificate:              func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.get(), nil },
	}
}

func publicKeys(files []string) ([]crypto.PublicKey, error) {
	var out []crypto.PublicKey
	for _, f := range files {
		keys, err := certs.LoadPublicKeys(f)
		if err != nil {
			return nil, err
		}
		out = append(out, keys...)
	}
	return out, nil
}

// credentials are the files that the server works with.
type credentials struct {
	serving, kubelet, proxyClient     *reloaded[*tls.Certificate]
	clientCAs, frontProxyCAs, nodeCAs *reloaded[*x509.CertPool]
}

func (f *credentials) load(c *Config) (err error) {
	for _, pair := range []struct {
		to        **reloaded[*tls.Certificate]
		cert, key string
	}{{&f.serving, c.TLSCert, c.TLSKey}, {&f.kubelet, c.KubeletCert, c.KubeletKey}, {&f.proxyClient, c.ProxyClientCert, c.ProxyClientKey}} {
		if *pair.to, err = keyPair(pair.cert, pair.key); err != nil {
			return err
		}
	}
	for _, p := range []struct {
		to   **reloaded[*x509.CertPool]
		file string
	}{{&f.clientCAs, c.ClientCA}, {&f.frontProxyCAs, c.RequestHeaderCA}, {&f.nodeCAs, c.KubeletCA}} {
		if *p.to, err = pool(p.file); err != nil {
			return err
		}
	}
	return nil
}

// authentication is what servers behind this one need to know to trust it: kube-system/extension-apiserver-authentication.
func (f *credentials) authentication(c *Config) map[string]string {
	list := func(items []string) string {
		if items == nil {
			items = []string{}
		}
		text, _ := json.Marshal(items) // strings always encode
		return string(text)
	}
	out := map[string]string{
		"requestheader-username-headers": list(c.RequestHeaderUser), "requestheader-group-headers": list(c.RequestHeaderGroup),
		"requestheader-uid-headers":          list(c.RequestHeaderUID),
		"requestheader-extra-headers-prefix": list(c.RequestHeaderExtra), "requestheader-allowed-names": list(c.RequestHeaderNames),
	}
	for key, file := range map[string]string{"client-ca-file": c.ClientCA, "requestheader-client-ca-file": c.RequestHeaderCA} {
		if text, err := os.ReadFile(file); err == nil {
			out[key] = string(text)
		}
	}
	return out
}
