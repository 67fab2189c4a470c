package nodeproxy_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	agentcommand "k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"github.com/skiff-project/skiff/apiserver"
	"github.com/skiff-project/skiff/apiserver/apitest"
	"github.com/skiff-project/skiff/pkg/certs"
)

var ctx = context.Background()

// agent is a node's agent that echoes.
type agent struct{ t *testing.T }

func (a agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if len(r.TLS.PeerCertificates) == 0 || r.TLS.PeerCertificates[0].Subject.CommonName != "kube-apiserver-kubelet-client" {
		http.Error(w, "who are you", http.StatusUnauthorized)
		return
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch parts[0] {
	case "containerLogs":
		if parts[3] == "waiting" {
			http.Error(w, `container "waiting" is waiting to start`, http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "log of %s %s\n", strings.Join(parts[1:], "/"), r.URL.RawQuery)
		if r.URL.Query().Get("follow") == "true" {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	case "exec":
		q := r.URL.Query()
		options := &agentcommand.Options{Stdin: q.Get("input") == "1", Stdout: q.Get("output") == "1", Stderr: q.Get("error") == "1", TTY: q.Get("tty") == "1"}
		agentcommand.ServeExec(w, r, a, parts[2], "", parts[3], q["command"], options, time.Minute, time.Minute,
			agentcommand.SupportedStreamingProtocols)
	default:
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `%s %s <a href="/other">x</a>`, r.Method, r.URL.RequestURI())
	}
}

func (agent) ExecInContainer(_ context.Context, pod, _, container string, cmd []string, in io.Reader, out, errs io.WriteCloser, _ bool, _ <-chan agentcommand.TerminalSize, _ time.Duration) error {
	fmt.Fprintf(out, "%s/%s %s: ", pod, container, strings.Join(cmd, " "))
	_, err := io.Copy(out, in)
	fmt.Fprint(errs, "done")
	return err
}

// cluster is an API server with a node at 127.0.0.1 and a pod on it.
func cluster(t *testing.T) (*apitest.Server, *httptest.Server) {
	t.Helper()
	api := apitest.Start(t, apitest.With(func(c *apiserver.Config) { c.ProxyAllowed = func(netip.Addr) bool { return true } }))
	pair, err := api.CA().CA.Issue(certs.Leaf{CommonName: "system:node:one", Names: []string{"127.0.0.1"}, Server: true})
	if err != nil {
		t.Fatal(err)
	}
	serving, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AddCert(api.CA().CA.Cert)
	node := httptest.NewUnstartedServer(agent{t})
	node.TLS = &tls.Config{Certificates: []tls.Certificate{serving}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: clients}
	node.StartTLS()
	t.Cleanup(node.Close)

	c := api.Client().CoreV1()
	n, err := c.Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "one"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}}
	n.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(port(t, node.URL))
	if _, err := c.Nodes().UpdateStatus(ctx, n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, containers := range map[string][]string{"p": {"c"}, "two": {"c", "waiting"}} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{NodeName: "one"}}
		for _, c := range containers {
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: c, Image: "i"})
		}
		got, err := c.Pods("default").Create(ctx, pod, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got.Status.PodIP, got.Status.PodIPs = "127.0.0.1", []corev1.PodIP{{IP: "127.0.0.1"}}
		if _, err := c.Pods("default").UpdateStatus(ctx, got, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return api, node
}

func port(t *testing.T, address string) int {
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestLogs(t *testing.T) {
	api, _ := cluster(t)
	pods := api.Client().CoreV1().Pods("default")
	lines := int64(5)
	got, err := pods.GetLogs("p", &corev1.PodLogOptions{TailLines: &lines}).DoRaw(ctx)
	if err != nil || string(got) != "log of default/p/c tailLines=5\n" {
		t.Errorf("%q, %v", got, err)
	}
	stream, err := pods.GetLogs("p", &corev1.PodLogOptions{Follow: true}).Stream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 100)
	n, err := stream.Read(line)
	if err != nil || !strings.HasPrefix(string(line[:n]), "log of default/p/c") {
		t.Errorf("follow: %q, %v", line[:n], err)
	}
	stream.Close()
	bad := int64(-1)
	for _, c := range []struct {
		pod     string
		options corev1.PodLogOptions
		want    string
	}{
		{"two", corev1.PodLogOptions{}, "a container name must be specified for pod two, choose one of: [c waiting]"},
		{"two", corev1.PodLogOptions{Container: "x"}, "container x is not valid for pod two"},
		{"two", corev1.PodLogOptions{Container: "waiting"}, `container "waiting" is waiting to start`},
		{"none", corev1.PodLogOptions{}, `pods "none" not found`},
		{"p", corev1.PodLogOptions{TailLines: &bad}, `PodLogOptions "p" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0`},
	} {
		err := pods.GetLogs(c.pod, &c.options).Do(ctx).Error()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error is %v, want %s", err, c.want)
		}
	}
}

