// Package bootstrap gives a new node its identity: with a bootstrap token it asks the cluster to sign a client certificate for
// system:node:NAME, waits for it, and writes a kubeconfig that carries it. A certificate that is about to end is asked for anew.
package bootstrap

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/skiff-project/skiff/pkg/certs"
)

// Config of Ensure.
type Config struct {
	Bootstrap  string // kubeconfig with the token
	Kubeconfig string // the node's own, written here
	NodeName   string
	Log        *slog.Logger
	// Poll is how often an unanswered request is looked at; 1 s when zero.
	Poll time.Duration
}

// Ensure returns once the node has a kubeconfig with a certificate that is good for a while.
func Ensure(ctx context.Context, c Config) error {
	if c.Kubeconfig == "" {
		return errors.New("--bootstrap-kubeconfig needs --kubeconfig, where the node's own is written")
	}
	if usable(c.Kubeconfig) {
		return nil
	}
	config, err := clientcmd.LoadFromFile(c.Bootstrap)
	if err != nil {
		return fmt.Errorf("read bootstrap kubeconfig: %w", err)
	}
	restConfig, err := clientcmd.NewDefaultClientConfig(*config, nil).ClientConfig()
	if err != nil {
		return fmt.Errorf("bootstrap kubeconfig %s: %w", c.Bootstrap, err)
	}
	key, cert, err := request(ctx, c, restConfig)
	if err != nil {
		return fmt.Errorf("certificate for node %s: %w", c.NodeName, err)
	}
	return save(c.Kubeconfig, config, restConfig, c.NodeName, key, cert)
}

// usable says whether a kubeconfig has a certificate that does not end within a tenth of its life.
func usable(path string) bool {
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return false
	}
	data := config.CertData
	if len(data) == 0 {
		if data, err = os.ReadFile(config.CertFile); err != nil {
			return false
		}
	}
	chain, err := certs.ParseCerts(data)
	if err != nil || len(chain) == 0 {
		return false
	}
	life := chain[0].NotAfter.Sub(chain[0].NotBefore)
	return time.Now().Before(chain[0].NotAfter.Add(-life / 10))
}

func request(ctx context.Context, c Config, restConfig *rest.Config) (key, cert []byte, err error) {
	client, err := kubernetes.NewForConfig(restConfig)
	if err != nil {
		return nil, nil, err
	}
	private, err := certs.NewKey()
	if err != nil {
		return nil, nil, err
	}
	if key, err = certs.EncodeKey(private); err != nil {
		return nil, nil, err
	}
	text, err := certs.NewRequest(private, certs.Leaf{CommonName: "system:node:" + c.NodeName, Organization: []string{"system:nodes"}})
	if err != nil {
		return nil, nil, err
	}
	spec := certificatesv1.CertificateSigningRequestSpec{Request: text, SignerName: certificatesv1.KubeAPIServerClientKubeletSignerName,
		Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth}}
	cert, err = Sign(ctx, client, "node-csr-", spec, c.Poll, c.Log)
	return key, cert, err
}

// Sign has the cluster sign a request and waits for the certificate.
func Sign(ctx context.Context, client kubernetes.Interface, prefix string, spec certificatesv1.CertificateSigningRequestSpec, poll time.Duration, log *slog.Logger) ([]byte, error) {
	if poll == 0 {
		poll = time.Second
	}
	csrs := client.CertificatesV1().CertificateSigningRequests()
	csr, err := create(ctx, func() (*certificatesv1.CertificateSigningRequest, error) {
		return csrs.Create(ctx, &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{GenerateName: prefix}, Spec: spec}, metav1.CreateOptions{})
	}, poll, log)
	if err != nil {
		return nil, err
	}
	log.Info("certificate requested", "request", csr.Name, "signer", spec.SignerName)
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		for _, cond := range csr.Status.Conditions {
			if cond.Type == certificatesv1.CertificateDenied || cond.Type == certificatesv1.CertificateFailed {
				return nil, fmt.Errorf("request %s: %s: %s", csr.Name, cond.Reason, cond.Message)
			}
		}
		if len(csr.Status.Certificate) > 0 {
			if block, _ := pem.Decode(csr.Status.Certificate); block == nil {
				return nil, fmt.Errorf("request %s: the answer holds no certificate", csr.Name)
			} else if _, err := x509.ParseCertificate(block.Bytes); err != nil {
				return nil, fmt.Errorf("request %s: %w", csr.Name, err)
			}
			return csr.Status.Certificate, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
		if got, err := csrs.Get(ctx, csr.Name, metav1.GetOptions{}); err == nil {
			csr = got
		}
	}
}

// create tries until the API server answers: node and server may be starting together.
func create[T any](ctx context.Context, f func() (T, error), poll time.Duration, log *slog.Logger) (T, error) {
	for {
		made, err := f()
		if err == nil {
			return made, nil
		}
		log.Warn("certificate not requested, trying again", "err", err)
		select {
		case <-ctx.Done():
			return made, ctx.Err()
		case <-time.After(poll):
		}
	}
}

func save(path string, from *clientcmdapi.Config, restConfig *rest.Config, node string, key, cert []byte) error {
	context := from.Contexts[from.CurrentContext]
	cluster := &clientcmdapi.Cluster{Server: restConfig.Host, CertificateAuthorityData: restConfig.CAData}
	if context != nil && from.Clusters[context.Cluster] != nil {
		cluster = from.Clusters[context.Cluster].DeepCopy()
	}
	if len(cluster.CertificateAuthorityData) == 0 && cluster.CertificateAuthority != "" {
		data, err := os.ReadFile(cluster.CertificateAuthority)
		if err != nil {
			return fmt.Errorf("authority of the cluster: %w", err)
		}
		cluster.CertificateAuthority, cluster.CertificateAuthorityData = "", data
	}
	out := clientcmdapi.NewConfig()
	out.Clusters["default"] = cluster
	out.AuthInfos["node"] = &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
	out.Contexts["default"] = &clientcmdapi.Context{Cluster: "default", AuthInfo: "node", Namespace: corev1.NamespaceDefault}
	out.CurrentContext = "default"
	data, err := clientcmd.Write(*out)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := certs.WriteFile(path, data, 0o600); err != nil {
		return fmt.Errorf("write kubeconfig of node %s: %w", node, err)
	}
	return nil
}
