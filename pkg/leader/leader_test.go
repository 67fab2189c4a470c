package leader_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/apiserver/apitest"
	"github.com/skiff-project/skiff/pkg/leader"
)

func config(identity string) leader.Config {
	c := leader.Defaults("test")
	c.Identity, c.Namespace = identity, metav1.NamespaceDefault
	c.LeaseDuration, c.RenewDeadline, c.RetryPeriod = 4*time.Second, 2*time.Second, 200*time.Millisecond
	return c
}

func TestHandOver(t *testing.T) {
	api := apitest.Start(t)
	var working atomic.Int32
	work := func(started chan<- struct{}) func(context.Context) error {
		return func(ctx context.Context) error {
			if working.Add(1) > 1 {
				t.Error("two lead at a time")
			}
			close(started)
			<-ctx.Done()
			time.Sleep(100 * time.Millisecond) // winding up: the lease must not be free yet
			working.Add(-1)
			return nil
		}
	}
	run := func(identity string) (stop func() error, started chan struct{}) {
		ctx, cancel := context.WithCancel(t.Context())
		started, done := make(chan struct{}), make(chan error, 1)
		go func() { done <- leader.Run(ctx, api.Config, config(identity), work(started)) }()
		return func() error { cancel(); return <-done }, started
	}
	stopA, startedA := run("a")
	<-startedA
	stopB, startedB := run("b")
	select {
	case <-startedB:
		t.Fatal("b leads beside a")
	case <-time.After(time.Second):
	}
	at := time.Now()
	if err := stopA(); err != nil {
		t.Errorf("a: %v", err)
	}
	select {
	case <-startedB:
	case <-time.After(2 * time.Second):
		t.Fatal("b does not take over")
	}
	t.Logf("handed over in %s", time.Since(at))
	if err := stopB(); err != nil {
		t.Errorf("b: %v", err)
	}
}

func TestLeaderWhoseLeaseIsTakenEndsWithAReason(t *testing.T) {
	api := apitest.Start(t)
	ended := make(chan struct{})
	started, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- leader.Run(t.Context(), api.Config, config("a"), func(ctx context.Context) error {
			close(started)
			<-ctx.Done()
			close(ended)
			return nil
		})
	}()
	<-started
	leases := api.Client().CoordinationV1().Leases(metav1.NamespaceDefault)
	apitest.Eventually(t, func() error {
		lease, err := leases.Get(t.Context(), "test", metav1.GetOptions{})
		if err != nil {
			return err
		}
		lease.Spec.HolderIdentity = ptr.To("thief")
		_, err = leases.Update(t.Context(), lease, metav1.UpdateOptions{})
		return err
	})
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "lost the lease default/test") || !strings.Contains(err.Error(), "thief") {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("still leads")
	}
	<-ended
}