func TestExec(t *testing.T) {
	api, _ := cluster(t)
	where := api.Client().CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name("p").SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: []string{"echo", "a b"}, Stdin: true, Stdout: true, Stderr: true}, scheme.ParameterCodec).URL()
	spdy, err := remotecommand.NewSPDYExecutor(api.Config, "POST", where)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("SPDY", func(t *testing.T) {
		var out, errs bytes.Buffer
		err := spdy.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader("input"), Stdout: &out, Stderr: &errs})
		if err != nil || out.String() != "p/c echo a b: input" || errs.String() != "done" {
			t.Errorf("%v: %q %q", err, out.String(), errs.String())
		}
	})
	t.Run("WebSocket", func(t *testing.T) {
		where := *where
		where.Scheme = "wss"
		query := where.Query()
		query.Del("stdin")
		where.RawQuery = query.Encode()
		tlsConfig, err := rest.TLSConfigFor(api.Config)
		if err != nil {
			t.Fatal(err)
		}
		dialer := websocket.Dialer{TLSClientConfig: tlsConfig, Subprotocols: []string{"v4.channel.k8s.io"}}
		conn, resp, err := dialer.Dial(where.String(), nil)
		if err != nil {
			t.Fatalf("%v: %+v", err, resp)
		}
		defer conn.Close()
		out := map[byte]string{}
		for {
			_, frame, err := conn.ReadMessage()
			if err != nil {
				break
			}
			out[frame[0]] += string(frame[1:])
		}
		if out[1] != "p/c echo a b: " || out[2] != "done" {
			t.Errorf("%q", out)
		}
	})
	t.Run("may only get", func(t *testing.T) {
		e, err := remotecommand.NewWebSocketExecutor(api.As("bob"), "GET", where.String())
		if err != nil {
			t.Fatal(err)
		}
		if err := e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard}); err == nil {
			t.Error("bob runs programs")
		}
	})
}

func TestProxy(t *testing.T) {
	api, node := cluster(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("credentials are passed on")
		}
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, "/there", http.StatusMovedPermanently)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `%s %s <a href="/other">x</a>`, r.Method, r.URL.RequestURI())
	}))
	t.Cleanup(server.Close)
	backend := port(t, server.URL)
	c := api.Client()
	if _, err := c.CoreV1().Services("default").Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s"},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "web", Port: 80}}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	name, n, tcp := "web", int32(backend), corev1.ProtocolTCP
	if _, err := c.DiscoveryV1().EndpointSlices("default").Create(ctx, &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: "s-1", Labels: map[string]string{discoveryv1.LabelServiceName: "s"}}, AddressType: "IPv4",
		Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &n, Protocol: &tcp}},
		// Slices may not name loopback addresses; the pod's own one is taken from its status, so this test's stands in.
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.9.9.9"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "p"}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	get := func(method, path string) (int, string, http.Header) {
		t.Helper()
		client := c.CoreV1().RESTClient().Verb(method).AbsPath(path)
		var code int
		result := client.Do(ctx).StatusCode(&code)
		body, err := result.Raw()
		if err != nil && code == 0 {
			t.Fatal(err)
		}
		return code, string(body), nil
	}
	base := fmt.Sprintf("/api/v1/namespaces/default/pods/http:p:%d/proxy", backend)
	for _, test := range []struct{ method, path, want string }{
		{"GET", base + "/a/b/", `GET /a/b/ <a href="` + base + `/other">x</a>`},
		{"PUT", base + "/a", `PUT /a <a href="` + base + `/other">x</a>`},
		{"DELETE", base + "/a", `DELETE /a <a href="` + base + `/other">x</a>`},
		{"GET", fmt.Sprintf("/api/v1/nodes/one:%d/proxy/images", port(t, node.URL)), `GET /images <a href="` + fmt.Sprintf("/api/v1/nodes/one:%d/proxy", port(t, node.URL)) + `/other">x</a>`},
	} {
		if code, body, _ := get(test.method, test.path); code != 200 || body != test.want {
			t.Errorf("%s %s: %d %s\nwant %s", test.method, test.path, code, body, test.want)
		}
	}
	if code, _, _ := get("GET", base+"/moved"); code != 200 {
		t.Errorf("redirect: %d", code)
	}
	_, err := c.CoreV1().RESTClient().Get().AbsPath("/api/v1/namespaces/default/services/s:81/proxy/").Do(ctx).Get()
	if !apierrors.IsServiceUnavailable(err) || !strings.Contains(err.Error(), `no service port 81 found for service "s"`) {
		t.Errorf("wrong port: %v", err)
	}
	// The slice names an address that is not the pod's.
	_, err = c.CoreV1().RESTClient().Get().AbsPath("/api/v1/namespaces/default/services/http:s:web/proxy/").Do(ctx).Get()
	if !apierrors.IsServiceUnavailable(err) || !strings.Contains(err.Error(), `no endpoints available for service "s"`) {
		t.Errorf("foreign address: %v", err)
	}
}
