package certs

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// renewBefore is how long before its end a certificate is made anew.
const renewBefore = 30 * 24 * time.Hour

// Config says what the cluster's certificates must name.
type Config struct {
	// Names are DNS names and IP addresses at which the API server is reached, beside those that it always has:
	// localhost, the loopback addresses, ServiceIPs and the names of default/kubernetes.
	Names []string
	// ServiceIPs are the addresses of default/kubernetes. Default: 10.96.0.1.
	ServiceIPs []string
	// Domain is the cluster's DNS domain. Default: cluster.local.
	Domain string
	// Server is the URL in the kubeconfigs. Empty: none are made.
	Server string
	// KeepServer leaves kubeconfigs alone that name another server: whoever made them knows from where they are used.
	KeepServer bool
	// ClusterName is the cluster's name in the kubeconfigs. Default: kubernetes.
	ClusterName string
	// Nodes get a node-NAME.conf each. A real node joins by a bootstrap token instead; machines on this host need not.
	Nodes []string
}

func (c *Config) setDefaults() {
	if len(c.ServiceIPs) == 0 {
		c.ServiceIPs = []string{"10.96.0.1"}
	}
	if c.Domain == "" {
		c.Domain = "cluster.local"
	}
	if c.ClusterName == "" {
		c.ClusterName = "kubernetes"
	}
}

// ServerNames are all names of the API server's own certificate.
func (c Config) ServerNames() []string {
	c.setDefaults()
	names := []string{"localhost", "127.0.0.1", "::1",
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + c.Domain}
	names = append(names, c.ServiceIPs...)
	names = append(names, c.Names...)
	slices.Sort(names)
	return slices.Compact(names)
}

// Cluster is the folder of a cluster's keys.
type Cluster struct {
	Dir string
	// CA signs clients, servers and nodes; FrontProxyCA signs who may name users by header.
	CA, FrontProxyCA *Authority
	config           Config
}

