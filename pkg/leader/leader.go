package leader

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/google/uuid"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/skiff-project/skiff/pkg/run"
)

// lostGrace is how long work may take to stop once the lease is lost. Another leader starts no earlier than
// LeaseDuration-RenewDeadline later; work that has not ended by then must end with the process.
const lostGrace = 2 * time.Second

// Run waits for the Lease and then calls lead, whose context ends when ctx does or when the Lease is lost. It answers nil
// if ctx ended, the error of lead, or why the Lease was lost; in the last two cases the process has to end.
func Run(ctx context.Context, restConfig *rest.Config, c Config, lead func(ctx context.Context) error) error {
	if !c.Enabled {
		return run.Protect(ctx, lead)
	}
	if err := c.check(); err != nil {
		return err
	}
	if c.Identity == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("leader election: %w", err)
		}
		c.Identity = host + "_" + uuid.NewString()
	}
	client, err := kubernetes.NewForConfig(rest.AddUserAgent(rest.CopyConfig(restConfig), "leader-election"))
	if err != nil {
		return fmt.Errorf("leader election: %w", err)
	}
	e := &elector{Config: c, leases: client.CoordinationV1().Leases(c.Namespace)}
	log := slog.With("lease", c.Namespace+"/"+c.Name, "identity", c.Identity)

	if err := e.acquire(ctx, log); err != nil {
		return nil // only the end of ctx ends the wait
	}
	log.Info("leading")

	work, stop := context.WithCancel(ctx)
	defer stop()
	renewing, stopRenewing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRenewing()
	worked, lost := make(chan error, 1), make(chan error, 1)
	go func() { worked <- run.Protect(work, lead) }()
	go func() { lost <- e.renew(renewing) }()

	select {
	case err = <-worked:
		stopRenewing()
		if <-lost == nil {
			e.release(context.WithoutCancel(ctx), log)
		}
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return nil
		}
		if err == nil && ctx.Err() == nil {
			return errors.New("the work of the leader ended without being asked to")
		}
		return err
	case err = <-lost:
		stop()
		select {
		case <-worked:
		case <-time.After(lostGrace):
			log.Error("work did not stop with the lease", "grace", lostGrace)
		}
		return fmt.Errorf("lost the lease %s/%s: %w", c.Namespace, c.Name, err)
	}
}
