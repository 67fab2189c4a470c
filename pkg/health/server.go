package health

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/pflag"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/cert"
)

// Config says where to listen and what to tell.
type Config struct {
	// BindAddress and Port of the listener. Port 0 means none.
	BindAddress string
	Port        int
	// CertFile and KeyFile of the listener; both empty means a self-signed certificate that lives as long as the process.
	CertFile, KeyFile string
	// Component is the name in the self-signed certificate.
	Component string
	// Client asks who calls and what they may see. Without one only the health paths are served.
	Client kubernetes.Interface
	// Checks must all pass for the health paths to answer 200.
	Checks []Check
}

// Check is one thing that health depends on.
type Check struct {
	Name string
	Run  func(ctx context.Context) error
}

// AddFlags declares upstream's flags.
func (c *Config) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&c.BindAddress, "bind-address", c.BindAddress, "address of the HTTPS endpoint for health and metrics")
	flags.IntVar(&c.Port, "secure-port", c.Port, "port of the HTTPS endpoint for health and metrics; 0 turns it off")
	flags.StringVar(&c.CertFile, "tls-cert-file", c.CertFile, "certificate of the HTTPS endpoint; self-signed when empty")
	flags.StringVar(&c.KeyFile, "tls-private-key-file", c.KeyFile, "key of the HTTPS endpoint")
}

// Run serves until ctx ends.
func Run(ctx context.Context, c Config) error {
	if c.Port == 0 {
		<-ctx.Done()
		return nil
	}
	certificate, err := c.certificate()
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(c.BindAddress, strconv.Itoa(c.Port)))
	if err != nil {
		return fmt.Errorf("health endpoint: %w", err)
	}
	server := &http.Server{
		Handler: Handler(c), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 90 * time.Second,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
	}
	stopped := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			server.Close()
		}
	})
	defer stopped()
	if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("health endpoint: %w", err)
	}
	return nil
}

func (c Config) certificate() (tls.Certificate, error) {
	if c.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return pair, fmt.Errorf("certificate of the health endpoint: %w", err)
		}
		return pair, nil
	}
	certPEM, keyPEM, err := cert.GenerateSelfSignedCertKey(c.Component, nil, nil)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a certificate for the health endpoint: %w", err)
	}
	return tls.X509KeyPair(certPEM, keyPEM)
}

// Handler serves the paths without the listener.
func Handler(c Config) http.Handler {
	mux := http.NewServeMux()
	for _, path := range []string{"/healthz", "/livez", "/readyz"} {
		mux.Handle("GET "+path, c.health(path))
	}
	if c.Client != nil {
		mux.Handle("GET /metrics", c.allowed(promhttp.Handler()))
		mux.Handle("/debug/pprof/", c.allowed(http.HandlerFunc(pprof.Index)))
		mux.Handle("/debug/pprof/cmdline", c.allowed(http.HandlerFunc(pprof.Cmdline)))
		mux.Handle("/debug/pprof/profile", c.allowed(http.HandlerFunc(pprof.Profile)))
		mux.Handle("/debug/pprof/symbol", c.allowed(http.HandlerFunc(pprof.Symbol)))
		mux.Handle("/debug/pprof/trace", c.allowed(http.HandlerFunc(pprof.Trace)))
	}
	return mux
}

// health answers as upstream does: "ok", or one line a check when one fails or ?verbose asks for it.
func (c Config) health(path string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var lines strings.Builder
		failed := false
		for _, check := range append([]Check{{Name: "ping", Run: func(context.Context) error { return nil }}}, c.Checks...) {
			if err := check.Run(r.Context()); err != nil {
				failed = true
				fmt.Fprintf(&lines, "[-]%s failed: %v\n", check.Name, err)
			} else {
				fmt.Fprintf(&lines, "[+]%s ok\n", check.Name)
			}
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, verbose := r.URL.Query()["verbose"]
		switch name := strings.TrimPrefix(path, "/"); {
		case failed:
			w.WriteHeader(http.StatusInternalServerError)
			fmt.Fprintf(w, "%s%s check failed\n", lines.String(), name)
		case verbose:
			fmt.Fprintf(w, "%s%s check passed\n", lines.String(), name)
		default:
			fmt.Fprint(w, "ok")
		}
	})
}

// allowed lets those through who are known and may see the path.
func (c Config) allowed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !found {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		review, err := c.Client.AuthenticationV1().TokenReviews().Create(r.Context(),
			&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
		if err != nil {
			http.Error(w, "cannot ask the API server who is calling", http.StatusInternalServerError)
			return
		}
		if !review.Status.Authenticated {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		user := review.Status.User
		access := authorizationv1.SubjectAccessReviewSpec{
			User: user.Username, UID: user.UID, Groups: user.Groups, Extra: map[string]authorizationv1.ExtraValue{},
			NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: r.URL.Path, Verb: strings.ToLower(r.Method)},
		}
		for k, v := range user.Extra {
			access.Extra[k] = authorizationv1.ExtraValue(v)
		}
		answer, err := c.Client.AuthorizationV1().SubjectAccessReviews().Create(r.Context(),
			&authorizationv1.SubjectAccessReview{Spec: access}, metav1.CreateOptions{})
		if err != nil {
			http.Error(w, "cannot ask the API server what the caller may see", http.StatusInternalServerError)
			return
		}
		if !answer.Status.Allowed {
			http.Error(w, fmt.Sprintf("Forbidden: user %q cannot %s path %q", user.Username, strings.ToLower(r.Method), r.URL.Path), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
