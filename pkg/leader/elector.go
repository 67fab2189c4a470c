package leader

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
)

// leases is what an elector needs of the API.
type leases interface {
	Get(ctx context.Context, name string, opts metav1.GetOptions) (*coordinationv1.Lease, error)
	Create(ctx context.Context, lease *coordinationv1.Lease, opts metav1.CreateOptions) (*coordinationv1.Lease, error)
	Update(ctx context.Context, lease *coordinationv1.Lease, opts metav1.UpdateOptions) (*coordinationv1.Lease, error)
	Watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error)
}

// elector takes and keeps one Lease. It is used by one goroutine at a time.
type elector struct {
	Config
	leases leases

	// lease is the Lease as last seen and seen when its state was first seen. The age of a foreign Lease is measured by
	// our own clock from there; the times written in it come from a clock that may differ.
	lease *coordinationv1.Lease
	seen  time.Time

	// failures counts the attempts since the start that found no API.
	failures int
}

// How often, and how many times, the API is looked for at the start.
const (
	startRetry    = 50 * time.Millisecond
	startFailures = 100
)

// acquire returns nil once the Lease is ours, or an error when ctx has ended.
func (e *elector) acquire(ctx context.Context, log *slog.Logger) error {
	holder := ""
	for {
		if err := e.look(ctx); err != nil && ctx.Err() == nil {
			log.Warn("cannot read the lease", "error", err)
		} else if err == nil {
			if e.free() {
				switch err := e.take(ctx); {
				case err == nil:
					return nil
				case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
					continue // somebody was faster: look who
				case ctx.Err() == nil:
					log.Warn("cannot take the lease", "error", err)
				}
			} else if now := ptr.Deref(e.lease.Spec.HolderIdentity, ""); now != holder {
				holder = now
				log.Info("another process leads", "leader", holder)
			}
		}
		if err := e.wait(ctx); err != nil {
			return err
		}
	}
}

// look reads the Lease.
func (e *elector) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, e.RenewDeadline)
	defer cancel()
	lease, err := e.leases.Get(ctx, e.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		e.lease = nil
		return nil
	}
	if err != nil {
		return err
	}
	e.observe(lease)
	return nil
}

func (e *elector) observe(lease *coordinationv1.Lease) {
	if e.lease == nil || e.lease.ResourceVersion != lease.ResourceVersion || e.lease.UID != lease.UID {
		e.lease, e.seen = lease, time.Now()
	}
}

// free says that nobody holds the Lease, or that its holder has been silent for its whole duration.
func (e *elector) free() bool {
	return e.lease == nil || ptr.Deref(e.lease.Spec.HolderIdentity, "") == "" || !time.Now().Before(e.expiry())
}

// expiry is when the holder of the Lease has been silent for too long. The duration is ours, as in client-go: a leader
// that was configured with an absurd one must not lock everybody else out.
func (e *elector) expiry() time.Time { return e.seen.Add(e.LeaseDuration) }

// wait returns when another look at the Lease is worth it: it was given up or deleted, its time is over, or, if it cannot be
// watched, a retry period has passed. Renewals by its holder are taken note of without returning.
func (e *elector) wait(ctx context.Context) error {
	var events <-chan watch.Event
	retry := time.Duration(0)
	options := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", e.Name).String()}
	if e.lease != nil {
		options.ResourceVersion = e.lease.ResourceVersion
	}
	if e.lease == nil && e.failures < startFailures {
		// The API has not answered since this process started: most likely it is starting too, and will be there at
		// once. The first seconds of a cluster are not to be spent on waiting out a period made for failures.
		e.failures++
		retry = min(startRetry, e.RetryPeriod)
	} else if e.lease == nil || e.free() {
		retry = e.RetryPeriod // nothing to wait for but the end of an error
	} else if w, err := e.leases.Watch(ctx, options); err != nil {
		retry = e.RetryPeriod
	} else {
		defer w.Stop()
		events = w.ResultChan()
	}
	for {
		until := retry
		if until == 0 {
			until = max(time.Until(e.expiry()), 0)
		}
		timer := time.NewTimer(until)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
			return nil
		case event, open := <-events:
			timer.Stop()
			lease, ok := event.Object.(*coordinationv1.Lease)
			switch {
			case !open || event.Type == watch.Error:
				// The server ended the watch: look again, but not in a tight loop if it keeps doing so.
				events, retry = nil, e.RetryPeriod
				continue
			case event.Type == watch.Bookmark || !ok:
				continue
			case event.Type == watch.Deleted:
				return nil
			}
			e.observe(lease)
			if e.free() {
				return nil
			}
		}
	}
}

