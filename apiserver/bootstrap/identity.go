package bootstrap

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

const (
	identityLabel = "apiserver.kubernetes.io/identity"
	identityValue = "kube-apiserver"
	identityLife  = 3600 // seconds
	identityRenew = 10 * time.Second
)

// runIdentity keeps a Lease that says that this server is there, and removes those of servers that have not been for an
// hour.
func (b *Bootstrap) runIdentity(ctx context.Context) {
	b.holder = b.identity() + "_" + uuid.NewString()
	for {
		if err := b.renewIdentity(ctx); err != nil && ctx.Err() == nil {
			b.cfg.Log.Warn("identity lease of this server not renewed", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(identityRenew):
		}
	}
}

// identity is upstream's name for a server on a host.
func (b *Bootstrap) identity() string {
	hash := sha256.Sum256([]byte(b.cfg.Host))
	return "apiserver-" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(hash[:16]))
}

func (b *Bootstrap) renewIdentity(ctx context.Context) error {
	kind := b.kind("leases.coordination.k8s.io")
	if kind == nil {
		return nil
	}
	now := metav1.NewMicroTime(time.Now())
	life := int32(identityLife)
	fill := func(l *coordinationv1.Lease) {
		if l.Labels == nil {
			l.Labels = map[string]string{}
		}
		if l.Annotations == nil {
			l.Annotations = map[string]string{}
		}
		l.Labels[identityLabel], l.Labels[corev1.LabelHostname] = identityValue, b.cfg.Host
		l.Annotations["kubernetes.io/peer-advertise-address"] = net.JoinHostPort(b.cfg.Address.String(), strconv.Itoa(int(b.cfg.Port)))
		l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds, l.Spec.RenewTime = &b.holder, &life, &now
	}
	_, err := b.cfg.Store.Update(ctx, kind, metav1.NamespaceSystem, b.identity(), false, func(o runtime.Object) error {
		fill(o.(*coordinationv1.Lease))
		return nil
	})
	if !apierrors.IsNotFound(err) {
		return err
	}
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: b.identity()}}
	fill(l)
	if err := ensure(ctx, b.cfg.Store, kind, l, nil); err != nil {
		return err
	}
	return b.removeDead(ctx)
}

func (b *Bootstrap) removeDead(ctx context.Context) error {
	kind := b.kind("leases.coordination.k8s.io")
	list, err := b.cfg.Store.List(ctx, kind, metav1.NamespaceSystem)
	if err != nil {
		return err
	}
	for _, o := range list {
		l := o.(*coordinationv1.Lease)
		if l.Labels[identityLabel] != identityValue || l.Spec.RenewTime == nil || l.Spec.LeaseDurationSeconds == nil ||
			time.Since(l.Spec.RenewTime.Time) < time.Duration(*l.Spec.LeaseDurationSeconds)*time.Second {
			continue
		}
		uid := l.UID
		_, err := b.cfg.Store.Delete(ctx, kind, l.Namespace, l.Name, &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return err
		}
	}
	return nil
}
