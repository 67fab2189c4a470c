package authn

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/skiff-project/skiff/apiserver/request"
)

// FrontProxy lets servers in front of this one name the user in headers. They prove who they are by a certificate of a
// CA that signs nothing else.
type FrontProxy struct {
	CAs func() *x509.CertPool
	// AllowedNames are common names that may do so; empty allows every certificate of CAs.
	AllowedNames []string
	Headers      Headers
}

// Headers name the headers, each in order of preference.
type Headers struct {
	User, UID, Group, ExtraPrefix []string
}

var standardHeaders = Headers{User: []string{"X-Remote-User"}, UID: []string{"X-Remote-Uid"}, Group: []string{"X-Remote-Group"}, ExtraPrefix: []string{"X-Remote-Extra-"}}

// StandardHeaders are those that upstream's flags are usually set to.
func StandardHeaders() Headers { return standardHeaders }

func (f *FrontProxy) authenticate(r *http.Request) (*request.User, error) {
	name := first(r.Header, f.Headers.User)
	if name == "" || r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, nil
	}
	chain := r.TLS.PeerCertificates
	if err := verify(chain, f.CAs()); err != nil {
		// The certificate may be that of an ordinary client, who merely sends such headers: they mean nothing then.
		return nil, nil //nolint:nilerr // see above
	}
	if len(f.AllowedNames) > 0 && !slices.Contains(f.AllowedNames, chain[0].Subject.CommonName) {
		return nil, fmt.Errorf("x509: subject with cn=%s is not in the allowed list", chain[0].Subject.CommonName)
	}
	user := &request.User{Name: name, UID: first(r.Header, f.Headers.UID), Extra: f.Headers.extra(r.Header)}
	for _, h := range f.Headers.Group {
		user.Groups = append(user.Groups, r.Header.Values(h)...)
	}
	if name != anonymousUser && !slices.Contains(user.Groups, authenticated) {
		user.Groups = append(user.Groups, authenticated)
	}
	return user, nil
}

func first(h http.Header, names []string) string {
	for _, name := range names {
		if v := h.Get(name); v != "" {
			return v
		}
	}
	return ""
}

func (n Headers) extra(h http.Header) map[string][]string {
	out := map[string][]string{}
	for name, values := range h {
		for _, prefix := range n.ExtraPrefix {
			if len(name) <= len(prefix) || !strings.EqualFold(name[:len(prefix)], prefix) {
				continue
			}
			key := strings.ToLower(name[len(prefix):])
			if plain, err := url.PathUnescape(key); err == nil {
				key = plain
			}
			out[key] = append(out[key], values...)
		}
	}
	return out
}

func (n Headers) strip(h http.Header) {
	for _, list := range [][]string{n.User, n.UID, n.Group} {
		for _, name := range list {
			h.Del(name)
		}
	}
	for name := range h {
		for _, prefix := range n.ExtraPrefix {
			if len(name) > len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
				delete(h, name)
			}
		}
	}
}
