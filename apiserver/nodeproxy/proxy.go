package nodeproxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilproxy "k8s.io/apimachinery/pkg/util/proxy"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/routes"
	"github.com/skiff-project/skiff/apiserver/storage"
	"github.com/skiff-project/skiff/apiserver/watchcache"
	"github.com/skiff-project/skiff/apiserver/wire"
	"github.com/skiff-project/skiff/pkg/linger"
)

// Config says how to reach the cluster.
type Config struct {
	// Readers finds the cache of a kind.
	Readers func(gr schema.GroupResource) watchcache.Reader
	// Authz is asked whether a connection that was opened by GET could have been opened by POST.
	Authz interface {
		Decide(ctx context.Context, access kinds.Access) (kinds.Decision, string, error)
	}
	// Certificate is shown to node agents; CAs are those of theirs.
	Certificate func() *tls.Certificate
	CAs         *x509.CertPool
	// AddressTypes are the kinds of node addresses to use, the best first. Default: InternalIP, ExternalIP, Hostname.
	AddressTypes []corev1.NodeAddressType
	// DialTimeout bounds connecting. Default: 5 s.
	DialTimeout time.Duration
	// Allowed says whether a proxy request may go to an address. Default: all that are no loopback, link-local or
	// multicast ones, so that nobody reaches what listens on this host alone.
	Allowed func(netip.Addr) bool
	Log     *slog.Logger
}

// Proxy implements routes.Connector.
type Proxy struct {
	cfg Config
	// nodes trusts the cluster's CA and shows this server's certificate; loose verifies no server, as upstream's does:
	// pods have certificates of their own making.
	nodes, skipVerify, loose *http.Transport
}

// New makes a connector.
func New(cfg Config) *Proxy {
	if cfg.AddressTypes == nil {
		cfg.AddressTypes = []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP, corev1.NodeHostName}
	}
	if cfg.DialTimeout == 0 {
		cfg.DialTimeout = 5 * time.Second
	}
	if cfg.Allowed == nil {
		cfg.Allowed = netip.Addr.IsGlobalUnicast
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	p := &Proxy{cfg: cfg}
	certificate := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cfg.Certificate(), nil }
	p.nodes = p.transport(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.CAs, GetClientCertificate: certificate})
	p.skipVerify = p.transport(&tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, GetClientCertificate: certificate})
	p.loose = p.transport(&tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true})
	return p
}

// transport speaks HTTP/1.1, which alone can switch protocols, and leaves compression to client and server.
func (p *Proxy) transport(cfg *tls.Config) *http.Transport {
	dialer := &net.Dialer{Timeout: p.cfg.DialTimeout, KeepAlive: 30 * time.Second}
	return &http.Transport{TLSClientConfig: cfg, DialContext: dialer.DialContext, TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second, DisableCompression: true}
}

// Connect implements routes.Connector.
func (p *Proxy) Connect(w http.ResponseWriter, r *http.Request, c *routes.Connection) {
	var err error
	switch c.Connect {
	case "log":
		err = p.log(w, r, c)
	case "exec", "attach", "portforward":
		err = p.stream(w, r, c)
	case "proxy":
		err = p.proxy(w, r, c)
	default:
		err = apierrors.NewInternalError(fmt.Errorf("connection %q is unknown", c.Connect))
	}
	if err != nil {
		wire.WriteError(w, r, err)
	}
}

// get reads an object fresh: what was made a moment ago must be found.
func (p *Proxy) get(ctx context.Context, resource, namespace, name string) (runtime.Object, error) {
	gr := schema.ParseGroupResource(resource)
	found, err := p.cfg.Readers(gr).Get(ctx, namespace, name, watchcache.Latest)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, apierrors.NewNotFound(gr, name)
	}
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return found.Shared()
}

func (p *Proxy) pod(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	obj, err := p.get(ctx, "pods", namespace, name)
	if err != nil {
		return nil, err
	}
	return obj.(*corev1.Pod), nil
}

const agentPort = 10250

// agent is where a node's agent listens.
func (p *Proxy) agent(ctx context.Context, node string) (host, port string, err error) {
	obj, err := p.get(ctx, "nodes", "", node)
	if err != nil {
		return "", "", err
	}
	n := obj.(*corev1.Node)
	number := int32(agentPort)
	if own := n.Status.DaemonEndpoints.KubeletEndpoint.Port; own != 0 {
		number = own
	}
	for _, kind := range p.cfg.AddressTypes {
		for _, a := range n.Status.Addresses {
			if a.Type == kind {
				return a.Address, fmt.Sprint(number), nil
			}
		}
	}
	return "", "", apierrors.NewInternalError(fmt.Errorf("no preferred addresses found; known addresses: %v", n.Status.Addresses))
}

// through passes a request on. wrap rewrites links and redirects in the answer so that they lead through this server.
func (p *Proxy) through(w http.ResponseWriter, r *http.Request, location *url.URL, transport http.RoundTripper, wrap, upgrade bool) {
	if upgrade {
		w = linger.Writer(w) // the client may still send when the other side has ended
	}
	h := utilproxy.NewUpgradeAwareHandler(location, transport, wrap, upgrade, responder{p.cfg.Log})
	h.ServeHTTP(w, r)
}

// responder answers when the other side cannot be reached.
type responder struct{ log *slog.Logger }

func (e responder) Error(w http.ResponseWriter, r *http.Request, err error) {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		e.log.Debug("connection failed", "path", r.URL.Path, "err", err)
		var netErr net.Error
		if errors.As(err, &netErr) {
			err = apierrors.NewServiceUnavailable("error trying to reach service: " + err.Error())
		} else {
			err = apierrors.NewInternalError(err)
		}
	}
	wire.WriteError(w, r, err)
}