// EnsureCluster makes what is missing in dir and returns the folder. It may be called at every start, and by several
// processes at once: a lock on the folder makes them take turns.
func EnsureCluster(dir string, config Config) (*Cluster, error) {
	config.setDefaults()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("certificate folder: %w", err)
	}
	unlock, err := lock(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	c := &Cluster{Dir: dir, config: config}
	// The RSA key takes a tenth of a second, more than all else together.
	saKey := make(chan error, 1)
	go func() { saKey <- c.ensureServiceAccountKey() }()
	err = c.ensureCertificates()
	if saErr := <-saKey; err == nil {
		err = saErr
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Cluster) ensureCertificates() (err error) {
	if c.CA, err = c.ensureAuthority("ca", "kubernetes"); err != nil {
		return err
	}
	if c.FrontProxyCA, err = c.ensureAuthority("front-proxy-ca", "front-proxy-ca"); err != nil {
		return err
	}
	for _, pair := range []struct {
		name string
		ca   *Authority
		leaf Leaf
	}{
		{"apiserver", c.CA, Leaf{CommonName: "kube-apiserver", Server: true, Names: c.config.ServerNames()}},
		{"apiserver-kubelet-client", c.CA, Leaf{CommonName: "kube-apiserver-kubelet-client", Organization: []string{"kubeadm:cluster-admins", "system:masters"}, Client: true}},
		{"front-proxy-client", c.FrontProxyCA, Leaf{CommonName: "front-proxy-client", Client: true}},
	} {
		if err := c.ensurePair(pair.name, pair.ca, pair.leaf); err != nil {
			return err
		}
	}
	if c.config.Server == "" {
		return nil
	}
	return c.ensureKubeconfigs()
}

func (c *Cluster) ensureKubeconfigs() error {
	users := map[string]Leaf{
		"admin":              {CommonName: "kubernetes-admin", Organization: []string{"system:masters"}},
		"controller-manager": {CommonName: "system:kube-controller-manager"},
		"scheduler":          {CommonName: "system:kube-scheduler"},
		"proxy":              {CommonName: "system:kube-proxy"},
	}
	for name, leaf := range users {
		if err := c.EnsureKubeconfig(name+".conf", c.config.Server, leaf); err != nil {
			return err
		}
	}
	for _, node := range c.config.Nodes {
		if err := c.EnsureNode(node); err != nil {
			return err
		}
	}
	return nil
}

// EnsureNode makes node-NAME.conf for a node that did not exist when the folder was made.
func (c *Cluster) EnsureNode(name string) error {
	return c.EnsureKubeconfig("node-"+name+".conf", c.config.Server,
		Leaf{CommonName: "system:node:" + name, Organization: []string{"system:nodes"}})
}

// EnsureKubeconfig makes a kubeconfig for one user in the folder, unless there is one that is still good.
func (c *Cluster) EnsureKubeconfig(file, server string, leaf Leaf) error {
	leaf.Client = true
	file = c.Path(file)
	have, err := readKubeconfig(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case have == nil: // somebody's own
		return nil
	case (have.Server == server || c.config.KeepServer) && bytes.Equal(have.CA, c.CA.CertPEM) && len(c.flaws(have.Pair.Cert, c.CA, leaf)) == 0:
		return os.Chmod(file, 0o600)
	}
	if have != nil && c.config.KeepServer {
		server = have.Server
	}
	pair, err := c.CA.Issue(leaf)
	if err != nil {
		return fmt.Errorf("kubeconfig %s: %w", file, err)
	}
	return Kubeconfig{Cluster: c.config.ClusterName, Server: server, CA: c.CA.CertPEM, User: leaf.CommonName, Pair: pair}.Write(file)
}

// Path is a file of the folder.
func (c *Cluster) Path(name string) string { return filepath.Join(c.Dir, name) }

// ensureAuthority loads or makes a CA. A certificate without a key is a CA kept elsewhere; a key without a certificate
// is an accident that only its owner can clear up.
func (c *Cluster) ensureAuthority(name, commonName string) (*Authority, error) {
	certFile, keyFile := c.Path(name+".crt"), c.Path(name+".key")
	haveCert, haveKey, err := exist(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	switch {
	case haveCert && haveKey:
		if err := os.Chmod(keyFile, 0o600); err != nil {
			return nil, err
		}
		return LoadAuthority(certFile, keyFile)
	case haveCert:
		chain, err := LoadCerts(certFile)
		if err != nil {
			return nil, err
		}
		return newAuthority(chain[0].Raw, nil)
	case haveKey:
		return nil, fmt.Errorf("%s is there but its certificate %s is not: put it back, or remove both to make a new CA", keyFile, certFile)
	}
	ca, err := NewAuthority(commonName)
	if err != nil {
		return nil, err
	}
	return ca, writePair(certFile, keyFile, ca.CertPEM, ca)
}

func writePair(certFile, keyFile string, certPEM []byte, ca *Authority) error {
	keyPEM, err := EncodeKey(ca.Key)
	if err != nil {
		return err
	}
	// The certificate goes first: a crash in between leaves a CA without a key, which the next start names plainly
	// ("the CA's key is not here"), and nothing has been signed by it yet.
	if err := WriteFile(certFile, certPEM, 0o644); err != nil {
		return err
	}
	return WriteFile(keyFile, keyPEM, 0o600)
}

func (c *Cluster) ensurePair(name string, ca *Authority, leaf Leaf) error {
	certFile, keyFile := c.Path(name+".crt"), c.Path(name+".key")
	haveCert, haveKey, err := exist(certFile, keyFile)
	if err != nil {
		return err
	}
	if haveCert && haveKey {
		if err := os.Chmod(keyFile, 0o600); err != nil {
			return err
		}
		flaws, err := c.pairFlaws(certFile, keyFile, ca, leaf)
		if err != nil {
			return err
		}
		if len(flaws) == 0 {
			return nil
		}
		if ca.Key == nil {
			return fmt.Errorf("certificate %s %s, and the key of its CA is not in %s to make a new one", certFile, flaws[0], c.Dir)
		}
		// Who else uses the folder may need other names: a new certificate has the old one's, too.
		leaf.Names = withNamesOf(leaf.Names, certFile)
	}
	pair, err := ca.Issue(leaf)
	if err != nil {
		return fmt.Errorf("make %s: %w", certFile, err)
	}
	if err := WriteFile(keyFile, pair.Key, 0o600); err != nil {
		return err
	}
	return WriteFile(certFile, pair.Cert, 0o644)
}

func withNamesOf(want []string, certFile string) []string {
	if len(want) == 0 {
		return want
	}
	out := slices.Clone(want)
	if chain, err := LoadCerts(certFile); err == nil {
		out = append(out, chain[0].DNSNames...)
		for _, ip := range chain[0].IPAddresses {
			out = append(out, ip.String())
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (c *Cluster) pairFlaws(certFile, keyFile string, ca *Authority, leaf Leaf) ([]string, error) {
	certPEM, err := os.ReadFile(certFile)
	if err != nil {
		return nil, err
	}
	key, err := LoadKey(keyFile)
	if err != nil {
		return nil, err
	}
	flaws := c.flaws(certPEM, ca, leaf)
	if chain, err := ParseCerts(certPEM); err == nil && !samePublicKey(chain[0].PublicKey, key.Public()) {
		flaws = append(flaws, "does not belong to its key")
	}
	return flaws, nil
}

// flaws lists why a certificate cannot stay, each as the end of the sentence "certificate F ...".
func (c *Cluster) flaws(certPEM []byte, ca *Authority, leaf Leaf) []string {
	chain, err := ParseCerts(certPEM)
	if err != nil {
		return []string{"cannot be read: " + err.Error()}
	}
	cert := chain[0]
	var out []string
	if time.Until(cert.NotAfter) < renewBefore {
		out = append(out, "ends on "+cert.NotAfter.Format(time.DateOnly))
	}
	if err := signedBy(chain, ca.Cert); err != nil {
		out = append(out, "is not signed by the cluster's CA")
	}
	if cert.Subject.CommonName != leaf.CommonName {
		out = append(out, fmt.Sprintf("is for %q and not for %q", cert.Subject.CommonName, leaf.CommonName))
	}
	for _, name := range leaf.Names {
		if !names(cert, name) {
			out = append(out, "does not name "+name)
		}
	}
	return out
}

// signedBy leaves dates and usages aside: both have their own say above.
func signedBy(chain []*x509.Certificate, ca *x509.Certificate) error {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(ca)
	for _, cert := range chain[1:] {
		between.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between,
		CurrentTime: chain[0].NotBefore.Add(backdate + time.Minute), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err
}

func names(cert *x509.Certificate, name string) bool {
	if ip := net.ParseIP(name); ip != nil {
		return slices.ContainsFunc(cert.IPAddresses, ip.Equal)
	}
	return slices.Contains(cert.DNSNames, name)
}

func (c *Cluster) ensureServiceAccountKey() error {
	keyFile, pubFile := c.Path("sa.key"), c.Path("sa.pub")
	haveKey, havePub, err := exist(keyFile, pubFile)
	if err != nil {
		return err
	}
	if haveKey && havePub || havePub {
		if haveKey {
			return os.Chmod(keyFile, 0o600)
		}
		return nil // verifies only; another server signs
	}
	if !haveKey {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return fmt.Errorf("make service account key: %w", err)
		}
		text, err := EncodeKey(key)
		if err != nil {
			return err
		}
		if err := WriteFile(keyFile, text, 0o600); err != nil {
			return err
		}
	}
	key, err := LoadKey(keyFile)
	if err != nil {
		return err
	}
	public, err := EncodePublicKey(key.Public())
	if err != nil {
		return err
	}
	return WriteFile(pubFile, public, 0o644)
}

func exist(a, b string) (bool, bool, error) {
	var found [2]bool
	for i, file := range []string{a, b} {
		switch _, err := os.Stat(file); {
		case err == nil:
			found[i] = true
		case !errors.Is(err, fs.ErrNotExist):
			return false, false, err
		}
	}
	return found[0], found[1], nil
}

// lock takes the folder's lock, which the kernel lets go with the process.
func lock(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("certificate folder: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock certificate folder %s: %w", dir, err)
	}
	return func() { f.Close() }, nil
}
