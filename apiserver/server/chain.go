package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"time"

	"github.com/google/uuid"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/apiserver/request"
	"github.com/skiff-project/skiff/apiserver/wire"
)

// ServeHTTP implements http.Handler: it leads one request through the chain.
func (s *Server) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	start := time.Now()
	s.serving.Add(1)
	defer s.serving.Add(-1)
	w := &response{ResponseWriter: rw}
	state := &request.State{AuditID: auditID(r)}
	state.WithWarnings(w.Header())
	h := w.Header()
	h["Audit-Id"] = []string{state.AuditID}
	h["Cache-Control"] = noCache

	defer s.caught(w, r)
	info, err := request.Parse(r)
	state.Info = info
	ctx := request.WithState(r.Context(), state)
	if info.LongRunning() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.stopping, cancel)()
	} else {
		timeout, terr := s.timeout(r)
		if err == nil {
			err = terr
		}
		var cancel context.CancelFunc
		w.deadline = start.Add(timeout)
		ctx, cancel = context.WithDeadline(ctx, w.deadline)
		defer cancel()
		defer w.disarm()
		defer bodyDeadline(ctx, rw, r)()
	}
	r = r.WithContext(ctx)
	defer s.metrics.observe(w, r, state, start)()
	if err == nil {
		err = s.serve(w, r, state)
	} else {
		err = apierrors.NewBadRequest(err.Error())
	}
	if err != nil {
		h["X-Content-Type-Options"] = noSniff
		wire.WriteError(w, r, err)
	}
}

// Header values that never change are shared by all answers.
var (
	noCache = []string{"no-cache, private"}
	noSniff = []string{"nosniff"}
)

// serve is the part of the chain that knows what the request asks for.
func (s *Server) serve(w *response, r *http.Request, state *request.State) error {
	start := time.Now()
	user, err := s.cfg.Authn.Authenticate(r)
	s.access.authenticated(user, err, start)
	if err != nil || user == nil {
		if err != nil {
			s.cfg.Log.Debug("request not authenticated", "path", r.URL.Path, "from", r.RemoteAddr, "err", err)
		}
		limitStranger(w, r)
		if status := undecided(err); status != nil {
			s.cfg.Audit.Begin(w, r, state).End(int(status.Status().Code))
			return status
		}
		s.cfg.Audit.Begin(w, r, state).End(http.StatusUnauthorized)
		return apierrors.NewUnauthorized("Unauthorized")
	}
	s.cfg.Authn.Strip(r.Header)
	if user.Name == anonymous {
		limitStranger(w, r)
	}
	state.User = user
	s.metrics.user(user)

	if entry := s.cfg.Audit.Begin(w, r, state); entry != nil {
		w.tee, r.Body = entry.Tee(), entry.Body(r.Body)
		w.begun = func() { entry.Began(w.code) }
		defer func() {
			if p := recover(); p != nil {
				entry.Panicked(p)
				panic(p)
			}
			entry.End(w.code)
		}()
	}
	return s.answer(w, r, state)
}

// undecided is the error of an authentication that could not be carried out because etcd does not answer. Clients throw
// credentials away for a 401, and try again after a 503 or a 504.
func undecided(err error) *apierrors.StatusError {
	var status *apierrors.StatusError
	if errors.As(err, &status) && (status.ErrStatus.Code == http.StatusServiceUnavailable || status.ErrStatus.Code == http.StatusGatewayTimeout) {
		return status
	}
	return nil
}

// answer is what happens on behalf of a known user. Refusals are written here, within the audit log's entry.
func (s *Server) answer(w *response, r *http.Request, state *request.State) error {
	if err := s.allowed(w, r, state); err != nil {
		w.Header()["X-Content-Type-Options"] = noSniff
		wire.WriteError(w, r, err)
	}
	return nil
}

func (s *Server) allowed(w *response, r *http.Request, state *request.State) error {
	if err := s.impersonate(r, state); err != nil {
		return err
	}
	release, err := s.wait(w, r, state)
	if err != nil {
		return err
	}
	defer release()
	if err := s.authorize(r, state); err != nil {
		return err
	}
	s.dispatch(w, r, state.Info)
	return nil
}

func (s *Server) dispatch(w http.ResponseWriter, r *http.Request, info *request.Info) {
	if info.IsResource {
		s.cfg.API.ServeHTTP(w, r)
		return
	}
	s.paths.ServeHTTP(w, r)
}

const anonymous = "system:anonymous"

// limitStranger gives somebody unknown one request a connection: HTTP/2 makes floods cheap for the sender.
func limitStranger(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 2 {
		w.Header().Set("Connection", "close")
	}
}

// auditID keeps the ID that a proxy in front of the server gave, so that both logs agree.
func auditID(r *http.Request) string {
	if id := r.Header.Get("Audit-Id"); id != "" {
		return id
	}
	return uuid.NewString()
}

// timeout is ?timeout=, within what the server allows.
func (s *Server) timeout(r *http.Request) (time.Duration, error) {
	if r.URL.RawQuery == "" {
		return s.cfg.Timeout, nil
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	text := query.Get("timeout")
	if err != nil || text == "" {
		return s.cfg.Timeout, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return s.cfg.Timeout, fmt.Errorf("invalid timeout specified in the request URL - %w", err)
	}
	if d <= 0 || d > s.cfg.Timeout {
		return s.cfg.Timeout, nil
	}
	return d, nil
}

// caught turns a panic into a 500, or into a cut connection if the answer has begun: half an answer must not look like
// a whole one.
func (s *Server) caught(w *response, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(http.ErrAbortHandler)
	}
	s.cfg.Log.Error("panic while serving a request", "method", r.Method, "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	if w.code != 0 {
		panic(http.ErrAbortHandler)
	}
	wire.WriteError(w, r, &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure,
		Code: http.StatusInternalServerError, Reason: metav1.StatusReasonInternalError,
		Message: "This request caused apiserver to panic. Look in the logs for details."}})
}
