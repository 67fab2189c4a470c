package request

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// User is who a request comes from.
type User = kinds.UserInfo

// State is all that the handler chain finds out about one request. It is one value in the context, and not one a
// handler, because every context costs a copy of the request.
type State struct {
	// Info never changes. User is set by authentication and replaced by impersonation; what it points to never changes.
	Info *Info
	User *User
	// AuditID names the request in the audit log, in the answer's header and in logs.
	AuditID string
	// Impersonator is who really asks, where User is impersonated.
	Impersonator *User
	// Notes are annotations for the audit event (why authorization allowed, what admission found); nil where nobody
	// listens. They are read by the goroutine that serves the request alone.
	Notes map[string]string
	// noting is held to write Notes: a deletion of many objects is admitted by several goroutines.
	noting sync.Mutex
	// fresh says that this server's knowledge is no older than the request.
	fresh atomic.Bool

	warnings warnings
}

// KnownFresh says that, since ctx's request came in, this server has caught up with etcd: what it knows without asking is as
// fresh then as the request can demand.
func KnownFresh(ctx context.Context) bool {
	s := StateFrom(ctx)
	return s != nil && s.fresh.Load()
}

// CaughtUp notes that it has.
func CaughtUp(ctx context.Context) {
	if s := StateFrom(ctx); s != nil {
		s.fresh.Store(true)
	}
}

// Note adds an annotation for the audit event. It is safe for concurrent use.
func (s *State) Note(key, value string) {
	s.noting.Lock()
	defer s.noting.Unlock()
	if s.Notes == nil {
		s.Notes = map[string]string{}
	}
	s.Notes[key] = value
}

type stateKey struct{}

// WithState returns a context that carries state.
func WithState(ctx context.Context, state *State) context.Context {
	return context.WithValue(ctx, stateKey{}, state)
}

// StateFrom is the state of ctx's request, or nil outside of one.
func StateFrom(ctx context.Context) *State {
	s, _ := ctx.Value(stateKey{}).(*State)
	return s
}

// InfoFrom is what the request asks for, or nil outside a request.
func InfoFrom(ctx context.Context) *Info {
	if s := StateFrom(ctx); s != nil {
		return s.Info
	}
	return nil
}

// UserFrom is the user that the request acts as, or nil before authentication. It is shared: never change it.
func UserFrom(ctx context.Context) *User {
	if s := StateFrom(ctx); s != nil {
		return s.User
	}
	return nil
}

// AuditIDFrom is the ID under which audit log, answer header and logs name the request.
func AuditIDFrom(ctx context.Context) string {
	if s := StateFrom(ctx); s != nil {
		return s.AuditID
	}
	return ""
}

// WithWarnings makes header, which must not have been sent yet, the one that Warn writes to.
func (s *State) WithWarnings(header http.Header) { s.warnings.header = header }
