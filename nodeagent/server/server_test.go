package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/gorilla/websocket"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	streamhttp "k8s.io/streaming/pkg/httpstream"
	utilexec "k8s.io/utils/exec"

	"github.com/skiff-project/skiff/nodeagent/runtime"
	"github.com/skiff-project/skiff/nodeagent/runtime/runtimetest"
	"github.com/skiff-project/skiff/nodeagent/runtime/runtimetest/native"
	"github.com/skiff-project/skiff/nodeagent/server"
	"github.com/skiff-project/skiff/pkg/certs"
)

func TestMain(m *testing.M) { runtimetest.Isolate(m) }

// site is a server on a native runtime with one pod.
type site struct {
	t       *testing.T
	url     string
	ca      *certs.Authority
	node    *native.Node
	runtime runtime.Runtime
	sandbox runtime.Sandbox
	image   string

	mu   sync.Mutex
	pods []*corev1.Pod
}

func (s *site) Pod(namespace, name string) (*corev1.Pod, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pods {
		if p.Namespace == namespace && p.Name == name {
			return p, true
		}
	}
	return nil, false
}

func (s *site) Pods() []*corev1.Pod {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pods
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, node: native.New(t)}
	s.image = s.node.Load(t, "busybox:1", v1.Config{})
	s.runtime = s.node.Runtime(t)
	var err error
	if s.ca, err = certs.NewAuthority("test"); err != nil {
		t.Fatal(err)
	}
	caFile := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(caFile, s.ca.CertPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	srv, err := server.New(server.Config{
		NodeName: "one", CertDir: t.TempDir(), IPs: []string{"127.0.0.1"}, ClientCAFile: caFile,
		Client: reviewer(), Runtime: s.runtime, Images: s.node.Images, Pods: s, LogRoot: s.node.Root,
	})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	s.url = "https://" + listener.Addr().String()
	return s
}

// reviewer knows the token "good" of user bob, who may read metrics and nothing else; the group of masters may all.
func reviewer() *fake.Clientset {
	client := fake.NewClientset()
	client.PrependReactor("create", "tokenreviews", func(a clienttesting.Action) (bool, apiruntime.Object, error) {
		review := a.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview).DeepCopy()
		if review.Spec.Token == "good" {
			review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: "bob"}}
		}
		return true, review, nil
	})
	client.PrependReactor("create", "subjectaccessreviews", func(a clienttesting.Action) (bool, apiruntime.Object, error) {
		review := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview).DeepCopy()
		what := review.Spec.ResourceAttributes
		review.Status.Allowed = review.Spec.User == "bob" && what.Subresource == "metrics" && what.Verb == "get" && what.Name == "one" || len(review.Spec.Groups) > 0 && review.Spec.Groups[0] == "system:masters"
		return true, review, nil
	})
	return client
}

// rest is a client with the API server's kind of certificate.
func (s *site) rest() *rest.Config {
	s.t.Helper()
	pair, err := s.ca.Issue(certs.Leaf{CommonName: "apiserver", Organization: []string{"system:masters"}, Client: true})
	if err != nil {
		s.t.Fatal(err)
	}
	return &rest.Config{Host: s.url, TLSClientConfig: rest.TLSClientConfig{Insecure: true, CertData: pair.Cert, KeyData: pair.Key}}
}

func (s *site) client() *http.Client {
	s.t.Helper()
	c, err := rest.HTTPClientFor(s.rest())
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (s *site) get(path string) (int, string) {
	s.t.Helper()
	resp, err := s.client().Get(s.url + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// run starts a pod with containers that run scripts, in order of their names.
func (s *site) run(name string, containers ...runtime.ContainerConfig) *corev1.Pod {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	uid := fmt.Sprintf("uid-%d", time.Now().UnixNano())
	pod := &corev1.Pod{}
	pod.Namespace, pod.Name, pod.UID = "ns", name, types.UID(uid)
	sb, err := s.runtime.RunSandbox(ctx, runtime.SandboxConfig{
		Pod: runtime.Pod{Namespace: "ns", Name: name, UID: uid}, Hostname: name, LogDirectory: filepath.Join(s.node.Root, "logs", uid), CgroupParent: "/kubepods/pod" + uid,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := s.runtime.RemoveSandbox(context.Background(), sb.ID); err != nil {
			s.t.Error(err)
		}
	})
	s.sandbox = sb
	for _, c := range containers {
		c.SandboxID, c.Image, c.LogPath = sb.ID, s.image, fmt.Sprintf("%s/%d.log", c.Name, c.Attempt)
		id, err := s.runtime.CreateContainer(ctx, c)
		if err == nil {
			err = s.runtime.StartContainer(ctx, id)
		}
		if err != nil {
			s.t.Fatal(err)
		}
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: c.Name})
	}
	s.mu.Lock()
	s.pods = append(s.pods, pod)
	s.mu.Unlock()
	return pod
}

func script(name, text string) runtime.ContainerConfig {
	return runtime.ContainerConfig{Name: name, Command: []string{"/bin/sh", "-c", text}}
}

func (s *site) ended(pod *corev1.Pod) {
	s.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		all, err := s.runtime.Containers(context.Background())
		if err != nil {
			s.t.Fatal(err)
		}
		running := false
		for _, c := range all {
			running = running || c.Pod.UID == string(pod.UID) && c.State != runtime.Exited
		}
		if !running {
			return
		}
		if time.Now().After(end) {
			s.t.Fatal("containers did not end")
		}
	}
}

