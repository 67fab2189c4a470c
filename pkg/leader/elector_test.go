package leader

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
)

// oneLease is the API as far as one Lease goes: optimistic locking and watches. down makes every request fail.
type oneLease struct {
	mu       sync.Mutex
	lease    *coordinationv1.Lease
	rev      int
	watchers []*watch.FakeWatcher
	down     error
}

func (o *oneLease) Get(_ context.Context, name string, _ metav1.GetOptions) (*coordinationv1.Lease, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down != nil {
		return nil, o.down
	}
	if o.lease == nil {
		return nil, apierrors.NewNotFound(coordinationv1.Resource("leases"), name)
	}
	return o.lease.DeepCopy(), nil
}

func (o *oneLease) Create(_ context.Context, lease *coordinationv1.Lease, _ metav1.CreateOptions) (*coordinationv1.Lease, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.lease != nil {
		return nil, apierrors.NewAlreadyExists(coordinationv1.Resource("leases"), lease.Name)
	}
	return o.put(lease)
}

func (o *oneLease) Update(_ context.Context, lease *coordinationv1.Lease, _ metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.lease == nil || o.lease.ResourceVersion != lease.ResourceVersion {
		return nil, apierrors.NewConflict(coordinationv1.Resource("leases"), lease.Name, errors.New("changed"))
	}
	return o.put(lease)
}

func (o *oneLease) put(lease *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	if o.down != nil {
		return nil, o.down
	}
	o.rev++
	o.lease = lease.DeepCopy()
	o.lease.ResourceVersion = strconv.Itoa(o.rev)
	for _, w := range o.watchers {
		if !w.IsStopped() {
			w.Modify(o.lease.DeepCopy())
		}
	}
	return o.lease.DeepCopy(), nil
}

func (o *oneLease) Watch(context.Context, metav1.ListOptions) (watch.Interface, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down != nil {
		return nil, o.down
	}
	w := watch.NewFakeWithChanSize(1000, false)
	o.watchers = append(o.watchers, w)
	return w, nil
}

func (o *oneLease) holder() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return ptr.Deref(o.lease.Spec.HolderIdentity, "")
}

func testElector(api leases, identity string) *elector {
	c := Defaults("test")
	c.Identity, c.LeaseDuration, c.RenewDeadline, c.RetryPeriod = identity, time.Second, 400*time.Millisecond, 50*time.Millisecond
	return &elector{Config: c, leases: api}
}

func TestSecondWaitsForReleaseAndTakesAtOnce(t *testing.T) {
	api := &oneLease{}
	a, b := testElector(api, "a"), testElector(api, "b")
	if err := a.acquire(t.Context(), slog.Default()); err != nil {
		t.Fatal(err)
	}
	renewing, stop := context.WithCancel(t.Context())
	renewed := make(chan error)
	go func() { renewed <- a.renew(renewing) }()
	got := make(chan error, 1)
	go func() { got <- b.acquire(t.Context(), slog.Default()) }()
	select {
	case <-got:
		t.Fatal("b took the lease while a renewed it")
	case <-time.After(3 * a.LeaseDuration / 2):
	}
	stop()
	if err := <-renewed; err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	a.release(t.Context(), slog.Default())
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	if waited := time.Since(start); waited > a.LeaseDuration/2 {
		t.Errorf("b took over %s after the release", waited)
	}
	if api.holder() != "b" || *api.lease.Spec.LeaseTransitions != 1 {
		t.Errorf("holder %q after %d transitions", api.holder(), *api.lease.Spec.LeaseTransitions)
	}
}

func TestSilentLeaderIsReplacedWhenItsTimeIsOver(t *testing.T) {
	api := &oneLease{}
	a, b := testElector(api, "a"), testElector(api, "b")
	if err := a.acquire(t.Context(), slog.Default()); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := b.acquire(t.Context(), slog.Default()); err != nil {
		t.Fatal(err)
	}
	if waited := time.Since(start); waited < b.LeaseDuration || waited > b.LeaseDuration+500*time.Millisecond {
		t.Errorf("took over after %s, want the lease duration %s", waited, b.LeaseDuration)
	}
	if err := a.touch(t.Context()); !isTaken(err) {
		t.Errorf("the old leader renewed: %v", err)
	}
}

func TestLeaderGivesUpWhenItCannotRenew(t *testing.T) {
	api := &oneLease{}
	a := testElector(api, "a")
	if err := a.acquire(t.Context(), slog.Default()); err != nil {
		t.Fatal(err)
	}
	api.mu.Lock()
	api.down = errors.New("connection refused")
	api.mu.Unlock()
	start := time.Now()
	err := a.renew(t.Context())
	if err == nil || time.Since(start) >= a.LeaseDuration {
		t.Errorf("renew: %v after %s", err, time.Since(start))
	}
}

func TestConfigCheck(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		ok     bool
	}{
		{name: "the defaults are good", change: func(*Config) {}, ok: true},
		{name: "a deadline as long as the lease lets two lead", change: func(c *Config) { c.RenewDeadline = c.LeaseDuration }},
		{name: "a retry period as long as the deadline never renews in time", change: func(c *Config) { c.RetryPeriod = c.RenewDeadline }},
		{name: "no name", change: func(c *Config) { c.Name = "" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Defaults("x")
			tt.change(&c)
			if err := c.check(); (err == nil) != tt.ok {
				t.Errorf("check: %v", err)
			}
		})
	}
}
