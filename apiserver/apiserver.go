package apiserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/admission"
	"github.com/skiff-project/skiff/apiserver/authn"
	"github.com/skiff-project/skiff/apiserver/authn/oidc"
	"github.com/skiff-project/skiff/apiserver/authz"
	"github.com/skiff-project/skiff/apiserver/bootstrap"
	"github.com/skiff-project/skiff/apiserver/discovery"
	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/all"
	"github.com/skiff-project/skiff/apiserver/openapi"
	"github.com/skiff-project/skiff/apiserver/registry"
	"github.com/skiff-project/skiff/apiserver/routes"
	"github.com/skiff-project/skiff/apiserver/server"
	"github.com/skiff-project/skiff/apiserver/server/audit"
	"github.com/skiff-project/skiff/apiserver/server/fairness"
	"github.com/skiff-project/skiff/apiserver/storage"
	"github.com/skiff-project/skiff/apiserver/watchcache"
	"github.com/skiff-project/skiff/pkg/certs"
	"github.com/skiff-project/skiff/pkg/run"
)

// Server is an API server that is ready to run.
type Server struct {
	cfg       Config
	log       *slog.Logger
	ranges    ranges
	advertise netip.Addr
	listeners []net.Listener
	files     credentials
	audit     *audit.Log
	metrics   *prometheus.Registry
	// tokens is nil if nobody else's tokens are taken.
	tokens *oidc.Tokens
	// rules are configurations of admission rules.
	rules admission.Configurations
}

