package nodeproxy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/skiff-project/skiff/apiserver/routes"
	"github.com/skiff-project/skiff/apiserver/watchcache"
)

// proxy passes any request on to a node's agent, a pod or a Service.
func (p *Proxy) proxy(w http.ResponseWriter, r *http.Request, c *routes.Connection) error {
	ctx := r.Context()
	path := c.Path
	var options runtime.Object
	find := p.nodeTarget
	switch c.Kind.Resource {
	case "pods":
		options, find = &corev1.PodProxyOptions{Path: path}, p.podTarget
	case "services":
		options, find = &corev1.ServiceProxyOptions{Path: path}, p.serviceTarget
	default:
		options = &corev1.NodeProxyOptions{Path: path}
	}
	if err := c.Admit(ctx, options); err != nil {
		return err
	}
	location, transport, err := find(ctx, c.Namespace, c.Name)
	if err != nil {
		return err
	}
	// The path as it came: what is escaped in it is the other server's business.
	location.Path = path
	if _, after, ok := strings.Cut(r.URL.EscapedPath(), "/proxy"); ok && path != "" {
		if plain, err := url.PathUnescape(after); err == nil && plain == path {
			location.RawPath = after
		}
	}
	p.through(w, r, location, transport, true, false)
	return nil
}

func (p *Proxy) allowed(host string) error {
	a, err := netip.ParseAddr(host)
	if err == nil {
		if !p.cfg.Allowed(a.Unmap()) {
			return apierrors.NewBadRequest("address not allowed")
		}
		return nil
	}
	return nil // a host name: it is resolved where everything else is
}

func (p *Proxy) nodeTarget(ctx context.Context, _, id string) (*url.URL, http.RoundTripper, error) {
	scheme, name, port, ok := utilnet.SplitSchemeNamePort(id)
	if !ok {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("invalid node request %q", id))
	}
	host, agent, err := p.agent(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	if err := p.allowed(host); err != nil {
		return nil, nil, err
	}
	if port == "" || port == agent {
		return &url.URL{Scheme: "https", Host: net.JoinHostPort(host, agent)}, p.nodes, nil
	}
	return &url.URL{Scheme: scheme, Host: net.JoinHostPort(host, port)}, p.loose, nil
}

func (p *Proxy) podTarget(ctx context.Context, namespace, id string) (*url.URL, http.RoundTripper, error) {
	scheme, name, port, ok := utilnet.SplitSchemeNamePort(id)
	if !ok {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("invalid pod request %q", id))
	}
	pod, err := p.pod(ctx, namespace, name)
	if err != nil {
		return nil, nil, err
	}
	if port == "" {
		port = firstPort(pod)
	}
	ip, err := netip.ParseAddr(pod.Status.PodIP)
	if err != nil || !p.cfg.Allowed(ip.Unmap()) {
		return nil, nil, apierrors.NewBadRequest("address not allowed")
	}
	return &url.URL{Scheme: scheme, Host: hostPort(pod.Status.PodIP, port)}, p.loose, nil
}

func firstPort(pod *corev1.Pod) string {
	for i := range pod.Spec.Containers {
		if ports := pod.Spec.Containers[i].Ports; len(ports) > 0 {
			return strconv.Itoa(int(ports[0].ContainerPort))
		}
	}
	return ""
}

func hostPort(ip, port string) string {
	switch {
	case port != "":
		return net.JoinHostPort(ip, port)
	case strings.Contains(ip, ":"):
		return "[" + ip + "]"
	}
	return ip
}

func (p *Proxy) serviceTarget(ctx context.Context, namespace, id string) (*url.URL, http.RoundTripper, error) {
	scheme, name, port, ok := utilnet.SplitSchemeNamePort(id)
	if !ok {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("invalid service request %q", id))
	}
	if number, err := strconv.ParseInt(port, 10, 64); err == nil {
		if port, err = p.portName(ctx, namespace, name, number); err != nil {
			return nil, nil, err
		}
	}
	candidates, err := p.endpoints(ctx, namespace, name, port)
	if err != nil {
		return nil, nil, err
	}
	// Any of them that is a pod's: an Endpoints object may name whatever it likes, and this server reaches more than its
	// author does.
	for _, i := range rand.Perm(len(candidates)) {
		if c := candidates[i]; p.isPod(ctx, namespace, c.ref, c.ip) {
			return &url.URL{Scheme: scheme, Host: net.JoinHostPort(c.ip, c.port)}, p.loose, nil
		}
	}
	return nil, nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", name))
}

func (p *Proxy) portName(ctx context.Context, namespace, name string, number int64) (string, error) {
	obj, err := p.get(ctx, "services", namespace, name)
	if err != nil {
		return "", err
	}
	for _, sp := range obj.(*corev1.Service).Spec.Ports {
		if int64(sp.Port) == number {
			return sp.Name, nil
		}
	}
	return "", apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", number, name))
}

// endpoint is one place where a Service is answered.
type endpoint struct {
	ip, port string
	ref      *corev1.ObjectReference
}

func (p *Proxy) endpoints(ctx context.Context, namespace, service, port string) ([]endpoint, error) {
	reader := p.cfg.Readers(schema.GroupResource{Group: discoveryv1.GroupName, Resource: "endpointslices"})
	list, err := reader.List(ctx, watchcache.ListOptions{Namespace: namespace, Labels: labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service})})
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	var out []endpoint
	for _, item := range list.Items {
		obj, err := item.Shared()
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		slice := obj.(*discoveryv1.EndpointSlice)
		for _, sp := range slice.Ports {
			if sp.Port == nil || portNameOf(sp) != port {
				continue
			}
			for _, e := range slice.Endpoints {
				if e.Conditions.Ready == nil || *e.Conditions.Ready {
					out = append(out, endpoint{ip: e.Addresses[0], port: strconv.Itoa(int(*sp.Port)), ref: e.TargetRef})
				}
			}
		}
	}
	return out, nil
}

func portNameOf(p discoveryv1.EndpointPort) string {
	if p.Name == nil {
		return ""
	}
	return *p.Name
}

func (p *Proxy) isPod(ctx context.Context, namespace string, ref *corev1.ObjectReference, ip string) bool {
	if ref == nil || ref.Namespace != namespace {
		return false
	}
	pod, err := p.pod(ctx, namespace, ref.Name)
	if err != nil {
		return false
	}
	for _, own := range pod.Status.PodIPs {
		if own.IP == ip {
			return true
		}
	}
	return pod.Status.PodIP == ip
}
