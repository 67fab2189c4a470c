package networking

import (
	"testing"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/kindtest"
)

func TestIngresses(t *testing.T) {
	const backend = `{service: {name: web, port: {number: 80}}}`
	const plain = `spec: {defaultBackend: ` + backend + `}`
	kindtest.Run(t, Ingress, "web", []kindtest.Case{
		{Name: "a backend will do", Object: plain},
		{Name: "nothing to route to", Object: `spec: {}`, Want: []string{"either `defaultBackend` or `rules` must be specified"}},
		{Name: "a host that is an address", Object: `spec: {rules: [{host: 10.0.0.1}]}`, Want: []string{"must be a DNS name, not an IP address"}},
		{Name: "a path that climbs", Object: `spec: {rules: [{http: {paths: [{path: /a/../b, pathType: Prefix, backend: ` + backend + `}]}}]}`,
			Want: []string{"must not contain '/../'"}},
		{Name: "a path that an implementation explains", Object: `spec: {rules: [{http: {paths: [{path: /a/../b, pathType: ImplementationSpecific, backend: ` + backend + `}]}}]}`},
		{Name: "a path without a type", Object: `spec: {rules: [{http: {paths: [{path: /, backend: {}}]}}]}`, Want: []string{"pathType must be specified"}},
		{Name: "both ways to name a port", Object: `spec: {defaultBackend: {service: {name: web, port: {number: 80, name: http}}}}`,
			Want: []string{"cannot set both port name & port number"}},
		{Name: "a bad secret name of old may stay", Object: `spec: {defaultBackend: ` + backend + `, tls: [{secretName: a_b}]}`,
			Old: `spec: {defaultBackend: ` + backend + `, tls: [{secretName: a_b}]}`},
		{Name: "and a new one may not come", Object: `spec: {defaultBackend: ` + backend + `, tls: [{secretName: a_b}]}`, Old: plain, Want: []string{"spec.tls[0].secretName"}},
		{Name: "a balancer's address with zeros in front", Object: `status: {loadBalancer: {ingress: [{ip: 010.0.0.1}]}}`, Old: plain, Door: "status",
			Want: []string{"status.loadBalancer.ingress[0].ip"}},
	})
}

func TestNetworkPolicies(t *testing.T) {
	kindtest.Run(t, NetworkPolicy, "p", []kindtest.Case{
		{Name: "everything", Object: `spec: {podSelector: {}}`},
		{Name: "a peer that is nobody", Object: `spec: {podSelector: {}, ingress: [{from: [{}]}]}`, Want: []string{"must specify a peer"}},
		{Name: "addresses and pods at once", Object: `spec: {podSelector: {}, ingress: [{from: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]}]}`,
			Want: []string{"may not specify both ipBlock and another peer"}},
		{Name: "an exception outside", Object: `spec: {podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/9]}}]}]}`,
			Want: []string{"must be a strict subset of `cidr`"}},
		{Name: "a range of ports by name", Object: `spec: {podSelector: {}, ingress: [{ports: [{port: http, endPort: 90}]}]}`,
			Want: []string{"may not be specified when `port` is non-numeric"}},
		{Name: "a range backwards", Object: `spec: {podSelector: {}, ingress: [{ports: [{port: 90, endPort: 80}]}]}`,
			Want: []string{"must be greater than or equal to `port`"}},
		{Name: "a bad range of old may move", Object: `spec: {podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.0.0.1/8}}]}]}`,
			Old: `spec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.1/8}}]}]}`},
	})
}

func TestAddressesAndRanges(t *testing.T) {
	kindtest.Run(t, IPAddress, "10.0.0.1", []kindtest.Case{
		{Name: "for a service", Object: `spec: {parentRef: {resource: services, name: a, namespace: b}}`},
		{Name: "for nobody", Object: `spec: {}`, Want: []string{"spec.parentRef: Required value"}},
		{Name: "for another", Object: `spec: {parentRef: {resource: services, name: b}}`, Old: `spec: {parentRef: {resource: services, name: a}}`,
			Want: []string{"spec.parentRef: Invalid value: null: field is immutable"}},
	})
	kindtest.Run(t, IPAddress, "010.0.0.1", []kindtest.Case{{Name: "in another form", Object: `spec: {parentRef: {resource: services, name: a}}`, Want: []string{"metadata.name"}}})
	kindtest.Run(t, ServiceCIDR, "r", []kindtest.Case{
		{Name: "both families", Object: `spec: {cidrs: [10.0.0.0/16, "fd00::/108"]}`},
		{Name: "one family twice", Object: `spec: {cidrs: [10.0.0.0/16, 10.1.0.0/16]}`, Want: []string{"may specify no more than one IP for each IP family"}},
		{Name: "a second family is added", Object: `spec: {cidrs: [10.0.0.0/16, "fd00::/108"]}`, Old: `spec: {cidrs: [10.0.0.0/16]}`},
		{Name: "a range moves", Object: `spec: {cidrs: [10.1.0.0/16]}`, Old: `spec: {cidrs: [10.0.0.0/16]}`, Want: []string{"spec.cidrs[0]"}},
	})
	kindtest.Run(t, IngressClass, "c", []kindtest.Case{
		{Name: "a controller", Object: `spec: {controller: example.com/c}`},
		{Name: "parameters without their namespace", Object: `spec: {controller: example.com/c, parameters: {kind: P, name: p, scope: Namespace}}`,
			Want: []string{"`parameters.scope` is set to 'Namespace'"}},
		{Name: "another controller", Object: `spec: {controller: example.com/d}`, Old: `spec: {controller: example.com/c}`, Want: []string{"spec.controller"}},
	})
}
