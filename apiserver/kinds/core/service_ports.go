package core

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds/core/alloc"
)

// newPorts opens node ports for a new Service. Ports of one number but different protocols share a node port.
func (r *reservation) newPorts() error {
	s := r.service
	if hasNodePorts(s) {
		shared := map[int32]int32{}
		for i := range s.Spec.Ports {
			p := &s.Spec.Ports[i]
			if p.NodePort == 0 && !givesNodePorts(s) {
				continue
			}
			if err := r.newPort(i, shared); err != nil {
				return err
			}
		}
	}
	if needsHealthCheck(s) {
		return r.healthCheckPort()
	}
	return nil
}

func (r *reservation) newPort(i int, shared map[int32]int32) error {
	p := &r.service.Spec.Ports[i]
	switch open := shared[p.Port]; {
	case open != 0 && (p.NodePort == 0 || p.NodePort == open):
		p.NodePort = open
	case open != 0:
		return r.takePort(i, p.NodePort)
	default:
		// A port of that number further down may have chosen.
		k := slices.IndexFunc(r.service.Spec.Ports, func(o corev1.ServicePort) bool { return o.Port == p.Port && o.NodePort != 0 })
		if k >= 0 {
			chosen := r.service.Spec.Ports[k].NodePort
			if err := r.takePort(i, chosen); err != nil {
				return err
			}
			p.NodePort = chosen
		} else {
			port, err := r.nextPort()
			if err != nil {
				return apierrors.NewInternalError(fmt.Errorf("failed to allocate a nodePort: %w", err))
			}
			p.NodePort = int32(port)
		}
		shared[p.Port] = p.NodePort
	}
	return nil
}

// takePort reserves the node port that the i-th port of the Service wants.
func (r *reservation) takePort(i int, port int32) error {
	err := r.reserve(int(port))
	if err == nil {
		return nil
	}
	at := field.NewPath("spec", "ports").Index(i).Child("nodePort")
	return r.invalid(field.ErrorList{field.Invalid(at, port, err.Error())})
}

func (r *reservation) reserve(port int) error {
	if slices.Contains(r.takenPorts, port) {
		return alloc.ErrPortTaken
	}
	if err := r.ports.Take(r.ctx, r.store, port, r.req.DryRun); err != nil {
		return err
	}
	r.takenPorts = append(r.takenPorts, port)
	return nil
}

func (r *reservation) nextPort() (int, error) {
	port, err := r.ports.Next(r.ctx, r.store, func(p int) bool { return slices.Contains(r.takenPorts, p) }, r.req.DryRun)
	if err == nil {
		r.takenPorts = append(r.takenPorts, port)
	}
	return port, err
}

func (r *reservation) healthCheckPort() error {
	s := r.service
	if want := s.Spec.HealthCheckNodePort; want != 0 {
		if err := r.reserve(int(want)); err != nil {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate requested HealthCheck NodePort %v: %v", want, err))
		}
		return nil
	}
	port, err := r.nextPort()
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("failed to allocate a HealthCheck NodePort %v: %v", port, err))
	}
	s.Spec.HealthCheckNodePort = int32(port)
	return nil
}

// changePorts opens what a changed Service has more and closes what it has less.
func (r *reservation) changePorts(old *corev1.Service) error {
	s := r.service
	before := portNumbers(old)
	if hasNodePorts(old) && !hasNodePorts(s) {
		r.freedPorts = append(r.freedPorts, before...)
	}
	if hasNodePorts(s) {
		if err := r.changeNodePorts(before); err != nil {
			return err
		}
	}
	switch had, needs := needsHealthCheck(old), needsHealthCheck(s); {
	case !had && needs:
		return r.healthCheckPort()
	case had && !needs && old.Spec.HealthCheckNodePort != 0:
		r.freedPorts = append(r.freedPorts, int(old.Spec.HealthCheckNodePort))
	}
	return nil
}

func (r *reservation) changeNodePorts(before []int) error {
	s := r.service
	type opened struct {
		protocol corev1.Protocol
		port     int32
	}
	seen := map[opened]bool{}
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		switch {
		case p.NodePort == 0 && !givesNodePorts(s):
			continue
		case p.NodePort == 0:
			port, err := r.nextPort()
			if err != nil {
				return apierrors.NewInternalError(fmt.Errorf("failed to allocate a nodePort: %w", err))
			}
			p.NodePort = int32(port)
		case !slices.Contains(before, int(p.NodePort)) && !slices.Contains(r.takenPorts, int(p.NodePort)):
			if err := r.takePort(i, p.NodePort); err != nil {
				return err
			}
		}
		key := opened{p.Protocol, p.NodePort}
		if seen[key] {
			return apierrors.NewInternalError(fmt.Errorf("duplicate nodePort: {%s %d}", key.protocol, key.port))
		}
		seen[key] = true
	}
	now := portNumbers(s)
	for _, port := range before {
		if !slices.Contains(now, port) {
			r.freedPorts = append(r.freedPorts, port)
		}
	}
	return nil
}

func portNumbers(s *corev1.Service) []int {
	var out []int
	for _, p := range s.Spec.Ports {
		if p.NodePort != 0 {
			out = append(out, int(p.NodePort))
		}
	}
	return out
}
