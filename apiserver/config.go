package apiserver

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/skiff-project/skiff/apiserver/authn/oidc"
	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/core/alloc"
)

// Config is what the process is told. Fields have upstream's names and defaults where upstream has them.
type Config struct {
	// DataDir holds the etcd that runs in this process; EtcdServers names one that runs elsewhere. One of them is set.
	DataDir     string
	EtcdServers []string
	EtcdCA      string
	EtcdCert    string
	EtcdKey     string
	EtcdPrefix  string
	// EtcdSocket lets others reach the etcd of DataDir; EtcdNoSync is for tests.
	EtcdSocket string
	EtcdNoSync bool

	BindAddress      string
	SecurePort       int
	AdvertiseAddress string
	ExternalHostname string
	// ListenFDs are listeners that whoever started the process has opened.
	ListenFDs []int
	// Listeners are further ones, for tests.
	Listeners []net.Listener

	// CertDir holds what the following files do not name. What is missing there is made (package certs).
	CertDir               string
	TLSCert, TLSKey       string
	ClientCA              string
	KubeletCert           string
	KubeletKey            string
	KubeletCA             string
	KubeletTimeout        time.Duration
	ProxyClientCert       string
	ProxyClientKey        string
	RequestHeaderCA       string
	RequestHeaderNames    []string
	RequestHeaderUser     []string
	RequestHeaderUID      []string
	RequestHeaderGroup    []string
	RequestHeaderExtra    []string
	ServiceAccountKeys    []string
	ServiceAccountSigning string
	ServiceAccountIssuers []string
	ServiceAccountJWKS    string
	APIAudiences          []string
	TokenMaxExpiration    time.Duration
	ExtendTokens          bool
	Anonymous             bool
	// AuthenticationConfig is a file that names issuers whose tokens are taken; OIDC names one by flags. The file is looked
	// at for changes every AuthenticationEvery (0: a minute).
	AuthenticationConfig string
	AuthenticationEvery  time.Duration
	OIDC                 oidc.Flags
	BootstrapTokens      bool

	AuthorizationMode []string
	EnableAdmission   []string
	DisableAdmission  []string
	// AdmissionConfig is a file with configurations of admission rules.
	AdmissionConfig string
	AllowPrivileged bool

	ServiceCIDRs  string
	NodePorts     string
	ClusterDomain string

	EventTTL       time.Duration
	RequestTimeout time.Duration
	MinWatch       time.Duration
	MaxInFlight    int
	MaxMutating    int
	EnableFairness bool
	ShutdownDelay  time.Duration
	CompactEvery   time.Duration

	// EncryptionConfig is a file that says what is encrypted in etcd; EncryptionReload has it looked at, every
	// EncryptionEvery (0: a minute), for changes.
	EncryptionConfig string
	EncryptionReload bool
	EncryptionEvery  time.Duration

	AuditPolicy     string
	AuditLog        string
	AuditMaxSize    int
	AuditMaxBackups int
	AuditMaxAge     int
	AuditCompress   bool

	Profiling bool

	// ProxyAllowed says which addresses proxy requests may go to, for tests. Default: nodeproxy's.
	ProxyAllowed func(netip.Addr) bool
	// Kinds are the kinds to serve. Default: all.
	Kinds []*kinds.Kind
	Log   *slog.Logger
}

// Defaults are upstream's, but for the folder of certificates and the address range of Services.
func Defaults() Config {
	return Config{
		DataDir: "/var/lib/skiff/etcd", EtcdPrefix: "/registry",
		BindAddress: "0.0.0.0", SecurePort: 6443,
		CertDir:               "/var/lib/skiff/pki",
		KubeletTimeout:        5 * time.Second,
		RequestHeaderUser:     []string{"X-Remote-User"},
		RequestHeaderUID:      []string{"X-Remote-Uid"},
		RequestHeaderGroup:    []string{"X-Remote-Group"},
		RequestHeaderExtra:    []string{"X-Remote-Extra-"},
		RequestHeaderNames:    []string{"front-proxy-client"},
		ServiceAccountIssuers: []string{"https://kubernetes.default.svc.cluster.local"},
		OIDC:                  oidc.Flags{UsernameClaim: "sub", SigningAlgs: []string{"RS256"}},
		ExtendTokens:          true, Anonymous: true, BootstrapTokens: true,
		AuthorizationMode: []string{"Node", "RBAC"},
		AllowPrivileged:   true,
		ServiceCIDRs:      "10.96.0.0/16",
		NodePorts:         "30000-32767",
		ClusterDomain:     "cluster.local",
		EventTTL:          time.Hour, RequestTimeout: time.Minute, MinWatch: 30 * time.Minute,
		MaxInFlight: 400, MaxMutating: 200, EnableFairness: true,
		CompactEvery: 5 * time.Minute,
		AuditMaxSize: 100,
		Profiling:    true,
	}
}