// New checks the configuration, makes what certificates are missing, and opens the listeners.
func New(cfg Config) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Kinds == nil {
		cfg.Kinds = all.All
	}
	if len(cfg.APIAudiences) == 0 {
		cfg.APIAudiences = cfg.ServiceAccountIssuers
	}
	s := &Server{cfg: cfg, log: cfg.Log, metrics: prometheus.NewRegistry()}
	err := cfg.check()
	if err == nil {
		s.rules, err = admission.ReadConfigurations(cfg.AdmissionConfig)
	}
	if err == nil {
		_, err = admission.Choose(&admission.Objects{Configs: s.rules}, cfg.EnableAdmission, cfg.DisableAdmission)
	}
	if err == nil {
		s.ranges, err = cfg.ranges()
	}
	if err == nil {
		s.advertise, err = cfg.advertised()
	}
	if err == nil {
		err = s.cfg.fillIn(s.advertise, s.ranges.services)
	}
	if err == nil {
		err = s.files.load(&s.cfg)
	}
	if err == nil {
		err = s.openTokens()
	}
	if err == nil {
		err = s.openAudit()
	}
	if err == nil {
		s.listeners, err = s.cfg.listen()
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// openTokens reads whose tokens are taken besides our own.
func (s *Server) openTokens() (err error) {
	if s.cfg.AuthenticationConfig == "" && !s.cfg.OIDC.Set() {
		return nil
	}
	s.tokens, err = oidc.New(oidc.Config{File: s.cfg.AuthenticationConfig, Flags: s.cfg.OIDC, Every: s.cfg.AuthenticationEvery,
		Own: s.cfg.ServiceAccountIssuers, Metrics: s.metrics, Log: s.log})
	if err == nil && s.tokens.DecidesAnonymous() && !s.cfg.Anonymous {
		return errors.New("--anonymous-auth flag cannot be set when anonymous field is configured in AuthenticationConfiguration file")
	}
	return err
}

// anonymous says whether a path is open to requests without credentials.
func (s *Server) anonymous(path string) bool {
	if s.tokens == nil {
		return s.cfg.Anonymous
	}
	return s.tokens.Anonymous(path, s.cfg.Anonymous)
}

func (s *Server) openAudit() error {
	if s.cfg.AuditLog == "" {
		return nil
	}
	policy, err := audit.LoadPolicy(s.cfg.AuditPolicy)
	if s.cfg.AuditPolicy == "" {
		policy, err = nil, nil
	}
	if err != nil {
		return err
	}
	s.audit, err = audit.Open(policy, audit.FileConfig{Path: s.cfg.AuditLog, MaxSize: s.cfg.AuditMaxSize, MaxBackups: s.cfg.AuditMaxBackups, MaxAge: s.cfg.AuditMaxAge,
		Compress: s.cfg.AuditCompress})
	if err == nil {
		s.metrics.MustRegister(s.audit.Metrics()...)
	}
	return err
}

// Address is where the cluster reaches the server.
func (s *Server) Address() string {
	return net.JoinHostPort(s.advertise.String(), strconv.Itoa(s.port()))
}

// port is the one that clients are told: that of the flag, or of the first listener.
func (s *Server) port() int {
	if s.cfg.SecurePort != 0 {
		return s.cfg.SecurePort
	}
	if a, ok := s.listeners[0].Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 443
}

// etcd opens the store's client. wait ends when an etcd inside this process dies.
func (s *Server) etcd() (client *clientv3.Client, wait func(context.Context) error, closeAll func(), err error) {
	if len(s.cfg.EtcdServers) > 0 {
		client, err := storage.Dial(storage.ExternalConfig{Log: s.log, Servers: s.cfg.EtcdServers, CAFile: s.cfg.EtcdCA, CertFile: s.cfg.EtcdCert, KeyFile: s.cfg.EtcdKey})
		if err != nil {
			return nil, nil, nil, err
		}
		return client, nil, func() { client.Close() }, nil
	}
	e, err := storage.StartEmbedded(storage.EmbeddedConfig{DataDir: s.cfg.DataDir, Socket: s.cfg.EtcdSocket, NoSync: s.cfg.EtcdNoSync, Log: s.log})
	if err != nil {
		return nil, nil, nil, err
	}
	return e.Client, e.Wait, e.Close, nil
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	paceCollector()
	client, wait, closeEtcd, err := s.etcd()
	if err != nil {
		s.close()
		return err
	}
	defer closeEtcd()
	defer s.audit.Close()
	crypt, err := s.encryption(ctx)
	if err != nil {
		s.close()
		return err
	}
	store := storage.New(client, storage.Config{Prefix: s.cfg.EtcdPrefix, Transform: crypt.transformer()})
	hub := watchcache.NewHub(watchcache.Config{Store: store, Log: s.log})
	front, parts, err := s.assemble(store, hub, crypt)
	if err != nil {
		s.close()
		return err
	}
	group := run.Group{Grace: 15 * time.Second}
	if wait != nil {
		group.Add("etcd", wait)
	}
	group.Add("watch cache", hub.Run)
	group.Add("compaction", storage.NewCompactor(store, s.cfg.CompactEvery, s.log).Run)
	for _, p := range parts {
		group.Add(p.name, p.run)
	}
	group.Add("server", front.Run)
	s.log.Info("API server listens", "address", s.Address(), "version", server.Current.Git)
	return group.Run(ctx)
}

func (s *Server) close() {
	for _, l := range s.listeners {
		l.Close()
	}
}

// part is something that runs beside the listeners.
type part struct {
	name string
	run  func(context.Context) error
}

// assemble joins everything that answers requests.
func (s *Server) assemble(store *storage.Store, hub *watchcache.Hub, crypt *crypt) (*server.Server, []part, error) {
	nodeRules, err := bootstrap.NodeRules()
	if err != nil {
		return nil, nil, err
	}
	var reg *registry.Registry
	readers := func(gr schema.GroupResource) watchcache.Reader {
		if res := reg.Resource(gr); res != nil {
			return res.Reader
		}
		return nil
	}
	modes := s.cfg.AuthorizationMode
	authorizer := authz.New(authz.Config{RBAC: slices.Contains(modes, "RBAC"), Node: slices.Contains(modes, "Node"), NodeRules: nodeRules, Readers: readers})
	reg = registry.New(registry.Config{Store: store, Hub: hub, Kinds: s.kinds(), Log: s.log, MayCreate: mayCreate(authorizer)})

	crypt.serve(reg, hub)

	authenticator, paths, err := s.authentication(reg)
	if err != nil {
		return nil, nil, err
	}
	reg.SetService(kinds.ServiceAuthenticator, authenticator)
	reg.SetService(kinds.ServiceAuthorizer, authorizer)
	reg.SetService(kinds.ServiceClusterIPs, s.ranges.addresses)
	reg.SetService(kinds.ServiceNodePorts, s.ranges.ports)
	connector := s.connector(authorizer, readers)
	chain, err := s.admission(reg, authorizer, readers, connector.DialService)
	if err != nil {
		return nil, nil, err
	}
	reg.SetAdmission(chain)

	disco := discovery.New(reg.Kinds(), s.Address())
	docs := openapi.New(disco)
	maps.Copy(paths, docs.Paths())
	public := &publisher{disco: disco, docs: docs, table: reg.Kinds()}
	aggregator := s.aggregator(reg, readers, public, connector.DialService)
	custom := s.customResources(reg, public, connector.DialService)
	boot := bootstrap.New(bootstrap.Config{Store: reg.Hooks(), Keys: store, Address: s.advertise, Port: int32(s.port()),
		ServiceCIDRs: s.ranges.services, Authentication: s.files.authentication(&s.cfg), Host: hostname(), Log: s.log})
	parts := []part{{"authorization", authorizer.Run}, {"bootstrap", boot.Run}, {"repair of Service addresses", s.repairer(reg.Hooks())},
		{"settling", settle(boot)}, {"memory", returnSlack}, {"custom resources", custom.Run}, {"aggregation", aggregator.Run}}
	if s.tokens != nil {
		parts = append(parts, part{"issuers of tokens", s.tokens.Run})
	}
	if crypt != nil {
		parts = append(parts, part{"encryption", crypt.Run})
	}
	gate, feed := s.fairness(reg, readers)
	if feed != nil {
		parts = append(parts, part{"priority and fairness", feed})
	}
	registerMetrics(s.metrics, reg, hub, gate)
	front := server.New(server.Config{
		Listeners: s.listeners, TLS: serverTLS(s.files.serving), Authn: authenticator, Authz: authorizer, Audit: s.audit, Fair: gate,
		API: aggregator.Handler(routes.New(routes.Config{Registry: reg, MinWatch: s.cfg.MinWatch, Log: s.log,
			Connector: connector, Observe: newWatchMetrics(s.metrics).observe, CatchUp: custom.CatchUp})),
		Discovery: aggregator.Discovery(disco), Paths: paths, Checks: append(s.checks(store, hub, authorizer, boot), crypt.checks()...), Metrics: s.metrics,
		Knows: func(group, version, resource, subresource string) bool {
			res, v := reg.Lookup(schema.GroupVersionResource{Group: group, Version: version, Resource: resource})
			return res != nil && (subresource == "" || res.Kind.Subresource(v, subresource) != nil)
		},
		Timeout: s.cfg.RequestTimeout, Profiling: s.cfg.Profiling, Version: server.Current, Log: s.log,
	})
	return front, parts, nil
}

// kinds is the table, with the lives of Events that a flag sets.
func (s *Server) kinds() []*kinds.Kind {
	out := slices.Clone(s.cfg.Kinds)
	ttl := int64(s.cfg.EventTTL / time.Second)
	for i, k := range out {
		if k.Resource == "events" && k.GVK.Group == "" {
			event := *k
			event.TTL = func(runtime.Object) int64 { return ttl }
			out[i] = &event
		}
	}
	return out
}

// mayCreate asks the authorizer about objects that a PUT or an apply would make.
func mayCreate(a *authz.Authorizer) func(context.Context, *kinds.UserInfo, *kinds.Kind, *kinds.Version, string, string, string) error {
	return func(ctx context.Context, user *kinds.UserInfo, kind *kinds.Kind, version *kinds.Version, subresource, namespace, name string) error {
		access := kinds.Access{User: *user, Verb: "create", Group: version.GVK.Group, Version: version.GVK.Version, Resource: kind.Resource,
			Subresource: subresource, Namespace: namespace, Name: name}
		decision, reason, err := a.Decide(ctx, access)
		if decision == kinds.Allow {
			return nil
		}
		if err != nil {
			return err
		}
		return server.Forbidden(access, reason)
	}
}

// authentication makes what tells users apart, issues tokens, and says to others how to verify them.
func (s *Server) authentication(reg *registry.Registry) (*authn.Authenticator, map[string]http.Handler, error) {
	keys, err := publicKeys(s.cfg.ServiceAccountKeys)
	if err != nil {
		return nil, nil, err
	}
	accounts, err := authn.NewServiceAccounts(s.cfg.ServiceAccountIssuers, keys)
	if err != nil {
		return nil, nil, err
	}
	signing, err := certs.LoadKey(s.cfg.ServiceAccountSigning)
	if err != nil {
		return nil, nil, err
	}
	issuer, err := authn.NewIssuer(authn.IssuerConfig{Issuer: s.cfg.ServiceAccountIssuers[0], Key: signing, Audiences: s.cfg.APIAudiences,
		MaxExpiration: s.cfg.TokenMaxExpiration, NoExtend: !s.cfg.ExtendTokens})
	if err != nil {
		return nil, nil, err
	}
	reg.SetService(kinds.ServiceTokenIssuer, issuer)
	jwks := s.cfg.ServiceAccountJWKS
	if jwks == "" {
		host := s.advertise.String()
		if s.cfg.ExternalHostname != "" {
			host = s.cfg.ExternalHostname
		}
		jwks = "https://" + net.JoinHostPort(host, strconv.Itoa(s.port())) + authn.JWKSPath
	}
	paths, err := authn.OpenID(s.cfg.ServiceAccountIssuers[0], jwks, keys)
	if err != nil {
		return nil, nil, err
	}
	var tokens authn.Tokens
	if s.tokens != nil {
		tokens = s.tokens
	}
	return authn.New(authn.Config{
		Tokens:    tokens,
		ClientCAs: s.files.clientCAs.get,
		FrontProxy: &authn.FrontProxy{CAs: s.files.frontProxyCAs.get, AllowedNames: s.cfg.RequestHeaderNames,
			Headers: authn.Headers{User: s.cfg.RequestHeaderUser, UID: s.cfg.RequestHeaderUID, Group: s.cfg.RequestHeaderGroup, ExtraPrefix: s.cfg.RequestHeaderExtra}},
		ServiceAccounts: accounts, BootstrapTokens: s.cfg.BootstrapTokens, Anonymous: s.anonymous,
		Store: reg.Hooks, Audiences: s.cfg.APIAudiences, Log: s.log,
	}), paths, nil
}

// fairness makes the gate, and what keeps it as the cluster's objects say.
func (s *Server) fairness(reg *registry.Registry, readers authz.Readers) (*fairness.Gate, func(context.Context) error) {
	if !s.cfg.EnableFairness {
		return nil, nil
	}
	gate := fairness.New(s.cfg.MaxInFlight + s.cfg.MaxMutating)
	schemas, levels, err := bootstrap.FlowControl()
	if err != nil {
		s.log.Error("default flow schemas cannot be read", "err", err)
		return gate, nil
	}
	gate.Configure(schemas, levels)
	const group = "flowcontrol.apiserver.k8s.io"
	fs := readers(schema.GroupResource{Group: group, Resource: "flowschemas"})
	pl := readers(schema.GroupResource{Group: group, Resource: "prioritylevelconfigurations"})
	if fs == nil || pl == nil {
		return gate, nil
	}
	return gate, fairness.Feed{Gate: gate, Schemas: fs, Levels: pl, Status: applyCondition(reg)}.Run
}

// checks are the lines of /readyz.
func (s *Server) checks(store *storage.Store, hub *watchcache.Hub, authorizer *authz.Authorizer, boot *bootstrap.Bootstrap) []server.Check {
	ping := func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		_, err := store.Revision(ctx)
		return err
	}
	out := []server.Check{
		{Name: "etcd", Check: ping},
		{Name: "etcd-readiness", ReadyOnly: true, Check: ping},
		{Name: "informer-sync", ReadyOnly: true, Check: func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			if err := hub.Ready(ctx); err != nil {
				return err
			}
			select {
			case <-authorizer.Synced():
				return nil
			default:
				return errors.New("roles are not loaded yet")
			}
		}},
	}
	for _, step := range bootstrap.Steps {
		out = append(out, server.Check{Name: "poststarthook/" + step, Check: func(context.Context) error {
			if boot.Done(step) {
				return nil
			}
			return fmt.Errorf("not finished")
		}})
	}
	return out
}

// settle gives back what only the start needed: parsed files, and the first start's hundred and fifty new objects.
func settle(boot *bootstrap.Bootstrap) func(context.Context) error {
	return func(ctx context.Context) error {
		for !boot.AllDone() {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(100 * time.Millisecond):
			}
		}
		run.GiveBack()
		run.GiveBackWhenIdle(ctx)
		return nil
	}
}