func TestWhoMayAskWhat(t *testing.T) {
	s := newSite(t)
	stranger, err := certs.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := stranger.Issue(certs.Leaf{CommonName: "apiserver", Organization: []string{"system:masters"}, Client: true})
	if err != nil {
		t.Fatal(err)
	}
	anyone := rest.Config{Host: s.url, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
	token := func(text string) *rest.Config { c := anyone; c.BearerToken = text; return &c }
	forged := anyone
	forged.CertData, forged.KeyData = pair.Cert, pair.Key
	for _, c := range []struct {
		name, path string
		who        *rest.Config
		want       int
	}{
		{"the API server reads pods", "/pods", s.rest(), 200},
		{"the API server reads metrics", "/metrics", s.rest(), 200},
		{"nobody reads nothing", "/pods", &anyone, 401},
		{"a certificate of another authority is nobody's", "/pods", &forged, 401},
		{"a bad token is nobody's", "/metrics", token("bad"), 401},
		{"bob reads metrics", "/metrics/resource", token("good"), 200},
		{"bob does not read pods", "/pods", token("good"), 403},
		{"bob does not run commands", "/exec/ns/p/c", token("good"), 403},
	} {
		client, err := rest.HTTPClientFor(c.who)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Get(s.url + c.path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.want {
			t.Errorf("%s: %d, want %d", c.name, resp.StatusCode, c.want)
		}
	}
}

func TestLogs(t *testing.T) {
	s := newSite(t)
	pod := s.run("web", script("a", "for i in 1 2 3 4 5; do echo line $i; done; printf half"))
	s.ended(pod)
	second := script("a", "echo again")
	second.Attempt = 1
	second.SandboxID, second.Image, second.LogPath = s.sandbox.ID, s.image, "a/1.log"
	for path, want := range map[string]string{
		"":                                "line 1\nline 2\nline 3\nline 4\nline 5\nhalf",
		"?tailLines=2":                    "line 5\nhalf",
		"?tailLines=0":                    "",
		"?limitBytes=8":                   "line 1\nl",
		"?sinceSeconds=100000":            "line 1\nline 2\nline 3\nline 4\nline 5\nhalf",
		"?sinceTime=2100-01-01T00:00:00Z": "",
		"?follow=true&tailLines=1":        "half",
	} {
		code, body := s.get("/containerLogs/ns/web/a" + path)
		if code != 200 || body != want {
			t.Errorf("%s: %d %q, want %q", path, code, body, want)
		}
	}
	if _, body := s.get("/containerLogs/ns/web/a?timestamps=true&tailLines=2"); len(body) < 30 || body[10] != 'T' || !strings.HasSuffix(body, "Z half") {
		t.Errorf("with timestamps: %q", body)
	}
	for path, want := range map[string]string{
		"/containerLogs/ns/other/a":             "404 pod \"other\" not found",
		"/containerLogs/ns/web/b":               "404 container \"b\" not found in pod \"web\"",
		"/containerLogs/ns/web/a?previous=true": "400 previous terminated container \"a\" in pod \"web\" not found",
	} {
		code, body := s.get(path)
		if got := fmt.Sprintf("%d %s", code, strings.TrimSpace(body)); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	ctx := context.Background()
	id, err := s.runtime.CreateContainer(ctx, second)
	if err == nil {
		err = s.runtime.StartContainer(ctx, id)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.ended(pod)
	if _, body := s.get("/containerLogs/ns/web/a"); body != "again\n" {
		t.Errorf("of the second: %q", body)
	}
	if _, body := s.get("/containerLogs/ns/web/a?previous=true&tailLines=1"); body != "half" {
		t.Errorf("of the one before: %q", body)
	}
}

func TestLogsAreFollowedAcrossRotation(t *testing.T) {
	s := newSite(t)
	pod := s.run("web", script("a", "i=0; while [ ! -e /dev/shm/stop ]; do i=$((i+1)); echo $i; sleep 0.002; done; echo end"))
	resp, err := s.client().Get(s.url + "/containerLogs/ns/web/a?follow=true")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	all, err := s.runtime.Containers(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		time.Sleep(50 * time.Millisecond) // lets it write something between rotations; correctness does not depend on it
		if err := os.Rename(all[0].LogPath, fmt.Sprintf("%s.%d", all[0].LogPath, round)); err != nil {
			t.Fatal(err)
		}
		if err := s.runtime.ReopenLog(context.Background(), all[0].ID); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.runtime.ExecSync(context.Background(), all[0].ID, []string{"touch", "/dev/shm/stop"}, 0); err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	s.ended(pod)
	lines := strings.Fields(string(body))
	for i, line := range lines {
		if want := fmt.Sprint(i + 1); line != want && !(i == len(lines)-1 && line == "end") {
			t.Fatalf("line %d is %q of %d lines", i+1, line, len(lines))
		}
	}
	if len(lines) < 10 || lines[len(lines)-1] != "end" {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
}

// executors are the two ways a client can go.
func (s *site) executors(path string) map[string]remotecommand.Executor {
	s.t.Helper()
	u, err := url.Parse(s.url + path)
	if err != nil {
		s.t.Fatal(err)
	}
	ws, err := remotecommand.NewWebSocketExecutor(s.rest(), http.MethodGet, u.String())
	if err != nil {
		s.t.Fatal(err)
	}
	spdy, err := remotecommand.NewSPDYExecutor(s.rest(), http.MethodPost, u)
	if err != nil {
		s.t.Fatal(err)
	}
	return map[string]remotecommand.Executor{"WebSocket": ws, "SPDY": spdy}
}

func TestExec(t *testing.T) {
	s := newSite(t)
	s.run("web", script("a", "sleep 1000"))
	command := url.Values{"command": {"sh", "-c", "cat; echo bad >&2; exit 7"}, "input": {"1"}, "output": {"1"}, "error": {"1"}}
	for name, e := range s.executors("/exec/ns/web/a?" + command.Encode()) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		var stdout, stderr bytes.Buffer
		input := strings.Repeat("0123456789\n", 20_000)
		err := e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader(input), Stdout: &stdout, Stderr: &stderr})
		cancel()
		exit, ok := err.(utilexec.ExitError)
		if !ok || exit.ExitStatus() != 7 || stdout.String() != input || stderr.String() != "bad\n" {
			t.Errorf("%s: %v, %d bytes, %q", name, err, stdout.Len(), stderr.String())
		}
	}
	tty := url.Values{"command": {"sh", "-c", "stty size; exit 0"}, "input": {"1"}, "output": {"1"}, "tty": {"1"}}
	for name, e := range s.executors("/exec/ns/web/a?" + tty.Encode()) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		var screen bytes.Buffer
		in, _ := io.Pipe()
		err := e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: in, Stdout: &screen, Tty: true, TerminalSizeQueue: &oneSize{}})
		cancel()
		if err != nil || !strings.HasSuffix(screen.String(), "\r\n") {
			t.Errorf("%s: %v, screen %q", name, err, screen.String())
		}
	}
	for path, want := range map[string]int{"/exec/ns/web/a": 400, "/exec/ns/none/a?output=1&command=id": 404, "/exec/ns/web/none?output=1&command=id": 500} {
		if code, body := s.get(path); code != want {
			t.Errorf("%s: %d %s, want %d", path, code, body, want)
		}
	}
}

