package server

import (
	"net/http"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/skiff-project/skiff/apiserver/request"
	"github.com/skiff-project/skiff/apiserver/server/fairness"
)

func nothing() {}

// wait holds the request back until its share of the server is free. A watch gives its place back as soon as its answer
// begins: what costs is to begin. Connections into pods cost the server nothing worth sharing.
func (s *Server) wait(w *response, r *http.Request, state *request.State) (release func(), err error) {
	info := state.Info
	if s.cfg.Fair == nil || info.LongRunning() && info.Verb != "watch" {
		return nothing, nil
	}
	place, err := s.cfg.Fair.Enter(r.Context(), fairness.Request{User: state.User, Info: info})
	h := w.Header()
	if place.SchemaUID != "" {
		h["X-Kubernetes-Pf-Flowschema-Uid"] = []string{place.SchemaUID}
		h["X-Kubernetes-Pf-Prioritylevel-Uid"] = []string{place.LevelUID}
	}
	if err != nil {
		h.Set("Retry-After", strconv.Itoa(fairness.RetryAfter))
		return nil, apierrors.NewTooManyRequests("too many requests, please try again later", fairness.RetryAfter)
	}
	if info.Verb == "watch" {
		before := w.begun
		w.begun = func() {
			place.Leave()
			if before != nil {
				before()
			}
		}
	}
	return place.Leave, nil
}
