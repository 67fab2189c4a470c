package bootstrap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/storage"
)

const (
	// Each server holds a key that dies with it; the endpoints of default/kubernetes are those that are alive. Key and
	// value are upstream's, so that both kinds of server count each other.
	masterLeases = "/registry/masterleases/"
	masterTTL    = 15 // seconds
	masterRenew  = 10 * time.Second
	// masterRetry is shorter, so that one failed write does not cost the lease.
	masterRetry = time.Second

	masterService = "kubernetes"
)

// runMaster keeps this server's lease, the Service, and the endpoints, and takes the server out of them at the end.
func (b *Bootstrap) runMaster(ctx context.Context) {
	// The Service's address comes out of the default range, which must be there first.
	for !b.Done("bootstrap-controller") {
		select {
		case <-ctx.Done():
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
	for {
		wait := masterRenew
		if err := b.master(ctx); err != nil && ctx.Err() == nil {
			b.cfg.Log.Warn("default/kubernetes not brought up to date, trying again", "err", err)
			wait = masterRetry
		} else if err == nil {
			b.mu.Lock()
			b.done["master"] = true
			b.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			if err := b.leave(bye); err != nil {
				b.cfg.Log.Info("not taken out of the endpoints of default/kubernetes; the lease will do it", "err", err)
			}
			return
		case <-time.After(wait):
		}
	}
}

func (b *Bootstrap) master(ctx context.Context) error {
	if err := b.renew(ctx); err != nil {
		return fmt.Errorf("renew the lease of this server: %w", err)
	}
	if err := b.service(ctx); err != nil {
		return err
	}
	return b.endpoints(ctx)
}

func (b *Bootstrap) leaseKey() string { return masterLeases + b.cfg.Address.String() }

var leaseCodec = protobuf.NewSerializer(kinds.Scheme, kinds.Scheme)

func (b *Bootstrap) renew(ctx context.Context) error {
	have, err := b.cfg.Keys.Get(ctx, b.leaseKey())
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	lease := &corev1.Endpoints{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Endpoints"}}
	if err == nil {
		if _, _, err := leaseCodec.Decode(have.Value, nil, lease); err != nil {
			lease = &corev1.Endpoints{TypeMeta: lease.TypeMeta}
		}
	}
	// Each renewal changes the value, as upstream's does, which would otherwise leave out the write.
	lease.Generation++
	lease.Subsets = []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: b.cfg.Address.String()}}}}
	var value bytes.Buffer
	if err := leaseCodec.Encode(lease, &value); err != nil {
		return err
	}
	if have.Key == "" {
		_, err = b.cfg.Keys.Create(ctx, b.leaseKey(), value.Bytes(), masterTTL)
	} else {
		_, err = b.cfg.Keys.Update(ctx, b.leaseKey(), value.Bytes(), have.Revision, masterTTL)
	}
	return err
}

func (b *Bootstrap) leave(ctx context.Context) error {
	have, err := b.cfg.Keys.Get(ctx, b.leaseKey())
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := b.cfg.Keys.Delete(ctx, b.leaseKey(), have.Revision); err != nil {
		return err
	}
	alive, err := b.alive(ctx)
	if err != nil || len(alive) == 0 {
		return err // the last one leaves its address: clients of a restarting cluster should find it there
	}
	return b.endpoints(ctx)
}

// alive are the addresses of all servers that hold a lease, sorted.
func (b *Bootstrap) alive(ctx context.Context) ([]string, error) {
	page, err := b.cfg.Keys.Page(ctx, masterLeases, "", 0, 0)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, kv := range page.KVs {
		if ip := strings.TrimPrefix(kv.Key, masterLeases); ip != "" {
			if _, err := netip.ParseAddr(ip); err == nil {
				out = append(out, ip)
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

// service makes default/kubernetes, at the first address of the first range.
func (b *Bootstrap) service(ctx context.Context) error {
	kind := b.kind("services")
	_, err := b.cfg.Store.Get(ctx, kind, metav1.NamespaceDefault, masterService)
	if err == nil || !apierrors.IsNotFound(err) {
		return err
	}
	ip := b.cfg.ServiceCIDRs[0].Masked().Addr().Next().String()
	family := corev1.IPv4Protocol
	if b.cfg.ServiceCIDRs[0].Addr().Is6() {
		family = corev1.IPv6Protocol
	}
	single := corev1.IPFamilyPolicySingleStack
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: masterService,
			Labels: map[string]string{"provider": "kubernetes", "component": "apiserver"}},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: ip, ClusterIPs: []string{ip},
			IPFamilies: []corev1.IPFamily{family}, IPFamilyPolicy: &single, SessionAffinity: corev1.ServiceAffinityNone,
			Ports: []corev1.ServicePort{{Name: "https", Port: 443, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(b.cfg.Port)}},
		},
	}
	if _, err := b.cfg.Store.Create(ctx, kind, svc, false); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create Service default/kubernetes: %w", err)
	}
	return nil
}

// endpoints writes who is alive into Endpoints and EndpointSlice, if they say something else.
func (b *Bootstrap) endpoints(ctx context.Context) error {
	alive, err := b.alive(ctx)
	if err != nil {
		return err
	}
	want := &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: masterService, Labels: map[string]string{discoveryv1.LabelSkipMirror: "true"}},
		Subsets:    []corev1.EndpointSubset{{Ports: []corev1.EndpointPort{{Name: "https", Port: b.cfg.Port, Protocol: corev1.ProtocolTCP}}}},
	}
	for _, ip := range alive {
		want.Subsets[0].Addresses = append(want.Subsets[0].Addresses, corev1.EndpointAddress{IP: ip})
	}
	err = b.put(ctx, "endpoints", want, func(o runtime.Object) {
		e := o.(*corev1.Endpoints)
		e.Labels = union(want.Labels, e.Labels)
		e.Subsets = want.Subsets
	})
	if err != nil {
		return err
	}
	slice := endpointSlice(alive, b.cfg.Port)
	return b.put(ctx, "endpointslices.discovery.k8s.io", slice, func(o runtime.Object) {
		s := o.(*discoveryv1.EndpointSlice)
		s.Labels = union(slice.Labels, s.Labels)
		s.Endpoints, s.Ports = slice.Endpoints, slice.Ports
	})
}

func endpointSlice(alive []string, port int32) *discoveryv1.EndpointSlice {
	ready, name, tcp := true, "https", corev1.ProtocolTCP
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: masterService, Labels: map[string]string{discoveryv1.LabelServiceName: masterService}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &tcp}},
	}
	for i, ip := range alive {
		if a, err := netip.ParseAddr(ip); i == 0 && err == nil && a.Is6() {
			s.AddressType = discoveryv1.AddressTypeIPv6
		}
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{ip}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}})
	}
	return s
}

// put makes an object or changes it, and writes nothing where nothing changes.
func (b *Bootstrap) put(ctx context.Context, resource string, want kinds.Object, change func(runtime.Object)) error {
	kind := b.cfg.Store.Kind(schema.ParseGroupResource(resource))
	if kind == nil {
		return nil
	}
	have, err := b.cfg.Store.Get(ctx, kind, want.GetNamespace(), want.GetName())
	if apierrors.IsNotFound(err) {
		return ensure(ctx, b.cfg.Store, kind, want, nil)
	}
	if err != nil {
		return err
	}
	changed := have.DeepCopyObject()
	change(changed)
	if apiequality.Semantic.DeepEqual(have, changed) {
		return nil
	}
	_, err = b.cfg.Store.Update(ctx, kind, want.GetNamespace(), want.GetName(), false, func(o runtime.Object) error { change(o); return nil })
	return err
}
