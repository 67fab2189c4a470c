package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream/wsstream"
	utilexec "k8s.io/utils/exec"
)

// connection is the streams of an exec or attach. Those not asked for are nil.
type connection struct {
	in       io.Reader
	out, err io.WriteCloser
	resize   chan remotecommand.TerminalSize
}

// Channels of a WebSocket: the first byte of a message.
const (
	channelIn = iota
	channelOut
	channelErr
	channelStatus
	channelResize
)

// overWebSocket serves an exec or attach over WebSocket. The streaming library speaks all versions but v5, in which the
// client can close its input; its frames are the same library's, so all versions are served here by one way.
func (s *Server) overWebSocket(w http.ResponseWriter, r *http.Request, o *remotecommand.Options, serve func(context.Context, *connection) error) {
	kinds := make([]wsstream.ChannelType, 5)
	for i, kind := range map[int]wsstream.ChannelType{
		channelIn: when(o.Stdin, wsstream.ReadChannel), channelOut: when(o.Stdout, wsstream.WriteChannel), channelErr: when(o.Stderr, wsstream.WriteChannel),
		channelStatus: wsstream.WriteChannel, channelResize: wsstream.ReadChannel,
	} {
		kinds[i] = kind
	}
	protocols := map[string]wsstream.ChannelProtocolConfig{"": {Binary: true, Channels: kinds}}
	for _, version := range []string{"", "v4.", "v5."} {
		protocols[version+wsstream.ChannelWebSocketProtocol] = wsstream.ChannelProtocolConfig{Binary: true, Channels: kinds}
	}
	for _, version := range []string{"", "v4."} {
		protocols[version+wsstream.Base64ChannelWebSocketProtocol] = wsstream.ChannelProtocolConfig{Binary: false, Channels: kinds}
	}
	conn := wsstream.NewConn(protocols)
	conn.SetIdleTimeout(idleTimeout)
	protocol, streams, err := conn.Open(w, r)
	if err != nil {
		s.log.Debug("WebSocket could not be opened", "path", r.URL.Path, "error", err)
		return
	}
	defer conn.Close()
	c := &connection{resize: make(chan remotecommand.TerminalSize)}
	if o.Stdin {
		c.in = streams[channelIn]
	}
	if o.Stdout {
		c.out = streams[channelOut]
	}
	if o.Stderr {
		c.err = streams[channelErr]
	}
	// An empty message tells the client that the connection stands.
	first := channelStatus
	if o.Stderr {
		first = channelErr
	}
	if o.Stdout {
		first = channelOut
	}
	if _, err := streams[first].Write([]byte{}); err != nil {
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go sizes(ctx, streams[channelResize], c.resize)
	status := outcome(serve(ctx, c))
	if err := writeStatus(streams[channelStatus], protocol, status); err != nil {
		s.log.Debug("outcome of a command could not be told", "path", r.URL.Path, "error", err)
	}
}

func when(wanted bool, kind wsstream.ChannelType) wsstream.ChannelType {
	if wanted {
		return kind
	}
	return wsstream.IgnoreChannel
}

// sizes reads the terminal sizes that the client sends.
func sizes(ctx context.Context, from io.Reader, to chan<- remotecommand.TerminalSize) {
	defer close(to)
	decoder := json.NewDecoder(from)
	for {
		var size remotecommand.TerminalSize
		if decoder.Decode(&size) != nil {
			return
		}
		select {
		case to <- size:
		case <-ctx.Done():
			return
		}
	}
}

// writeStatus tells the outcome: from v4 on as a Status, before that as text and only if something failed.
func writeStatus(to io.Writer, protocol string, status *apierrors.StatusError) error {
	if strings.HasPrefix(protocol, "v4.") || strings.HasPrefix(protocol, "v5.") {
		data, err := json.Marshal(status.Status())
		if err != nil {
			return err
		}
		_, err = to.Write(data)
		return err
	}
	if status.Status().Status == metav1.StatusSuccess {
		return nil
	}
	_, err := to.Write([]byte(status.Error()))
	return err
}

func success() *apierrors.StatusError {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusSuccess}}
}

func nonZero(exit utilexec.ExitError) *apierrors.StatusError {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status:  metav1.StatusFailure,
		Reason:  remotecommand.NonZeroExitCodeReason,
		Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: remotecommand.ExitCodeCauseType, Message: strconv.Itoa(exit.ExitStatus())}}},
		Message: fmt.Sprintf("command terminated with non-zero exit code: %v", exit),
	}}
}