// What a command has said arrives in full before its status, however the client lags behind, and whatever it still sends.
func TestExecOutputIsComplete(t *testing.T) {
	s := newSite(t)
	s.run("web", script("a", "sleep 1000"))
	short := url.Values{"command": {"sh", "-c", "echo out; echo bad >&2; exit 3"}, "output": {"1"}, "error": {"1"}}
	for name, e := range s.executors("/exec/ns/web/a?" + short.Encode()) {
		for i := range 15 {
			var stdout, stderr bytes.Buffer
			err := e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr})
			exit, ok := err.(utilexec.ExitError)
			if !ok || exit.ExitStatus() != 3 || stdout.String() != "out\n" || stderr.String() != "bad\n" {
				t.Errorf("%s, command %d: %v, %q, %q", name, i, err, stdout.String(), stderr.String())
			}
		}
	}
	const size = 600_000
	long := url.Values{"command": {"sh", "-c", fmt.Sprintf("head -c %d /dev/zero; exit 3", size)}, "input": {"1"}, "output": {"1"}}
	for name, e := range s.executors("/exec/ns/web/a?" + long.Encode()) {
		slow := &slowWriter{first: 3 * time.Second}
		err := e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: endless{}, Stdout: slow})
		exit, ok := err.(utilexec.ExitError)
		if !ok || exit.ExitStatus() != 3 || slow.n != size {
			t.Errorf("%s: %v, %d bytes of %d", name, err, slow.n, size)
		}
	}
}

