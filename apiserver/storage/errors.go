package storage

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The classes of errors; ask with errors.Is. For a comparison that failed, ask with errors.As for a *Conflict.
var (
	// ErrNotFound: there is no such key.
	ErrNotFound = errors.New("key not found")
	// ErrExists: there is such a key already.
	ErrExists = errors.New("key exists")
	// ErrMoved: a Condition of the write does not hold. Nothing was written.
	ErrMoved = errors.New("what the write goes by has changed")
	// ErrCompacted: the revision asked for is no longer kept.
	ErrCompacted = errors.New("revision has been compacted")
	// ErrFuture: the revision asked for has not happened yet.
	ErrFuture = errors.New("revision is in the future")
	// ErrTooLarge: etcd refuses a value of this size.
	ErrTooLarge = errors.New("etcdserver: request is too large")
	// ErrTimeout: etcd did not answer in time. A write may or may not have happened: 504.
	ErrTimeout = errors.New("etcd did not answer in time")
	// ErrUnavailable: etcd refused, or cannot be reached. A write has not happened: 503.
	ErrUnavailable = errors.New("etcd is unavailable")
	// ErrTransform: the value cannot be encrypted or decrypted. That may pass, with a plugin that answers again or another
	// configuration.
	ErrTransform = errors.New("value cannot be encrypted or decrypted")
)

// unreadable reads as its reason alone, as with upstream.
type unreadable struct{ reason error }

func transformError(err error) error { return &unreadable{err} }

func (e *unreadable) Error() string        { return e.reason.Error() }
func (e *unreadable) Unwrap() error        { return e.reason }
func (e *unreadable) Is(target error) bool { return target == ErrTransform }

// Conflict says that a key is not at the revision that a write expected.
type Conflict struct {
	Key string
	// Current is what is there instead; nil if the key is gone.
	Current *KV
}

func (e *Conflict) Error() string {
	if e.Current == nil {
		return fmt.Sprintf("%s is gone", e.Key)
	}
	return fmt.Sprintf("%s is at revision %d", e.Key, e.Current.Revision)
}

// classify wraps what the etcd client answers into one of the classes. doing says what was tried.
func classify(err error, doing, key string) error {
	if err == nil {
		return nil
	}
	class := classOf(err)
	if class == nil {
		return fmt.Errorf("%s %s: %w", doing, key, err)
	}
	return fmt.Errorf("%s %s: %w (%w)", doing, key, class, err)
}

func classOf(err error) error {
	switch converted := rpctypes.Error(err); {
	case errors.Is(converted, rpctypes.ErrCompacted):
		return ErrCompacted
	case errors.Is(converted, rpctypes.ErrFutureRev):
		return ErrFuture
	case errors.Is(converted, rpctypes.ErrRequestTooLarge):
		return ErrTooLarge
	case errors.Is(converted, rpctypes.ErrTimeout), errors.Is(converted, rpctypes.ErrTimeoutDueToLeaderFail),
		errors.Is(converted, rpctypes.ErrTimeoutDueToConnectionLost), errors.Is(converted, rpctypes.ErrTimeoutWaitAppliedIndex):
		return ErrTimeout
	case errors.Is(converted, rpctypes.ErrNoLeader), errors.Is(converted, rpctypes.ErrNotLeader), errors.Is(converted, rpctypes.ErrStopped),
		errors.Is(converted, rpctypes.ErrTooManyRequests), errors.Is(converted, rpctypes.ErrLeaderChanged), errors.Is(converted, rpctypes.ErrNoSpace),
		errors.Is(converted, rpctypes.ErrUnhealthy):
		return ErrUnavailable
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return ErrTimeout
	case errors.Is(err, context.Canceled):
		return nil
	case clientv3.IsConnCanceled(err):
		return ErrUnavailable
	}
	switch status.Code(err) {
	case codes.DeadlineExceeded:
		return ErrTimeout
	case codes.Unavailable, codes.ResourceExhausted:
		return ErrUnavailable
	}
	return nil
}