// take writes our name into the Lease that was last seen.
func (e *elector) take(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, e.RenewDeadline)
	defer cancel()
	now := metav1.NowMicro()
	spec := coordinationv1.LeaseSpec{
		HolderIdentity:       &e.Identity,
		LeaseDurationSeconds: ptr.To(int32(e.LeaseDuration / time.Second)),
		AcquireTime:          &now, RenewTime: &now, LeaseTransitions: ptr.To[int32](0),
	}
	if e.lease == nil {
		lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: e.Name, Namespace: e.Namespace}, Spec: spec}
		return e.wrote(e.leases.Create(ctx, lease, metav1.CreateOptions{}))
	}
	lease := e.lease.DeepCopy()
	spec.LeaseTransitions = ptr.To(ptr.Deref(lease.Spec.LeaseTransitions, 0) + 1)
	lease.Spec = spec
	return e.wrote(e.leases.Update(ctx, lease, metav1.UpdateOptions{}))
}

func (e *elector) wrote(lease *coordinationv1.Lease, err error) error {
	if err == nil {
		e.observe(lease)
	}
	return err
}

// renew keeps the Lease until ctx ends (nil), or until it belongs to somebody else or could not be renewed in time (why).
func (e *elector) renew(ctx context.Context) error {
	renewed := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(e.RetryPeriod):
		}
		try, cancel := context.WithDeadline(ctx, renewed.Add(e.RenewDeadline))
		started := time.Now()
		err := e.touch(try)
		cancel()
		switch {
		case err == nil:
			// Counted from before the request: the others may have seen it that early.
			renewed = started
		case ctx.Err() != nil:
			return nil
		case isTaken(err):
			return err
		case time.Since(renewed) >= e.RenewDeadline:
			return fmt.Errorf("not renewed for %s: %w", e.RenewDeadline, err)
		}
	}
}

type takenError struct{ by string }

func (t takenError) Error() string { return fmt.Sprintf("it belongs to %q now", t.by) }

func isTaken(err error) bool { _, ok := err.(takenError); return ok }

// touch renews the Lease once. After a conflict it looks who wrote: others may well label or annotate our Lease.
func (e *elector) touch(ctx context.Context) error {
	lease := e.lease.DeepCopy()
	lease.Spec.RenewTime = ptr.To(metav1.NowMicro())
	err := e.wrote(e.leases.Update(ctx, lease, metav1.UpdateOptions{}))
	if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		return err
	}
	if lookErr := e.look(ctx); lookErr != nil {
		return lookErr
	}
	if e.lease == nil {
		return takenError{"nobody"}
	}
	if holder := ptr.Deref(e.lease.Spec.HolderIdentity, ""); holder != e.Identity {
		return takenError{holder}
	}
	lease = e.lease.DeepCopy()
	lease.Spec.RenewTime = ptr.To(metav1.NowMicro())
	return e.wrote(e.leases.Update(ctx, lease, metav1.UpdateOptions{}))
}

// release gives the Lease back. A renewal that was cancelled on its way may have been written, so it looks first.
func (e *elector) release(ctx context.Context, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, e.RetryPeriod)
	defer cancel()
	err := e.look(ctx)
	if err == nil && e.lease != nil && ptr.Deref(e.lease.Spec.HolderIdentity, "") == e.Identity {
		lease := e.lease.DeepCopy()
		lease.Spec.HolderIdentity = ptr.To("")
		lease.Spec.LeaseDurationSeconds = ptr.To[int32](1)
		lease.Spec.RenewTime = ptr.To(metav1.NowMicro())
		err = e.wrote(e.leases.Update(ctx, lease, metav1.UpdateOptions{}))
	}
	if err != nil {
		log.Warn("could not give the lease back; others will wait until it expires", "error", err)
	}
}