// slowWriter counts what it is given and takes its time for the first piece: longer than the output of an ended command is waited for.
type slowWriter struct {
	first time.Duration
	n     int
}

func (w *slowWriter) Write(p []byte) (int, error) {
	if w.n == 0 {
		time.Sleep(w.first)
	}
	w.n += len(p)
	return len(p), nil
}

// endless is input that nobody reads.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// oneSize is a terminal whose size never changes.
type oneSize struct{ told bool }

func (o *oneSize) Next() *remotecommand.TerminalSize {
	if o.told {
		return nil
	}
	o.told = true
	return &remotecommand.TerminalSize{Width: 77, Height: 33}
}

// TestOldWebSocketProtocols checks what browsers and the conformance suite speak: no v5, text or none at all.
func TestOldWebSocketProtocols(t *testing.T) {
	s := newSite(t)
	s.run("web", script("a", "sleep 1000"))
	config, err := rest.TLSConfigFor(s.rest())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		protocol, command, out string
		status                 string
	}{
		{"channel.k8s.io", "echo remote", "\x01remote\n", ""},
		{"v4.channel.k8s.io", "echo remote; exit 3", "\x01remote\n", `"reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}`},
		{"base64.channel.k8s.io", "echo remote", "1cmVtb3RlCg==", ""},
		{"v4.base64.channel.k8s.io", "echo remote", "1cmVtb3RlCg==", "3eyJtZXRhZGF0YSI6e30sInN0YXR1cyI6IlN1Y2Nlc3MifQ=="},
	} {
		query := url.Values{"command": {"sh", "-c", c.command}, "output": {"1"}, "error": {"1"}}
		dialer := websocket.Dialer{TLSClientConfig: config, Subprotocols: []string{c.protocol}}
		conn, _, err := dialer.Dial("wss"+strings.TrimPrefix(s.url, "https")+"/exec/ns/web/a?"+query.Encode(), nil)
		if err != nil {
			t.Fatalf("%s: %v", c.protocol, err)
		}
		conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		var out, status string
		for {
			_, data, err := conn.ReadMessage()
			if err != nil {
				break
			}
			switch {
			case len(data) > 1 && (data[0] == 1 || data[0] == '1'):
				out += string(data)
			case len(data) > 1:
				status += string(data)
			}
		}
		conn.Close()
		if out != c.out || !strings.Contains(status, c.status) || c.status == "" && status != "" {
			t.Errorf("%s: output %q, status %q", c.protocol, out, status)
		}
	}
}

func TestAttach(t *testing.T) {
	s := newSite(t)
	for name := range s.executors("/") {
		c := script("a", "while read l; do echo got $l; done; echo end")
		c.Stdin, c.StdinOnce = true, true
		pod := "p-" + strings.ToLower(name)
		s.run(pod, c)
		e := s.executors("/attach/ns/" + pod + "/a?input=1&output=1&error=1")[name]
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		var stdout bytes.Buffer
		err := e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader("one\ntwo\n"), Stdout: &stdout, Stderr: io.Discard})
		cancel()
		if err != nil || stdout.String() != "got one\ngot two\nend\n" {
			t.Errorf("%s: %v, %q", name, err, stdout.String())
		}
	}
}

