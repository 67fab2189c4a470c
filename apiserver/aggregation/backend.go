package aggregation

import (
	"context"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilproxy "k8s.io/apimachinery/pkg/util/proxy"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/skiff-project/skiff/apiserver/discovery"
	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/request"
)

// backend is the server of one group and version.
type backend struct {
	g         *Aggregator
	name      string
	gv        schema.GroupVersion
	spec      apiregistrationv1.APIServiceSpec
	transport *http.Transport
	// badBundle is why the server can never be trusted.
	badBundle error
	ctx       context.Context
	stop      context.CancelFunc

	mu        sync.Mutex
	available bool
	resources []discovery.Resource
	document  []byte
	seen      bool
}

func newBackend(ctx context.Context, g *Aggregator, s *apiregistrationv1.APIService) *backend {
	b := &backend{g: g, name: s.Name, gv: groupVersion(s), spec: *s.Spec.DeepCopy()}
	b.ctx, b.stop = context.WithCancel(ctx)
	service := b.spec.Service
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: service.Name + "." + service.Namespace + ".svc", InsecureSkipVerify: b.spec.InsecureSkipTLSVerify,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if c := g.cfg.Certificate(); c != nil {
				return c, nil
			}
			return &tls.Certificate{}, nil
		}}
	if len(b.spec.CABundle) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(b.spec.CABundle) {
			b.badBundle = errors.New("unable to load root certificates: unable to parse bytes as PEM block")
		}
	}
	// HTTP/1.1 alone can switch protocols.
	b.transport = &http.Transport{TLSClientConfig: config, TLSHandshakeTimeout: 10 * time.Second, MaxIdleConnsPerHost: 16, IdleConnTimeout: 30 * time.Second,
		DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return g.cfg.Dial(ctx, service.Namespace, service.Name, b.port())
		}}
	return b
}

func (b *backend) port() int32 {
	if p := b.spec.Service.Port; p != nil {
		return *p
	}
	return 443
}

// same says that nothing about how to reach the server has changed.
func (b *backend) same(s *apiregistrationv1.APIService) bool {
	return b.name == s.Name && reflect.DeepEqual(b.spec, s.Spec)
}

// answered is what the server has, whether that is of an earlier time, and whether it has ever answered.
func (b *backend) answered() (resources []discovery.Resource, stale, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.resources, !b.available, b.seen
}

func (b *backend) host() string {
	return b.spec.Service.Name + "." + b.spec.Service.Namespace + ".svc:" + strconv.Itoa(int(b.port()))
}

// watch asks the server what it has, again and again, and says in the APIService's status whether it answers.
func (b *backend) watch() {
	defer b.transport.CloseIdleConnections()
	for {
		condition, changed := b.look()
		if b.ctx.Err() != nil {
			return
		}
		if err := b.report(condition); err != nil {
			b.g.cfg.Log.Warn("the condition of an APIService is not written", "apiservice", b.name, "err", err)
		}
		if changed {
			b.g.publish()
		}
		wait := steady
		if condition.Status != apiregistrationv1.ConditionTrue {
			wait = again
		}
		select {
		case <-b.ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// look asks once. changed says that clients are to be told.
func (b *backend) look() (condition apiregistrationv1.APIServiceCondition, changed bool) {
	resources, reason, message := b.ask()
	b.mu.Lock()
	was := b.available
	b.available = reason == ""
	if b.available {
		changed = !was || !b.seen || describe(resources) != describe(b.resources)
		b.resources, b.seen = resources, true
	} else {
		changed = was
	}
	if changed {
		b.document = nil
	}
	b.mu.Unlock()
	if reason == "" {
		return apiregistrationv1.APIServiceCondition{Type: apiregistrationv1.Available, Status: apiregistrationv1.ConditionTrue, Reason: "Passed", Message: "all checks passed"}, changed
	}
	return apiregistrationv1.APIServiceCondition{Type: apiregistrationv1.Available, Status: apiregistrationv1.ConditionFalse, Reason: reason, Message: message}, changed
}

func describe(resources []discovery.Resource) string {
	var out strings.Builder
	for _, r := range resources {
		fmt.Fprintln(&out, r.Kind.Resource, r.Kind.GVK, r.Kind.Scope, r.Kind.Verbs, r.Kind.ShortNames, r.Kind.Categories, len(r.Kind.Subresources))
	}
	return out.String()
}

// ask finds out what the server has. The reasons and messages of a server that cannot be asked are upstream's.
func (b *backend) ask() (resources []discovery.Resource, reason, message string) {
	ctx, cancel := context.WithTimeout(b.ctx, probe)
	defer cancel()
	service := b.spec.Service
	row := b.g.cfg.Store.Kind(schema.GroupResource{Resource: "services"})
	if _, err := b.g.cfg.Store.Get(ctx, row, service.Namespace, service.Name); apierrors.IsNotFound(err) {
		return nil, "ServiceNotFound", fmt.Sprintf("service/%s in %q is not present", service.Name, service.Namespace)
	} else if err != nil {
		return nil, "ServiceAccessError", fmt.Sprintf("service/%s in %q cannot be checked due to: %v", service.Name, service.Namespace, err)
	}
	path := "/apis/" + b.gv.String()
	failed := func(err error) (_ []discovery.Resource, reason, message string) {
		return nil, "FailedDiscoveryCheck", fmt.Sprintf("failing or missing response from https://%s%s: %v", b.host(), path, err)
	}
	if b.badBundle != nil {
		return failed(b.badBundle)
	}
	body, code, err := b.get(ctx, path, "application/json")
	if err != nil {
		return failed(err)
	}
	if code < 200 || code > 299 {
		return failed(fmt.Errorf("bad status from https://%s%s: %d", b.host(), path, code))
	}
	var list metav1.APIResourceList
	if err := json.Unmarshal(body, &list); err != nil {
		return failed(err)
	}
	return rows(b.gv, list.APIResources), "", ""
}

// rows are kinds as far as discovery needs them.
func rows(gv schema.GroupVersion, list []metav1.APIResource) []discovery.Resource {
	byName := map[string]*kinds.Kind{}
	var out []discovery.Resource
	for _, r := range list {
		if strings.Contains(r.Name, "/") {
			continue
		}
		version := kinds.Version{GVK: gv.WithKind(r.Kind)}
		k := &kinds.Kind{GVK: version.GVK, Resource: r.Name, Singular: r.SingularName, ShortNames: r.ShortNames, Categories: r.Categories, Scope: kinds.Scope(r.Namespaced),
			Verbs: r.Verbs, Served: []kinds.Version{version}, Stored: version, Subresources: map[string]*kinds.Subresource{}}
		byName[r.Name] = k
		out = append(out, discovery.Resource{Kind: k, Version: &k.Served[0]})
	}
	for _, r := range list {
		parent, name, ok := strings.Cut(r.Name, "/")
		if k := byName[parent]; ok && k != nil {
			sub := gv
			if r.Group != "" || r.Version != "" {
				sub = schema.GroupVersion{Group: r.Group, Version: r.Version}
			}
			k.Subresources[name] = &kinds.Subresource{GVK: sub.WithKind(r.Kind), Verbs: r.Verbs}
		}
	}
	return out
}

// maxDocument bounds what another server may say about itself.
const maxDocument = 16 << 20

// get asks the server as this server's own user.
func (b *backend) get(ctx context.Context, path, accept string) (body []byte, code int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+b.host()+path, nil)
	if err != nil {
		return nil, 0, err
	}
	r.Header.Set("Accept", accept)
	speakFor(r.Header, &request.User{Name: "system:kube-aggregator", Groups: []string{"system:masters"}})
	resp, err := b.transport.RoundTrip(r)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxDocument))
	return body, resp.StatusCode, err
}

