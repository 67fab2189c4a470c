package main

import (
	"context"
	"fmt"
	"net"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/e2e/lab"
	"github.com/skiff-project/skiff/pkg/machine/control"
)

const (
	servicesPath = "/api/v1/namespaces/bench/services"
	slicesPath   = "/apis/discovery.k8s.io/v1/namespaces/bench/endpointslices"
	backendPort  = 8080
	// secondBackend is a second address of the machine.
	secondBackend = "10.244.0.2"
)

// proxy measures how soon Services are reachable. Both sides' proxies read from Skiff's API server, and the question is
// asked of the kernel: the figure is the time until a connection to the Service's address gets to a backend.
func (b *bench) proxy(ctx context.Context) error {
	const changes = 10
	services := b.services
	l, err := b.start(ctx, lab.Parts{API: lab.Skiff})
	if err != nil {
		return err
	}
	defer b.stop(l)
	p := &proxyWork{bench: b, lab: l}
	if p.load, err = newLoad(ctx, l); err != nil {
		return err
	}
	defer p.load.close()
	if err := p.backends(ctx); err != nil {
		return err
	}
	if err := p.load.namespaced(ctx, namespace); err != nil {
		return err
	}
	if err := p.load.createAll(ctx, servicesPath, services, func(i int) any { return service(i) }); err != nil {
		return err
	}
	if err := p.load.createAll(ctx, slicesPath, services, func(i int) any { return p.slice(i) }); err != nil {
		return err
	}
	samples, err := p.addresses(ctx, 0, services/2, services-1)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := l.StartPart(lab.Proxy, b.side); err != nil {
		return err
	}
	for _, address := range samples {
		if err := p.reached(ctx, address); err != nil {
			return err
		}
	}
	b.report(fmt.Sprintf("start with %d Services until all are reachable", services), "s", less, time.Since(start).Seconds())
	pid, err := l.PID(lab.Proxy)
	if err != nil {
		return err
	}
	cpu, err := lab.CPU(pid)
	if err != nil {
		return err
	}
	b.report("start: processor time of the proxy itself", "s", less, cpu.Seconds())
	return p.change(ctx, services, changes)
}

type proxyWork struct {
	*bench
	lab  *lab.Lab
	load *load
}

// change adds Services one by one.
func (p *proxyWork) change(ctx context.Context, services, changes int) error {
	// What the proxy does after its start is not what is measured here.
	if err := pause(ctx, 3*time.Second); err != nil {
		return err
	}
	var took []float64
	before, err := lab.CgroupCPU(lab.Name(p.name+"-"+string(p.side)), lab.Node)
	if err != nil {
		return err
	}
	for i := range changes {
		n := services + i
		start := time.Now()
		if err := p.load.createAll(ctx, servicesPath, 1, func(int) any { return service(n) }); err != nil {
			return err
		}
		if err := p.load.createAll(ctx, slicesPath, 1, func(int) any { return p.slice(n) }); err != nil {
			return err
		}
		address, err := p.addresses(ctx, n)
		if err != nil {
			return err
		}
		if err := p.reached(ctx, address[0]); err != nil {
			return err
		}
		took = append(took, float64(time.Since(start).Microseconds())/1000)
	}
	after, err := lab.CgroupCPU(lab.Name(p.name+"-"+string(p.side)), lab.Node)
	if err != nil {
		return err
	}
	p.report(fmt.Sprintf("a new Service reachable, beside %d, median of 10", services), "ms", less, median(took))
	p.report("a new Service: processor time of proxy, kernel tools and API", "ms", less, float64((after-before).Milliseconds())/float64(changes))
	pid, err := p.lab.PID(lab.Proxy)
	if err != nil {
		return err
	}
	pss, err := lab.PSS(pid)
	p.report(fmt.Sprintf("proxy's memory (PSS) with %d Services", services), "MB", less, float64(pss)/1e6)
	return err
}

// backends starts what Services lead to, and makes the objects that a proxy wants to see first.
func (p *proxyWork) backends(ctx context.Context) error {
	if _, err := p.lab.Run("ip", "addr", "add", secondBackend+"/32", "dev", "lo"); err != nil {
		return err
	}
	if err := p.lab.Machine.StartComponent(control.Component{Name: "backend", Argv: []string{"/opt/skiff/bin/bench", "backend"}}); err != nil {
		return err
	}
	n := node(lab.Node, "zone-0")
	n.Spec.PodCIDR, n.Spec.PodCIDRs = "10.244.0.0/24", []string{"10.244.0.0/24"}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: p.lab.Machine.Address().String()}}
	if err := p.load.createAll(ctx, "/api/v1/nodes", 1, func(int) any { return n }); err != nil {
		return err
	}
	return p.reached(ctx, net.JoinHostPort(secondBackend, fmt.Sprint(backendPort)))
}

func service(i int) *corev1.Service {
	return &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("svc-%d", i)},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}
}

func (p *proxyWork) slice(i int) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("svc-%d-x", i), Labels: map[string]string{
			discoveryv1.LabelServiceName: fmt.Sprintf("svc-%d", i), discoveryv1.LabelManagedBy: "bench",
		}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To(int32(backendPort)), Protocol: ptr.To(corev1.ProtocolTCP)}},
	}
	for _, address := range []string{p.lab.Machine.Address().String(), secondBackend} {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{address}, NodeName: ptr.To(lab.Node),
			Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true), Serving: ptr.To(true), Terminating: ptr.To(false)}})
	}
	return s
}

// addresses asks for the addresses that Services were given.
func (p *proxyWork) addresses(ctx context.Context, numbers ...int) ([]string, error) {
	var all []string
	for _, i := range numbers {
		var s corev1.Service
		if err := p.load.read(ctx, fmt.Sprintf("%s/svc-%d", servicesPath, i), &s); err != nil {
			return nil, err
		}
		all = append(all, net.JoinHostPort(s.Spec.ClusterIP, "80"))
	}
	return all, nil
}

// reached waits until a backend answers at an address.
func (p *proxyWork) reached(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, fmt.Errorf("%s not reached in a minute", address))
	defer cancel()
	for {
		// Short, because an address without rules yet swallows what is sent to it.
		try, stop := context.WithTimeout(ctx, 50*time.Millisecond)
		conn, err := p.lab.Dial(try, "tcp", address)
		if err == nil {
			_ = conn.SetReadDeadline(time.Now().Add(time.Second))
			_, err = conn.Read(make([]byte, 2))
			conn.Close()
		}
		stop()
		if err == nil {
			return nil
		}
		if err := pause(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}