func TestPortForward(t *testing.T) {
	s := newSite(t)
	s.run("web", script("a", "nc -ll -p 80 -e sh -c 'read x; echo you said $x'"))
	all, err := s.runtime.Containers(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if res, err := s.runtime.ExecSync(context.Background(), all[0].ID, []string{"sh", "-c", "until echo | nc 127.0.0.1 80; do sleep 0.01; done"}, 20*time.Second); err != nil || res.ExitCode != 0 {
		t.Fatal(res, err)
	}
	u, err := url.Parse(s.url + "/portForward/ns/web")
	if err != nil {
		t.Fatal(err)
	}
	tunnel, err := portforward.NewSPDYOverWebsocketDialerForStreaming(u, s.rest())
	if err != nil {
		t.Fatal(err)
	}
	transport, upgrader, err := spdy.RoundTripperFor(s.rest())
	if err != nil {
		t.Fatal(err)
	}
	plain := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, u)
	for name, open := range map[string]func(chan struct{}, chan struct{}) (*portforward.PortForwarder, error){
		"SPDY in WebSocket": func(stop, ready chan struct{}) (*portforward.PortForwarder, error) {
			return portforward.NewOnAddressesForStreaming(streamhttp.Dialer(tunnel), []string{"127.0.0.1"}, []string{"0:80", "0:81"}, stop, ready, io.Discard, io.Discard)
		},
		"SPDY": func(stop, ready chan struct{}) (*portforward.PortForwarder, error) {
			return portforward.NewOnAddresses(plain, []string{"127.0.0.1"}, []string{"0:80", "0:81"}, stop, ready, io.Discard, io.Discard)
		},
	} {
		t.Run(name, func(t *testing.T) {
			stop, ready := make(chan struct{}), make(chan struct{})
			f, err := open(stop, ready)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- f.ForwardPorts() }()
			select {
			case <-ready:
			case err := <-done:
				t.Fatal(err)
			case <-time.After(20 * time.Second):
				t.Fatal("not ready in time")
			}
			ports, err := f.GetPorts()
			if err != nil {
				t.Fatal(err)
			}
			for i := range 3 {
				if got := say(t, ports[0].Local, fmt.Sprintf("hello %d", i)); got != fmt.Sprintf("you said hello %d\n", i) {
					t.Errorf("answer = %q", got)
				}
			}
			if got := say(t, ports[1].Local, "x"); got != "" {
				t.Errorf("answer of a closed port = %q", got)
			}
			close(stop)
			<-done
		})
	}
}

func say(t *testing.T, port uint16, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(conn, text+"\n")
	answer, _ := io.ReadAll(conn)
	return string(answer)
}

func TestImages(t *testing.T) {
	s := newSite(t)
	resp, err := s.client().Post(s.url+"/images", "application/x-tar", bytes.NewReader(native.Archive(t, "example.com/app:2", v1.Config{User: "app"})))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != 200 || !strings.Contains(string(body), "example.com/app:2: Loaded image\n") {
		t.Fatalf("%d %q, %v", resp.StatusCode, body, err)
	}
	_, list := s.get("/images")
	var images []struct {
		ID    string
		Names []string
		Size  int64
	}
	if err := json.Unmarshal([]byte(list), &images); err != nil || len(images) != 2 {
		t.Fatalf("images = %s, %v", list, err)
	}
	if !strings.Contains(list, `"example.com/app:2"`) || !strings.Contains(list, `"docker.io/library/busybox:1"`) {
		t.Errorf("images = %s", list)
	}
	resp, err = s.client().Post(s.url+"/images", "application/x-tar", strings.NewReader("this is no archive"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 400 {
		t.Errorf("no archive: %d", resp.StatusCode)
	}
}

func TestNumbers(t *testing.T) {
	s := newSite(t)
	pod := s.run("web", script("a", "sleep 1000"))
	_, body := s.get("/stats/summary")
	var summary struct {
		Node struct {
			NodeName string
			CPU      struct{ UsageCoreNanoSeconds uint64 }
		}
		Pods []struct {
			PodRef     struct{ Name, UID string }
			Containers []struct {
				Name   string
				Memory struct{ WorkingSetBytes uint64 }
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &summary); err != nil {
		t.Fatal(err)
	}
	if summary.Node.NodeName != "one" || summary.Node.CPU.UsageCoreNanoSeconds == 0 || len(summary.Pods) != 1 || summary.Pods[0].PodRef.UID != string(pod.UID) ||
		len(summary.Pods[0].Containers) != 1 || summary.Pods[0].Containers[0].Memory.WorkingSetBytes == 0 {
		t.Errorf("summary = %s", body)
	}
	for path, want := range map[string][]string{
		"/metrics/resource": {`container_cpu_usage_seconds_total{container="a",namespace="ns",pod="web"}`, `pod_memory_working_set_bytes{namespace="ns",pod="web"}`, "node_cpu_usage_seconds_total ", "resource_scrape_error 0"},
		"/metrics/cadvisor": {`container_memory_rss{container="a"`, `container_network_receive_bytes_total{`, "machine_cpu_cores "},
		"/metrics":          {"go_goroutines"},
		"/pods":             {`"kind":"PodList"`, `"name":"web"`},
		"/runningpods/":     {`"name":"web"`},
		"/healthz":          {"ok"},
	} {
		code, body := s.get(path)
		for _, w := range want {
			if code != 200 || !strings.Contains(body, w) {
				t.Errorf("%s: %d, %q is missing in\n%s", path, code, w, body)
			}
		}
	}
}