// openAPI fetches the server's description of its group and version, and keeps it until the server has changed.
func (b *backend) openAPI() ([]byte, error) {
	b.mu.Lock()
	document := b.document
	b.mu.Unlock()
	if document != nil {
		return document, nil
	}
	ctx, cancel := context.WithTimeout(b.ctx, 2*probe)
	defer cancel()
	body, code, err := b.get(ctx, "/openapi/v3/apis/"+b.gv.String(), "application/json")
	if err != nil {
		return nil, apierrors.NewServiceUnavailable(err.Error())
	}
	if code != http.StatusOK {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("https://%s does not describe %s: %d", b.host(), b.gv, code))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.document = body
	return body, nil
}

func (b *backend) hash() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return fmt.Sprintf("%X", sha512.Sum512([]byte(b.host()+describe(b.resources)+strconv.FormatBool(b.available))))
}

// report writes the condition if it is not there yet.
func (b *backend) report(c apiregistrationv1.APIServiceCondition) error {
	ctx, cancel := context.WithTimeout(b.ctx, probe)
	defer cancel()
	_, err := b.g.cfg.Store.Update(ctx, b.g.cfg.Kind, "", b.name, false, func(obj runtime.Object) error {
		s := obj.(*apiregistrationv1.APIService)
		for i := range s.Status.Conditions {
			old := &s.Status.Conditions[i]
			if old.Type != c.Type {
				continue
			}
			if c.LastTransitionTime = old.LastTransitionTime; old.Status != c.Status {
				c.LastTransitionTime = now()
			}
			*old = c
			return nil
		}
		c.LastTransitionTime = now()
		s.Status.Conditions = append(s.Status.Conditions, c)
		return nil
	})
	if apierrors.IsNotFound(err) || b.ctx.Err() != nil {
		return nil
	}
	return err
}

func now() metav1.Time { return metav1.Time{Time: time.Now().Truncate(time.Second)} }

// proxy hands a request on.
func (b *backend) proxy(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	available := b.available
	b.mu.Unlock()
	if !available {
		http.Error(w, "service unavailable", http.StatusServiceUnavailable)
		return
	}
	user := request.UserFrom(r.Context())
	if user == nil {
		http.Error(w, "missing user", http.StatusInternalServerError)
		return
	}
	location := &url.URL{Scheme: "https", Host: b.host(), Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	out := r.Clone(r.Context())
	speakFor(out.Header, user)
	handler := utilproxy.NewUpgradeAwareHandler(location, b.transport, false, false, responder{})
	handler.UseLocationHost = true
	handler.ServeHTTP(w, out)
}

// speakFor says who the user is in the headers that the other server believes with our certificate, and takes away what
// the client may have put there.
func speakFor(h http.Header, user *request.User) {
	for name := range h {
		if strings.HasPrefix(http.CanonicalHeaderKey(name), "X-Remote-") {
			h.Del(name)
		}
	}
	h.Del("Authorization")
	h.Set("X-Remote-User", user.Name)
	if user.UID != "" {
		h.Set("X-Remote-Uid", user.UID)
	}
	for _, group := range user.Groups {
		h.Add("X-Remote-Group", group)
	}
	for key, values := range user.Extra {
		for _, value := range values {
			h.Add("X-Remote-Extra-"+url.PathEscape(key), value)
		}
	}
}

type responder struct{}

// Error answers where the other server does not.
func (responder) Error(w http.ResponseWriter, _ *http.Request, err error) {
	http.Error(w, "error trying to reach service: "+err.Error(), http.StatusServiceUnavailable)
}
