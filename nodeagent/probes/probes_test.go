package probes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func listen(t *testing.T) (net.Listener, int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, l.Addr().(*net.TCPAddr).Port
}

func TestHTTP(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s %s", r.Host, r.Header.Get("User-Agent"), r.Header.Get("Accept"), r.Header.Get("X-Own"))
	})
	mux.HandleFunc("/bad", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	mux.HandleFunc("/here", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok", http.StatusFound) })
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
	})
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	plain, secure := httptest.NewServer(mux), httptest.NewTLSServer(mux)
	defer plain.Close()
	defer secure.Close()
	_, closed := listen(t)
	port := func(s *httptest.Server) int { return s.Listener.Addr().(*net.TCPAddr).Port }
	tests := []struct {
		name string
		get  corev1.HTTPGetAction
		want Outcome
		says string
	}{
		{name: "an answer", get: corev1.HTTPGetAction{Path: "/ok", Port: intstr.FromInt(port(plain))}, says: " kube-probe/1.37 */* "},
		{name: "a named port, own headers", get: corev1.HTTPGetAction{Path: "ok", Port: intstr.FromString("web"), HTTPHeaders: []corev1.HTTPHeader{{Name: "X-Own", Value: "x"}, {Name: "Host", Value: "me"}, {Name: "Accept", Value: ""}}}, says: "me kube-probe/1.37  x"},
		{name: "TLS with any certificate", get: corev1.HTTPGetAction{Path: "/ok", Port: intstr.FromInt(port(secure)), Scheme: corev1.URISchemeHTTPS}, says: "kube-probe"},
		{name: "an error", get: corev1.HTTPGetAction{Path: "/bad", Port: intstr.FromInt(port(plain))}, want: Failure, says: "HTTP probe failed with statuscode: 500"},
		{name: "a redirect on the host", get: corev1.HTTPGetAction{Path: "/here", Port: intstr.FromInt(port(plain))}, says: "kube-probe"},
		{name: "a redirect away", get: corev1.HTTPGetAction{Path: "/away", Port: intstr.FromInt(port(plain))}, want: Warning, says: "Probe terminated redirects"},
		{name: "no answer in time", get: corev1.HTTPGetAction{Path: "/slow", Port: intstr.FromInt(port(plain))}, want: Failure, says: "context deadline exceeded"},
	}
	_ = closed
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &corev1.Container{Name: "c", Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: int32(port(plain))}}}
			got, says, err := Check(t.Context(), &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &tt.get}}, Target{Container: c, PodIP: "127.0.0.1"})
			if err != nil || got != tt.want || !strings.Contains(says, tt.says) {
				t.Errorf("got %v %q %v", got, says, err)
			}
		})
	}
}

func TestTCP(t *testing.T) {
	l, port := listen(t)
	check := func() Outcome {
		got, _, err := Check(t.Context(), &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt(port)}}}, Target{Container: &corev1.Container{}, PodIP: "127.0.0.1"})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if check() != Success {
		t.Error("an open port fails")
	}
	l.Close()
	if check() != Failure {
		t.Error("a closed port succeeds")
	}
}

// TestGRPC asks the gRPC library's own server: what is spoken here is not our dialect.
func TestGRPC(t *testing.T) {
	serve := func(register bool) (int, *health.Server) {
		l, port := listen(t)
		s := grpc.NewServer()
		h := health.NewServer()
		if register {
			healthpb.RegisterHealthServer(s, h)
		}
		go s.Serve(l)
		t.Cleanup(s.Stop)
		return port, h
	}
	port, h := serve(true)
	h.SetServingStatus("down", healthpb.HealthCheckResponse_NOT_SERVING)
	bare, _ := serve(false)
	mute, mutePort := listen(t)
	go func() {
		for {
			if _, err := mute.Accept(); err != nil {
				return
			}
		}
	}()
	gone, closed := listen(t)
	gone.Close()
	down, unknown := "down", "nobody"
	for _, tt := range []struct {
		name   string
		action corev1.GRPCAction
		want   Outcome
		says   string
	}{
		{name: "serving", action: corev1.GRPCAction{Port: int32(port)}, says: "service healthy"},
		{name: "not serving", action: corev1.GRPCAction{Port: int32(port), Service: &down}, want: Failure, says: `service unhealthy (responded with "NOT_SERVING")`},
		{name: "unknown service", action: corev1.GRPCAction{Port: int32(port), Service: &unknown}, want: Failure, says: "error: health rpc probe failed: rpc error"},
		{name: "no health protocol", action: corev1.GRPCAction{Port: int32(bare)}, want: Failure, says: "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): unknown service"},
		{name: "nobody listens", action: corev1.GRPCAction{Port: int32(closed)}, want: Failure, says: "error: failed to connect service at"},
		{name: "nobody answers", action: corev1.GRPCAction{Port: int32(mutePort)}, want: Failure, says: "timeout: health rpc did not complete within 1s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, says, err := Check(t.Context(), &corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &tt.action}}, Target{Container: &corev1.Container{}, PodIP: "127.0.0.1"})
			if err != nil || got != tt.want || !strings.HasPrefix(says, tt.says) {
				t.Errorf("got %v %q %v", got, says, err)
			}
		})
	}
}

