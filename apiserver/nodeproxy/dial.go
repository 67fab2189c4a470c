package nodeproxy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// DialService connects to a port of a Service, at one of its ready endpoints, for the server itself: to its webhooks and
// to the servers of aggregated APIs. It needs no proxy on this host. It blocks until it is connected, every endpoint has
// refused, or ctx ends.
func (p *Proxy) DialService(ctx context.Context, namespace, name string, port int32) (net.Conn, error) {
	obj, err := p.get(ctx, "services", namespace, name)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: p.cfg.DialTimeout, KeepAlive: 30 * time.Second}
	service := obj.(*corev1.Service)
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		return dialer.DialContext(ctx, "tcp", net.JoinHostPort(service.Spec.ExternalName, strconv.Itoa(int(port))))
	}
	portName, err := p.portName(ctx, namespace, name, int64(port))
	if err != nil {
		return nil, err
	}
	candidates, err := p.endpoints(ctx, namespace, name, portName)
	if err != nil {
		return nil, err
	}
	if len(candidates) == 0 {
		return nil, fmt.Errorf("no endpoints available for service %q", name)
	}
	var failed []error
	for _, i := range rand.Perm(len(candidates)) {
		conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(candidates[i].ip, candidates[i].port))
		if err == nil {
			return conn, nil
		}
		if failed = append(failed, err); ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(failed...)
}
