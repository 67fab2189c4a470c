package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/core/alloc"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/shape"
)

// reservation is what one write of a Service takes and gives back. Taking happens at once; giving back what was taken
// happens if the write does not, giving back what is no longer needed after it has.
type reservation struct {
	ctx     context.Context
	store   kinds.Store
	req     *kinds.Request
	ips     *alloc.ClusterIPs
	ports   *alloc.NodePorts
	service *corev1.Service

	takenIPs, freedIPs     []string
	takenPorts, freedPorts []int
}

// beginService reserves addresses and ports for a new or changed Service, and gives them back for one that goes.
func beginService(ctx context.Context, store kinds.Store, req *kinds.Request, s, old *corev1.Service) (done, undo func(), err error) {
	r := &reservation{ctx: ctx, store: store, req: req, service: s}
	r.ips, _ = store.Service(kinds.ServiceClusterIPs).(*alloc.ClusterIPs)
	r.ports, _ = store.Service(kinds.ServiceNodePorts).(*alloc.NodePorts)
	if r.ips == nil || r.ports == nil {
		return nil, nil, apierrors.NewServiceUnavailable("this server hands out no service addresses")
	}
	switch {
	case s == nil:
		r.freedIPs, r.freedPorts = addressesOf(old), alloc.Ports(old)
	case old == nil:
		if s.Spec.ClusterIP != "" && len(s.Spec.ClusterIPs) == 0 {
			s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
		}
		err = r.create()
	default:
		keepAllocated(s, old)
		followClusterIP(s, old)
		err = r.update(old)
	}
	if err != nil {
		r.undo()
		return nil, nil, err
	}
	return r.done, r.undo, nil
}

// addressesOf are the cluster IPs that a Service holds.
func addressesOf(s *corev1.Service) []string {
	if external(s) || headless(s) {
		return nil
	}
	return s.Spec.ClusterIPs
}

func (r *reservation) done() { r.giveBack(r.freedIPs, r.freedPorts) }
func (r *reservation) undo() { r.giveBack(r.takenIPs, r.takenPorts) }

// giveBack cannot fail the write, which is over. What it leaves behind is found by alloc.Repair.
func (r *reservation) giveBack(ips []string, ports []int) {
	if r.req.DryRun {
		return
	}
	ctx := context.WithoutCancel(r.ctx)
	for _, ip := range ips {
		if err := r.ips.Release(ctx, r.store, ip); err != nil {
			slog.Warn("service address not given back", "ip", ip, "err", err)
		}
	}
	if err := r.ports.Release(ctx, r.store, ports...); err != nil {
		slog.Warn("node ports not given back", "ports", ports, "err", err)
	}
}

func (r *reservation) create() error {
	if err := r.families(nil); err != nil {
		return err
	}
	if err := r.takeAddresses(); err != nil {
		return err
	}
	return r.newPorts()
}

func (r *reservation) invalid(errs field.ErrorList) error {
	return apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Service").GroupKind(), r.service.Name, shape.Errors(errs))
}

// takeAddresses fills in an address for each family that has none, and reserves those that a client chose.
func (r *reservation) takeAddresses() error {
	s := r.service
	if external(s) || headless(s) {
		return nil
	}
	for i, family := range s.Spec.IPFamilies {
		if i >= len(s.Spec.ClusterIPs) {
			s.Spec.ClusterIPs = append(s.Spec.ClusterIPs, "")
		}
		if err := r.takeAddress(i, family); err != nil {
			return err
		}
	}
	return nil
}