// AddFlags declares the flags.
func (c *Config) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&c.DataDir, "data-dir", c.DataDir, "folder of the etcd that runs inside this process")
	f.StringSliceVar(&c.EtcdServers, "etcd-servers", c.EtcdServers, "URLs of an etcd that runs elsewhere, comma separated; then none runs inside")
	f.StringVar(&c.EtcdCA, "etcd-cafile", c.EtcdCA, "CA of the etcd servers")
	f.StringVar(&c.EtcdCert, "etcd-certfile", c.EtcdCert, "client certificate for etcd")
	f.StringVar(&c.EtcdKey, "etcd-keyfile", c.EtcdKey, "key of the client certificate for etcd")
	f.StringVar(&c.EtcdPrefix, "etcd-prefix", c.EtcdPrefix, "prefix of all keys in etcd")
	f.StringVar(&c.EtcdSocket, "etcd-socket", c.EtcdSocket, "unix socket on which the etcd inside this process is reached by others")
	f.StringVar(&c.BindAddress, "bind-address", c.BindAddress, "address to listen on")
	f.IntVar(&c.SecurePort, "secure-port", c.SecurePort, "port to listen on; 0 listens on none but --listen-fds")
	f.StringVar(&c.AdvertiseAddress, "advertise-address", c.AdvertiseAddress, "address at which the cluster reaches this server; default: --bind-address, or the host's first")
	f.StringVar(&c.ExternalHostname, "external-hostname", c.ExternalHostname, "host name for URLs that this server gives out")
	f.IntSliceVar(&c.ListenFDs, "listen-fds", c.ListenFDs, "numbers of inherited file descriptors to listen on, comma separated")
	f.StringVar(&c.CertDir, "cert-dir", c.CertDir, "folder of keys and certificates that no other flag names; what is missing there is made")
	f.StringVar(&c.TLSCert, "tls-cert-file", c.TLSCert, "this server's certificate")
	f.StringVar(&c.TLSKey, "tls-private-key-file", c.TLSKey, "key of this server's certificate")
	f.StringVar(&c.ClientCA, "client-ca-file", c.ClientCA, "CAs of client certificates")
	f.StringVar(&c.KubeletCert, "kubelet-client-certificate", c.KubeletCert, "certificate to show to node agents")
	f.StringVar(&c.KubeletKey, "kubelet-client-key", c.KubeletKey, "key of the certificate to show to node agents")
	f.StringVar(&c.KubeletCA, "kubelet-certificate-authority", c.KubeletCA, "CAs of node agents' certificates")
	f.DurationVar(&c.KubeletTimeout, "kubelet-timeout", c.KubeletTimeout, "how long connecting to a node agent may take")
	f.StringVar(&c.ProxyClientCert, "proxy-client-cert-file", c.ProxyClientCert, "certificate to show to servers behind this one")
	f.StringVar(&c.ProxyClientKey, "proxy-client-key-file", c.ProxyClientKey, "key of the certificate to show to servers behind this one")
	f.StringVar(&c.RequestHeaderCA, "requestheader-client-ca-file", c.RequestHeaderCA, "CAs of front proxies, which may name users in headers")
	f.StringSliceVar(&c.RequestHeaderNames, "requestheader-allowed-names", c.RequestHeaderNames, "common names of front proxies; empty allows all")
	f.StringSliceVar(&c.RequestHeaderUser, "requestheader-username-headers", c.RequestHeaderUser, "headers of front proxies for the user")
	f.StringSliceVar(&c.RequestHeaderUID, "requestheader-uid-headers", c.RequestHeaderUID, "headers of front proxies for the user's UID")
	f.StringSliceVar(&c.RequestHeaderGroup, "requestheader-group-headers", c.RequestHeaderGroup, "headers of front proxies for groups")
	f.StringSliceVar(&c.RequestHeaderExtra, "requestheader-extra-headers-prefix", c.RequestHeaderExtra, "prefixes of front proxies' headers for extra information")
	f.StringArrayVar(&c.ServiceAccountKeys, "service-account-key-file", c.ServiceAccountKeys, "keys that verify service account tokens; may be given several times")
	f.StringVar(&c.ServiceAccountSigning, "service-account-signing-key-file", c.ServiceAccountSigning, "key that signs service account tokens")
	f.StringArrayVar(&c.ServiceAccountIssuers, "service-account-issuer", c.ServiceAccountIssuers, "issuer of service account tokens; further ones are accepted")
	f.StringVar(&c.ServiceAccountJWKS, "service-account-jwks-uri", c.ServiceAccountJWKS, "where others find the keys that verify service account tokens")
	f.StringSliceVar(&c.APIAudiences, "api-audiences", c.APIAudiences, "audiences of this server; default: the issuers")
	f.DurationVar(&c.TokenMaxExpiration, "service-account-max-token-expiration", c.TokenMaxExpiration, "longest life of a service account token; 0 means no limit")
	f.BoolVar(&c.ExtendTokens, "service-account-extend-token-expiration", c.ExtendTokens, "let the tokens of pods live for a year, for programs that read them once")
	f.BoolVar(&c.Anonymous, "anonymous-auth", c.Anonymous, "let requests without credentials in as system:anonymous")
	f.StringVar(&c.AuthenticationConfig, "authentication-config", c.AuthenticationConfig, "AuthenticationConfiguration: whose tokens are taken, and what they mean")
	f.StringVar(&c.OIDC.IssuerURL, "oidc-issuer-url", c.OIDC.IssuerURL, "OpenID Connect issuer whose tokens are taken")
	f.StringVar(&c.OIDC.ClientID, "oidc-client-id", c.OIDC.ClientID, "audience that such tokens must have")
	f.StringVar(&c.OIDC.CAFile, "oidc-ca-file", c.OIDC.CAFile, "CA of the issuer's server; default: the host's")
	f.StringVar(&c.OIDC.UsernameClaim, "oidc-username-claim", c.OIDC.UsernameClaim, "claim that is the user's name")
	f.StringVar(&c.OIDC.UsernamePrefix, "oidc-username-prefix", c.OIDC.UsernamePrefix, "what comes before the name; default: the issuer and #, but for email; - for nothing")
	f.StringVar(&c.OIDC.GroupsClaim, "oidc-groups-claim", c.OIDC.GroupsClaim, "claim that is the user's groups")
	f.StringVar(&c.OIDC.GroupsPrefix, "oidc-groups-prefix", c.OIDC.GroupsPrefix, "what comes before each group")
	f.StringSliceVar(&c.OIDC.SigningAlgs, "oidc-signing-algs", c.OIDC.SigningAlgs, "algorithms that such tokens may be signed with")
	f.StringToStringVar(&c.OIDC.RequiredClaims, "oidc-required-claim", c.OIDC.RequiredClaims, "claim=value that such tokens must have; may be given several times")
	f.BoolVar(&c.BootstrapTokens, "enable-bootstrap-token-auth", c.BootstrapTokens, "take the bootstrap tokens in kube-system")
	f.StringSliceVar(&c.AuthorizationMode, "authorization-mode", c.AuthorizationMode, "who decides: Node, RBAC, or AlwaysAllow")
	f.StringSliceVar(&c.EnableAdmission, "enable-admission-plugins", c.EnableAdmission, "admission rules besides the default ones")
	f.StringSliceVar(&c.DisableAdmission, "disable-admission-plugins", c.DisableAdmission, "default admission rules to leave out")
	f.StringVar(&c.AdmissionConfig, "admission-control-config-file", c.AdmissionConfig, "AdmissionConfiguration: configurations of admission rules")
	f.BoolVar(&c.AllowPrivileged, "allow-privileged", c.AllowPrivileged, "accepted and ignored: privileged containers are governed by pod security levels")
	f.StringVar(&c.ServiceCIDRs, "service-cluster-ip-range", c.ServiceCIDRs, "address ranges of Services, one or two, comma separated")
	f.StringVar(&c.NodePorts, "service-node-port-range", c.NodePorts, "ports of nodes for Services")
	f.DurationVar(&c.EventTTL, "event-ttl", c.EventTTL, "how long Events are kept")
	f.DurationVar(&c.RequestTimeout, "request-timeout", c.RequestTimeout, "longest time of a request that is not long-running")
	f.IntVar(&c.MaxInFlight, "max-requests-inflight", c.MaxInFlight, "requests at once, together with --max-mutating-requests-inflight")
	f.IntVar(&c.MaxMutating, "max-mutating-requests-inflight", c.MaxMutating, "see --max-requests-inflight")
	f.BoolVar(&c.EnableFairness, "enable-priority-and-fairness", c.EnableFairness, "share the server among users by FlowSchemas")
	f.DurationVar(&c.CompactEvery, "etcd-compaction-interval", c.CompactEvery, "how often history is dropped")
	f.DurationVar(&c.ShutdownDelay, "shutdown-delay-duration", c.ShutdownDelay, "how long a stop waits while /readyz fails already")
	f.StringVar(&c.EncryptionConfig, "encryption-provider-config", c.EncryptionConfig, "EncryptionConfiguration: what is encrypted in etcd, and how")
	f.BoolVar(&c.EncryptionReload, "encryption-provider-config-automatic-reload", c.EncryptionReload, "take over changes of the encryption configuration")
	f.StringVar(&c.AuditPolicy, "audit-policy-file", c.AuditPolicy, "what the audit log holds")
	f.StringVar(&c.AuditLog, "audit-log-path", c.AuditLog, "file of the audit log; - for the standard output")
	f.IntVar(&c.AuditMaxSize, "audit-log-maxsize", c.AuditMaxSize, "megabytes after which a new audit log begins")
	f.IntVar(&c.AuditMaxBackups, "audit-log-maxbackup", c.AuditMaxBackups, "old audit logs to keep; 0 keeps all")
	f.IntVar(&c.AuditMaxAge, "audit-log-maxage", c.AuditMaxAge, "days to keep old audit logs; 0 keeps them for ever")
	f.BoolVar(&c.AuditCompress, "audit-log-compress", c.AuditCompress, "pack old audit logs with gzip")
	f.BoolVar(&c.Profiling, "profiling", c.Profiling, "serve /debug/pprof to those who are authorized")
}