// script answers execs one after the other; the last answer is repeated.
type script struct {
	mu      sync.Mutex
	answers []int
	asked   int
	err     error
}

func (s *script) exec(context.Context, []string, time.Duration) ([]byte, int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.err != nil {
		return nil, 0, s.err
	}
	code := s.answers[0]
	if len(s.answers) > 1 {
		s.answers = s.answers[1:]
	}
	return []byte("out"), code, nil
}

func execProbe(change ...func(*corev1.Probe)) *corev1.Probe {
	p := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"x"}}}, PeriodSeconds: 1, FailureThreshold: 1, SuccessThreshold: 1}
	for _, f := range change {
		f(p)
	}
	return p
}

func watchUntil(t *testing.T, cfg Config, what string, ok func(State) bool) *Container {
	t.Helper()
	changed := make(chan struct{}, 100)
	cfg.StartedAt = time.Now()
	cfg.Changed = func() { changed <- struct{}{} }
	c := Watch(t.Context(), cfg)
	t.Cleanup(c.Stop)
	deadline := time.After(8 * time.Second)
	for !ok(c.State()) {
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("never came to be: %s; state %+v", what, c.State())
		}
	}
	return c
}

func TestThresholds(t *testing.T) {
	t.Run("a startup probe holds the others back", func(t *testing.T) {
		s := &script{answers: []int{1, 1, 0}}
		start := execProbe(func(p *corev1.Probe) { p.FailureThreshold = 5 })
		c := watchUntil(t, Config{Container: &corev1.Container{StartupProbe: start, ReadinessProbe: execProbe()}, Exec: s.exec}, "ready", func(s State) bool { return s.Ready })
		if st := c.State(); !st.Started || st.Unhealthy != nil {
			t.Errorf("state %+v", st)
		}
	})
	t.Run("failures in a row restart", func(t *testing.T) {
		s := &script{answers: []int{0, 1, 0, 1, 1}}
		var mu sync.Mutex
		var events []string
		grace := int64(7)
		c := watchUntil(t, Config{Container: &corev1.Container{LivenessProbe: execProbe(func(p *corev1.Probe) { p.FailureThreshold, p.TerminationGracePeriodSeconds = 2, &grace })}, Exec: s.exec,
			Event: func(reason, message string) { mu.Lock(); events = append(events, reason+" "+message); mu.Unlock() }}, "unhealthy", func(s State) bool { return s.Unhealthy != nil })
		if v := c.State().Unhealthy; v.Kind != Liveness || *v.Grace != 7 || s.asked != 5 {
			t.Errorf("verdict %+v after %d", v, s.asked)
		}
		mu.Lock()
		defer mu.Unlock()
		if !slices.Contains(events, "Unhealthy Liveness probe failed: out") {
			t.Errorf("events %q", events)
		}
	})
	t.Run("what cannot be asked says nothing", func(t *testing.T) {
		s := &script{err: errors.New("no")}
		c := Watch(t.Context(), Config{Container: &corev1.Container{LivenessProbe: execProbe()}, Exec: s.exec, StartedAt: time.Now(), Event: func(string, string) {}})
		defer c.Stop()
		deadline := time.Now().Add(5 * time.Second)
		for {
			s.mu.Lock()
			asked := s.asked
			s.mu.Unlock()
			if asked >= 2*tries {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("not asked again")
			}
			time.Sleep(10 * time.Millisecond)
		}
		if c.State().Unhealthy != nil {
			t.Error("an error counted as a failure")
		}
	})
	t.Run("a resumed container stays ready", func(t *testing.T) {
		s := &script{answers: []int{0}}
		c := Watch(t.Context(), Config{Container: &corev1.Container{StartupProbe: execProbe(), ReadinessProbe: execProbe()}, Exec: s.exec, StartedAt: time.Now().Add(-time.Hour), Resumed: true, Started: true, Ready: true})
		defer c.Stop()
		if st := c.State(); !st.Started || !st.Ready {
			t.Errorf("state %+v", st)
		}
	})
	t.Run("a time-out is a failure", func(t *testing.T) {
		s := &script{err: fmt.Errorf("x: %w", ErrExecTimeout)}
		got, says, err := Check(t.Context(), execProbe(), Target{Container: &corev1.Container{}, Exec: s.exec})
		if err != nil || got != Failure || says != `command timed out: "x" timed out after 1s` {
			t.Errorf("got %v %q %v", got, says, err)
		}
	})
}