func (r *reservation) takeAddress(i int, family corev1.IPFamily) error {
	s := r.service
	at := field.NewPath("spec", "clusterIPs")
	ip := s.Spec.ClusterIPs[i]
	if ip == "" {
		next, err := r.ips.Next(r.ctx, r.store, s, family, r.req.DryRun)
		if errors.Is(err, alloc.ErrFull) {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP for Service %q: %w", s.Name, err))
		}
		if err != nil {
			return r.invalid(field.ErrorList{field.Invalid(at, s.Spec.ClusterIPs, fmt.Sprintf("failed to allocate IP: %v", err))})
		}
		ip = next
	} else if err := r.ips.Take(r.ctx, r.store, s, ip, r.req.DryRun); err != nil {
		return r.invalid(field.ErrorList{field.Invalid(at, s.Spec.ClusterIPs, fmt.Sprintf("failed to allocate IP %v: %v", ip, err))})
	}
	r.takenIPs = append(r.takenIPs, ip)
	s.Spec.ClusterIPs[i] = ip
	if i == 0 {
		s.Spec.ClusterIP = ip
	}
	return nil
}

func (r *reservation) update(old *corev1.Service) error {
	if err := r.families(old); err != nil {
		return err
	}
	if err := r.changeAddresses(old); err != nil {
		return err
	}
	return r.changePorts(old)
}

// changeAddresses: a Service gets addresses when it becomes one with addresses, loses them when it becomes another, and
// gets or loses the second one with its second family.
func (r *reservation) changeAddresses(old *corev1.Service) error {
	s := r.service
	switch {
	case settled(s, old):
	case external(old) && !external(s):
		return r.takeAddresses()
	case len(old.Spec.ClusterIPs) > 0 && old.Spec.ClusterIPs[0] == corev1.ClusterIPNone:
	case !external(old) && external(s):
		r.freedIPs = old.Spec.ClusterIPs
	case len(old.Spec.IPFamilies) == 1 && len(s.Spec.IPFamilies) == 2:
		if len(s.Spec.ClusterIPs) < 2 {
			s.Spec.ClusterIPs = append(s.Spec.ClusterIPs, "")
		}
		return r.takeAddress(1, s.Spec.IPFamilies[1])
	case len(old.Spec.IPFamilies) == 2 && len(s.Spec.IPFamilies) == 1 && len(old.Spec.ClusterIPs) == 2:
		r.freedIPs = old.Spec.ClusterIPs[1:]
	}
	return nil
}

// keepAllocated lets clients write a Service again without what the server chose for it.
func keepAllocated(s, old *corev1.Service) {
	if !external(old) && !external(s) {
		if s.Spec.ClusterIP == "" {
			s.Spec.ClusterIP = old.Spec.ClusterIP
		}
		if len(s.Spec.ClusterIPs) == 0 {
			s.Spec.ClusterIPs = append([]string(nil), old.Spec.ClusterIPs...)
		}
	}
	if givesNodePorts(old) && givesNodePorts(s) {
		used, byName := map[int32]bool{}, map[string]int32{}
		now := map[int32]bool{}
		for _, p := range s.Spec.Ports {
			now[p.NodePort] = true
		}
		for _, p := range old.Spec.Ports {
			byName[p.Name] = p.NodePort
			used[p.NodePort] = p.NodePort != 0 && now[p.NodePort]
		}
		for i := range s.Spec.Ports {
			p := &s.Spec.Ports[i]
			if was := byName[p.Name]; p.NodePort == 0 && !used[was] {
				p.NodePort = was
			}
		}
	}
	if needsHealthCheck(old) && needsHealthCheck(s) && s.Spec.HealthCheckNodePort == 0 {
		s.Spec.HealthCheckNodePort = old.Spec.HealthCheckNodePort
	}
}

// followClusterIP: who knows only the single clusterIP and changes or clears it means the list as well.
func followClusterIP(s, old *corev1.Service) {
	same := sameTexts(s.Spec.ClusterIPs, old.Spec.ClusterIPs)
	switch {
	case s.Spec.ClusterIP == old.Spec.ClusterIP:
		if len(s.Spec.ClusterIPs) == 0 && len(old.Spec.ClusterIPs) > 0 {
			s.Spec.ClusterIPs = append([]string(nil), old.Spec.ClusterIPs...)
		}
	case !same:
	case s.Spec.ClusterIP == "":
		s.Spec.ClusterIPs = nil
	default:
		s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
	}
}

func sameTexts[T ~string](a, b []T) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
