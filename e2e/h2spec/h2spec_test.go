package h2spec

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"

	"github.com/skiff-project/skiff/apiserver/h2"
)

// TestConformance runs the whole suite.
func TestConformance(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // a request that is cut short is what many cases are about
		_, _ = w.Write(make([]byte, 1000))
	}))
	srv.Listener = h2.Listener(srv.Listener)
	srv.EnableHTTP2 = true
	srv.TLS = &tls.Config{NextProtos: []string{"h2"}}
	(&h2.Server{}).Configure(srv.Config)
	srv.StartTLS()
	defer srv.Close()
	host, port, err := net.SplitHostPort(srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	c := &config.Config{Host: host, Port: number, Path: "/", Timeout: 2 * time.Second, MaxHeaderLen: 4000, TLS: true, Insecure: true, Strict: true}
	tests := 0
	for _, group := range []*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec()} {
		group.Test(c)
		tests += group.PassedCount + group.FailedCount + group.SkippedCount
		report(t, group)
	}
	if tests < 140 {
		t.Errorf("only %d cases ran", tests)
	}
}

func report(t *testing.T, group *spec.TestGroup) {
	for _, g := range group.Groups {
		report(t, g)
	}
	for i, c := range group.Tests {
		if c.Result == nil {
			continue
		}
		if c.Result.Failed {
			t.Errorf("%s/%d %s: %v", group.ID(), i+1, c.Desc, c.Result.Error)
		}
	}
}
