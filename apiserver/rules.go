package apiserver

import (
	"context"
	"net"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/admission"
	"github.com/skiff-project/skiff/apiserver/admission/policy"
	"github.com/skiff-project/skiff/apiserver/admission/webhook"
	"github.com/skiff-project/skiff/apiserver/aggregation"
	"github.com/skiff-project/skiff/apiserver/authz"
	"github.com/skiff-project/skiff/apiserver/nodeproxy"
	"github.com/skiff-project/skiff/apiserver/registry"
)

// dialer connects to a port of a Service.
type dialer = func(ctx context.Context, namespace, service string, port int32) (net.Conn, error)

// admission puts the chain together.
func (s *Server) admission(reg *registry.Registry, authorizer *authz.Authorizer, readers authz.Readers, dial dialer) (admission.Interface, error) {
	objects := &admission.Objects{Readers: readers, Store: reg.Hooks(), Authz: authorizer, Configs: s.rules}
	hooks := webhook.New(webhook.Config{Objects: objects, Dial: dial, Log: s.log})
	policies := policy.New(policy.Config{Objects: objects, KindOf: reg.KindOf, Types: reg.Types})
	chain, err := admission.Choose(objects, s.cfg.EnableAdmission, s.cfg.DisableAdmission,
		authorizer.Escalation(), policies.Mutating(), hooks.Mutating(), policies.Validating(), hooks.Validating())
	if err != nil {
		return nil, err
	}
	return chain, nil
}

// connector reaches nodes, pods and Services.
func (s *Server) connector(authorizer *authz.Authorizer, readers authz.Readers) *nodeproxy.Proxy {
	return nodeproxy.New(nodeproxy.Config{Readers: readers, Authz: authorizer, Certificate: s.files.kubelet.get, CAs: s.files.nodeCAs.get(),
		DialTimeout: s.cfg.KubeletTimeout, Allowed: s.cfg.ProxyAllowed, Log: s.log})
}

// aggregator serves what APIServices give to other servers.
func (s *Server) aggregator(reg *registry.Registry, readers authz.Readers, public *publisher, dial dialer) *aggregation.Aggregator {
	gr := schema.GroupResource{Group: "apiregistration.k8s.io", Resource: "apiservices"}
	public.aggregator = aggregation.New(aggregation.Config{Services: readers(gr), Kind: reg.Hooks().Kind(gr), Store: reg.Hooks(), Dial: dial,
		Certificate: s.files.proxyClient.get, Publish: public.others, Log: s.log})
	public.aggregator.Locals(reg.Kinds())
	return public.aggregator
}
