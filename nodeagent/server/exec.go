package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream/wsstream"
	utilexec "k8s.io/utils/exec"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// How long a stream may be silent, and how long the client may take to open its streams: the kubelet's defaults.
const (
	idleTimeout     = 4 * time.Hour
	creationTimeout = remotecommand.DefaultStreamCreationTimeout
)

func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		refuse(w, &refusal{http.StatusBadRequest, err.Error()})
		return
	}
	container, err := s.container(r)
	if err != nil {
		refuse(w, err)
		return
	}
	command := r.URL.Query()["command"]
	streams := &executor{s.config.Runtime}
	if wsstream.IsWebSocketRequest(r) {
		s.overWebSocket(w, r, options, func(ctx context.Context, c *connection) error {
			return streams.ExecInContainer(ctx, "", "", container.ID, command, c.in, c.out, c.err, options.TTY, c.resize, 0)
		})
		return
	}
	remotecommand.ServeExec(w, r, streams, container.Pod.Name, container.Pod.UID, container.ID, command, options, idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (s *Server) attach(w http.ResponseWriter, r *http.Request) {
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		refuse(w, &refusal{http.StatusBadRequest, err.Error()})
		return
	}
	container, err := s.container(r)
	if err != nil {
		refuse(w, err)
		return
	}
	options.TTY = container.TTY // what the container was made with, whatever the client believes
	streams := &executor{s.config.Runtime}
	if wsstream.IsWebSocketRequest(r) {
		s.overWebSocket(w, r, options, func(ctx context.Context, c *connection) error {
			return streams.AttachContainer(ctx, "", "", container.ID, c.in, c.out, c.err, options.TTY, c.resize)
		})
		return
	}
	remotecommand.ServeAttach(w, r, streams, container.Pod.Name, container.Pod.UID, container.ID, options, idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
}

// run executes a command without streams and answers with its output.
func (s *Server) run(w http.ResponseWriter, r *http.Request) {
	container, err := s.container(r)
	if err != nil {
		refuse(w, err)
		return
	}
	query := r.URL.Query()
	command := query["command"]
	if len(command) == 0 {
		command = query["cmd"]
	}
	result, err := s.config.Runtime.ExecSync(r.Context(), container.ID, command, 0)
	if err == nil && result.ExitCode != 0 {
		err = fmt.Errorf("command '%v' exited with %d: %s", command, result.ExitCode, append(result.Stdout, result.Stderr...))
	}
	if err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Write(append(result.Stdout, result.Stderr...))
}

// executor fits the runtime to the streaming library.
type executor struct {
	runtime runtime.Runtime
}

var (
	_ remotecommand.Executor = (*executor)(nil)
	_ remotecommand.Attacher = (*executor)(nil)
)

func (e *executor) ExecInContainer(ctx context.Context, _, _, id string, command []string, in io.Reader, out, errOut io.WriteCloser, tty bool, sizes <-chan remotecommand.TerminalSize, _ time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	options := runtime.ExecOptions{Command: command, TTY: tty, Resize: relay(ctx, sizes)}
	// An interface that holds a nil pointer is not nil.
	if in != nil {
		options.Stdin = in
	}
	if out != nil {
		options.Stdout = out
	}
	if errOut != nil && !tty {
		options.Stderr = errOut
	}
	code, err := e.runtime.Exec(ctx, id, options)
	if err != nil {
		return err
	}
	if code != 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("error executing command %v, exit code %d", command, code), Code: code}
	}
	return nil
}

func (e *executor) AttachContainer(ctx context.Context, _, _, id string, in io.Reader, out, errOut io.WriteCloser, tty bool, sizes <-chan remotecommand.TerminalSize) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	options := runtime.AttachOptions{Resize: relay(ctx, sizes)}
	if in != nil {
		options.Stdin = in
	}
	if out != nil {
		options.Stdout = out
	}
	if errOut != nil && !tty {
		options.Stderr = errOut
	}
	return e.runtime.Attach(ctx, id, options)
}

// relay turns the library's sizes into ours.
func relay(ctx context.Context, sizes <-chan remotecommand.TerminalSize) <-chan runtime.TermSize {
	if sizes == nil {
		return nil
	}
	out := make(chan runtime.TermSize, 1)
	go func() {
		defer close(out)
		for {
			select {
			case <-ctx.Done():
				return
			case size, ok := <-sizes:
				if !ok {
					return
				}
				select {
				case out <- runtime.TermSize{Width: size.Width, Height: size.Height}:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return out
}

// outcome is what the error channel says about the end of a command, in the words that kubectl reads.
func outcome(err error) *apierrors.StatusError {
	if err == nil {
		return success()
	}
	var exit utilexec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return nonZero(exit)
	}
	return apierrors.NewInternalError(fmt.Errorf("error executing command in container: %v", err))
}
