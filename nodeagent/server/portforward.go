package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"

	"github.com/gorilla/websocket"
	clientportforward "k8s.io/client-go/tools/portforward"
	"k8s.io/cri-streaming/pkg/streaming/portforward"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

func (s *Server) portForward(w http.ResponseWriter, r *http.Request) {
	pod, err := s.pod(r)
	if err != nil {
		refuse(w, err)
		return
	}
	sandbox, err := s.sandbox(r.Context(), pod)
	if err != nil {
		refuse(w, err)
		return
	}
	// SPDY inside a WebSocket: open the socket, then serve SPDY on it as on any connection.
	if slices.Contains(websocket.Subprotocols(r), portforward.WebsocketsSPDYTunnelingPortForwardV1) {
		if w, r, err = tunnel(w, r); err != nil {
			s.log.Debug("WebSocket could not be opened", "path", r.URL.Path, "error", err)
			return
		}
	}
	options, err := portforward.NewV4Options(r)
	if err != nil {
		refuse(w, &refusal{http.StatusBadRequest, err.Error()})
		return
	}
	portforward.ServePortForward(w, r, forwarder{s.config.Runtime, sandbox.ID}, pod.Name, string(pod.UID), options, idleTimeout, creationTimeout, portforward.SupportedProtocols)
}

// forwarder fits the runtime to the streaming library.
type forwarder struct {
	runtime runtime.Runtime
	sandbox string
}

func (f forwarder) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	return f.runtime.PortForward(ctx, f.sandbox, port, stream)
}

// tunnel accepts the WebSocket and returns a request to switch to SPDY, as it would have come without the socket, and a
// response whose connection is the socket.
func tunnel(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, error) {
	upgrader := websocket.Upgrader{
		ReadBufferSize: 32 << 10, WriteBufferSize: 32 << 10,
		Subprotocols: []string{portforward.WebsocketsSPDYTunnelingPortForwardV1},
		// Whoever comes here was let in by his credentials, not by a browser's cookie.
		CheckOrigin: func(*http.Request) bool { return true },
	}
	socket, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return nil, r, err
	}
	inner := r.Clone(r.Context())
	inner.Header = http.Header{
		"Connection":                {"Upgrade"},
		"Upgrade":                   {"SPDY/3.1"},
		"X-Stream-Protocol-Version": {portforward.PortForwardV1Name},
	}
	return &tunnelled{header: http.Header{}, conn: clientportforward.NewTunnelingConnection("node", socket)}, inner, nil
}

// tunnelled is a response whose head is not sent: the WebSocket's own has told the client already.
type tunnelled struct {
	header http.Header
	conn   net.Conn
}

func (t *tunnelled) Header() http.Header { return t.header }
func (t *tunnelled) WriteHeader(int)     {}
func (t *tunnelled) Write(p []byte) (int, error) {
	// Only refusals are written, and there is no place for them any more.
	t.conn.Close()
	return 0, fmt.Errorf("response in a tunnel: %q", p)
}

func (t *tunnelled) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return t.conn, bufio.NewReadWriter(bufio.NewReader(t.conn), bufio.NewWriter(t.conn)), nil
}