// ranges are parsed flags.
type ranges struct {
	services  []netip.Prefix
	addresses *alloc.ClusterIPs
	ports     *alloc.NodePorts
}

func (c *Config) ranges() (out ranges, err error) {
	var texts []string
	for text := range strings.SplitSeq(c.ServiceCIDRs, ",") {
		text = strings.TrimSpace(text)
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return out, fmt.Errorf("--service-cluster-ip-range: %w", err)
		}
		if p.Masked() != p {
			return out, fmt.Errorf("--service-cluster-ip-range: %s is not the first address of its range, which is %s", p, p.Masked())
		}
		out.services, texts = append(out.services, p), append(texts, text)
	}
	if out.addresses, err = alloc.NewClusterIPs(texts...); err != nil {
		return out, fmt.Errorf("--service-cluster-ip-range: %w", err)
	}
	if out.ports, err = alloc.NewNodePorts(c.NodePorts); err != nil {
		return out, fmt.Errorf("--service-node-port-range: %w", err)
	}
	return out, nil
}

func (c *Config) check() error {
	for _, mode := range c.AuthorizationMode {
		if !slices.Contains([]string{"Node", "RBAC", "AlwaysAllow"}, mode) {
			return fmt.Errorf("--authorization-mode: %q is none of Node, RBAC, AlwaysAllow", mode)
		}
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return fmt.Errorf("--tls-cert-file and --tls-private-key-file go together")
	}
	if c.EncryptionReload && c.EncryptionConfig == "" {
		return fmt.Errorf("--encryption-provider-config-automatic-reload needs --encryption-provider-config")
	}
	if c.AuthenticationConfig != "" && c.OIDC.Set() {
		return fmt.Errorf("authentication-config file and oidc-* flags are mutually exclusive")
	}
	if len(c.ServiceAccountIssuers) == 0 {
		return fmt.Errorf("--service-account-issuer is missing")
	}
	return nil
}

// advertised is the address that the cluster is told.
func (c *Config) advertised() (netip.Addr, error) {
	for _, text := range []string{c.AdvertiseAddress, c.BindAddress} {
		if text == "" {
			continue
		}
		a, err := netip.ParseAddr(text)
		if err != nil {
			return a, fmt.Errorf("%q is not an IP address: %w", text, err)
		}
		if !a.IsUnspecified() {
			return a, nil
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("find this host's address: %w", err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsGlobalUnicast() {
			return p.Addr(), nil
		}
	}
	return netip.MustParseAddr("127.0.0.1"), nil
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return strings.ToLower(name)
}
