package probes

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/skiff-project/skiff/nodeagent/env"
)

// Outcome is what one check says.
type Outcome int

const (
	Success Outcome = iota
	// Warning counts as success and is told to the user: a redirect to elsewhere was not followed.
	Warning
	Failure
)

// Exec runs a command in the container that is probed and returns what it wrote and its exit code. An error that is
// ErrExecTimeout means that the time was up; any other means that the command could not be run at all.
type Exec func(ctx context.Context, command []string, timeout time.Duration) (output []byte, exitCode int, err error)

// ErrExecTimeout is wrapped by the error of an Exec whose command did not end in time.
var ErrExecTimeout = errors.New("timed out")

// Target is where a check is directed to.
type Target struct {
	Container *corev1.Container
	PodIP     string
	Exec      Exec
}

const (
	maxBody   = 10 << 10
	userAgent = "kube-probe/1.37"
)

// Check runs a probe's action once. An error means that nothing is known about the container.
func Check(ctx context.Context, probe *corev1.Probe, t Target) (Outcome, string, error) {
	timeout := time.Duration(max(probe.TimeoutSeconds, 1)) * time.Second
	switch {
	case probe.Exec != nil:
		return checkExec(ctx, probe.Exec.Command, timeout, t)
	case probe.HTTPGet != nil:
		req, err := NewHTTPRequest(ctx, probe.HTTPGet, t.Container, t.PodIP)
		if err != nil {
			return Failure, "", err
		}
		return checkHTTP(req, timeout, probe.HTTPGet.Protocol)
	case probe.TCPSocket != nil:
		port, err := Port(probe.TCPSocket.Port, t.Container)
		if err != nil {
			return Failure, "", err
		}
		host := probe.TCPSocket.Host
		if host == "" {
			host = t.PodIP
		}
		return checkTCP(ctx, net.JoinHostPort(host, strconv.Itoa(port)), timeout)
	case probe.GRPC != nil:
		return checkGRPC(ctx, t.PodIP, probe.GRPC, timeout)
	}
	return Failure, "", fmt.Errorf("missing probe handler for %s", t.Container.Name)
}

// checkExec expands the command with the container's plain variables only: a probe sees no others, as in Kubernetes.
func checkExec(ctx context.Context, command []string, timeout time.Duration, t Target) (Outcome, string, error) {
	vars := map[string]string{}
	for _, v := range t.Container.Env {
		vars[v.Name] = v.Value
	}
	command = env.ExpandAll(command, vars)
	out, code, err := t.Exec(ctx, command, timeout)
	text := string(out[:min(len(out), maxBody)])
	switch {
	case errors.Is(err, ErrExecTimeout):
		return Failure, fmt.Sprintf("command timed out: %q timed out after %v", strings.Join(command, " "), timeout), nil
	case err != nil:
		return Failure, "", err
	case code != 0:
		return Failure, text, nil
	}
	return Success, text, nil
}

// NewHTTPRequest is the request of an httpGet action, of a probe or of a lifecycle hook.
func NewHTTPRequest(ctx context.Context, get *corev1.HTTPGetAction, c *corev1.Container, podIP string) (*http.Request, error) {
	port, err := Port(get.Port, c)
	if err != nil {
		return nil, err
	}
	host := get.Host
	if host == "" {
		host = podIP
	}
	scheme := "http"
	if get.Scheme != "" {
		scheme = strings.ToLower(string(get.Scheme))
	}
	u, err := url.Parse(get.Path)
	if err != nil {
		// The path is sent as it is: servers may know what to do with it.
		u = &url.URL{Path: get.Path}
	}
	u.Scheme, u.Host = scheme, net.JoinHostPort(host, strconv.Itoa(port))
	if u.Path != "" && !strings.HasPrefix(u.Path, "/") {
		u.Path = "/" + u.Path
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header = headers(get.HTTPHeaders)
	req.Host = req.Header.Get("Host")
	return req, nil
}

// headers adds what a probe always says to what the user wants said. An empty value of the user's means: leave it out.
func headers(wanted []corev1.HTTPHeader) http.Header {
	h := http.Header{}
	for _, w := range wanted {
		h.Add(w.Name, w.Value)
	}
	for name, value := range map[string]string{"User-Agent": userAgent, "Accept": "*/*"} {
		if _, set := h[name]; !set {
			h.Set(name, value)
		} else if h.Get(name) == "" && name == "Accept" {
			h.Del(name)
		}
	}
	return h
}

// Transport carries probes and hooks: no proxy, no reuse of connections (a probe asks whether one can connect), any certificate.
var Transport = &http.Transport{
	TLSClientConfig:    &tls.Config{InsecureSkipVerify: true},
	DisableKeepAlives:  true,
	DisableCompression: true,
	DialContext:        dial,
}

// h2c speaks HTTP/2 without TLS, for the containers whose probe asks for that protocol.
var h2c = func() *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	protocols.SetHTTP2(true)
	t := Transport.Clone()
	t.Protocols = protocols
	return t
}()

// dialer closes with a reset rather than leaving a socket in TIME_WAIT for each probe: a node makes many of them.
var dialer = &net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		_ = syscall.SetsockoptLinger(int(fd), syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1, Linger: 1})
	})
}}

func checkHTTP(req *http.Request, timeout time.Duration, protocol *corev1.HTTPProtocol) (Outcome, string, error) {
	transport := Transport
	if protocol != nil && *protocol == corev1.HTTPProtocolHTTP2 && req.URL.Scheme == "http" {
		transport = h2c
		defer h2c.CloseIdleConnections()
	}
	client := &http.Client{Timeout: timeout, Transport: transport, CheckRedirect: sameHost}
	res, err := client.Do(req)
	if err != nil {
		return Failure, err.Error(), nil
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	if err != nil {
		return Failure, "", err
	}
	switch {
	case res.StatusCode >= 300 && res.StatusCode < 400:
		return Warning, fmt.Sprintf("Probe terminated redirects, Response body: %s", body), nil
	case res.StatusCode >= 200 && res.StatusCode < 400:
		return Success, string(body), nil
	}
	return Failure, fmt.Sprintf("HTTP probe failed with statuscode: %d", res.StatusCode), nil
}

func sameHost(req *http.Request, via []*http.Request) error {
	if req.URL.Hostname() != via[0].URL.Hostname() {
		return http.ErrUseLastResponse
	}
	if len(via) >= 10 {
		return errors.New("stopped after 10 redirects")
	}
	return nil
}

func checkTCP(ctx context.Context, address string, timeout time.Duration) (Outcome, string, error) {
	d := *dialer
	d.Timeout = timeout
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return Failure, err.Error(), nil
	}
	_ = conn.Close()
	return Success, "", nil
}

// Port is the number that a port of a probe or hook stands for in a container.
func Port(p intstr.IntOrString, c *corev1.Container) (int, error) {
	port := p.IntValue()
	if p.Type == intstr.String {
		for i := range c.Ports {
			if c.Ports[i].Name == p.StrVal {
				return int(c.Ports[i].ContainerPort), nil
			}
		}
		n, err := strconv.Atoi(p.StrVal)
		if err != nil {
			return 0, fmt.Errorf("couldn't find port: %v in %v", p.StrVal, c.Name)
		}
		port = n
	}
	if port > 0 && port < 65536 {
		return port, nil
	}
	return 0, fmt.Errorf("invalid port number: %v", port)
}

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	return dialer.DialContext(ctx, network, address)
}
