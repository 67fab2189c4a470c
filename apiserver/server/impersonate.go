package server

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/request"
)

// impersonate replaces the user by the one that Impersonate-* headers name, if the user may act as everything that they
// name: user or service account, each group, the UID, and each value of each extra.
func (s *Server) impersonate(r *http.Request, state *request.State) error {
	as, asked := readImpersonation(r.Header)
	if !asked {
		return nil
	}
	if as.user == "" {
		// Upstream prints its own type here, and people search for the text.
		return apierrors.NewBadRequest(fmt.Sprintf("requested &user.DefaultInfo{Name:%q, UID:%q, Groups:%#v, Extra:%#v} without impersonating a user name",
			as.user, as.uid, as.groups, as.extra))
	}
	for _, access := range as.accesses(state.User) {
		decision, reason, err := s.cfg.Authz.Decide(r.Context(), access)
		if decision != kinds.Allow || err != nil {
			return Forbidden(access, reason)
		}
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "Impersonate-") {
			r.Header.Del(name)
		}
	}
	state.Impersonator, state.User = state.User, as.result()
	return nil
}

// impersonation is what the headers say.
type impersonation struct {
	user, uid string
	groups    []string
	extra     map[string][]string
}

func readImpersonation(h http.Header) (impersonation, bool) {
	as := impersonation{
		user: h.Get(authenticationv1.ImpersonateUserHeader), uid: h.Get(authenticationv1.ImpersonateUIDHeader),
		groups: h[authenticationv1.ImpersonateGroupHeader],
	}
	for name, values := range h {
		key, ok := strings.CutPrefix(name, authenticationv1.ImpersonateUserExtraHeaderPrefix)
		if !ok {
			continue
		}
		key = strings.ToLower(key)
		if plain, err := url.PathUnescape(key); err == nil {
			key = plain
		}
		if as.extra == nil {
			as.extra = map[string][]string{}
		}
		as.extra[key] = append(as.extra[key], values...)
	}
	return as, as.user != "" || as.uid != "" || len(as.groups) > 0 || len(as.extra) > 0
}

// accesses are the questions to the authorizer, in upstream's order.
func (i impersonation) accesses(by *request.User) []kinds.Access {
	ask := func(group, version, resource, subresource, namespace, name string) kinds.Access {
		return kinds.Access{User: *by, Verb: "impersonate", Group: group, Version: version, Resource: resource,
			Subresource: subresource, Namespace: namespace, Name: name}
	}
	var out []kinds.Access
	if ns, name, ok := serviceAccount(i.user); ok {
		out = append(out, ask("", "", "serviceaccounts", "", ns, name))
	} else {
		out = append(out, ask("", "", "users", "", "", i.user))
	}
	for _, group := range i.groups {
		out = append(out, ask("", "", "groups", "", "", group))
	}
	for key, values := range i.extra {
		for _, value := range values {
			out = append(out, ask("authentication.k8s.io", "v1", "userextras", key, "", value))
		}
	}
	if i.uid != "" {
		out = append(out, ask("authentication.k8s.io", "v1", "uids", "", "", i.uid))
	}
	return out
}

// result is the user to act as. Groups that were not named are those that the name alone gives.
func (i impersonation) result() *request.User {
	groups := slices.Clone(i.groups)
	if ns, _, ok := serviceAccount(i.user); ok && len(groups) == 0 {
		groups = []string{"system:serviceaccounts", "system:serviceaccounts:" + ns}
	}
	const authenticated, unauthenticated = "system:authenticated", "system:unauthenticated"
	switch {
	case i.user == anonymous:
		if !slices.Contains(groups, unauthenticated) {
			groups = append(groups, unauthenticated)
		}
	case !slices.Contains(groups, authenticated) && !slices.Contains(groups, unauthenticated):
		groups = append(groups, authenticated)
	}
	return &request.User{Name: i.user, UID: i.uid, Groups: groups, Extra: i.extra}
}

// serviceAccount takes the name of a service account user apart.
func serviceAccount(user string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(user, "system:serviceaccount:")
	if !ok {
		return "", "", false
	}
	namespace, name, ok = strings.Cut(rest, ":")
	return namespace, name, ok && namespace != "" && name != "" && !strings.Contains(name, ":")
}
