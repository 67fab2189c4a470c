package cri

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	api "k8s.io/cri-api/pkg/apis/runtime/v1"
	utilexec "k8s.io/utils/exec"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// ExecSync implements runtime.Runtime.
func (r *Runtime) ExecSync(ctx context.Context, id string, command []string, timeout time.Duration) (runtime.ExecResult, error) {
	seconds := int64((timeout + time.Second - 1) / time.Second)
	call := ctx
	if timeout > 0 {
		// CRI counts in seconds; the exact time-out is kept here, and the runtime's own a moment later.
		var cancel context.CancelFunc
		call, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	resp, err := r.runtime.ExecSync(call, &api.ExecSyncRequest{ContainerId: id, Cmd: command, Timeout: seconds})
	if err != nil {
		if timeout > 0 && ctx.Err() == nil && (call.Err() != nil || status.Code(err) == codes.DeadlineExceeded) {
			return runtime.ExecResult{}, fmt.Errorf("command %q %w after %s", command, runtime.ErrExecTimeout, timeout)
		}
		return runtime.ExecResult{}, translate(err)
	}
	return runtime.ExecResult{Stdout: resp.Stdout, Stderr: resp.Stderr, ExitCode: int(resp.ExitCode)}, nil
}

// Exec implements runtime.Runtime: the runtime names a URL on which it serves the streams.
func (r *Runtime) Exec(ctx context.Context, id string, o runtime.ExecOptions) (int, error) {
	resp, err := r.runtime.Exec(ctx, &api.ExecRequest{
		ContainerId: id, Cmd: o.Command, Tty: o.TTY, Stdin: o.Stdin != nil, Stdout: o.Stdout != nil, Stderr: o.Stderr != nil && !o.TTY,
	})
	if err != nil {
		return 0, translate(err)
	}
	err = stream(ctx, resp.Url, remotecommand.StreamOptions{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY}, o.Resize)
	var exit utilexec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitStatus(), nil
	}
	return 0, err
}

// Attach implements runtime.Runtime.
func (r *Runtime) Attach(ctx context.Context, id string, o runtime.AttachOptions) error {
	s, err := r.runtime.ContainerStatus(ctx, &api.ContainerStatusRequest{ContainerId: id, Verbose: true})
	if err != nil {
		return translate(err)
	}
	if s.Status.State != api.ContainerState_CONTAINER_RUNNING {
		return fmt.Errorf("container %s (%s) is not running", s.Status.GetMetadata().GetName(), id)
	}
	tty := o.Resize != nil && o.Stderr == nil
	resp, err := r.runtime.Attach(ctx, &api.AttachRequest{ContainerId: id, Tty: tty, Stdin: o.Stdin != nil, Stdout: o.Stdout != nil, Stderr: o.Stderr != nil && !tty})
	if err != nil {
		return translate(err)
	}
	return stream(ctx, resp.Url, remotecommand.StreamOptions{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: tty}, o.Resize)
}

// stream speaks SPDY to the runtime's streaming server, which listens on this machine and is known by the token in the URL.
func stream(ctx context.Context, location string, o remotecommand.StreamOptions, sizes <-chan runtime.TermSize) error {
	u, err := url.Parse(location)
	if err != nil {
		return fmt.Errorf("streaming URL of the container runtime: %w", err)
	}
	executor, err := remotecommand.NewSPDYExecutor(&rest.Config{TLSClientConfig: rest.TLSClientConfig{Insecure: u.Scheme == "https"}}, http.MethodPost, u)
	if err != nil {
		return err
	}
	if o.Tty && sizes != nil {
		o.TerminalSizeQueue = &queue{ctx, sizes}
	}
	return executor.StreamWithContext(ctx, o)
}

// queue hands sizes to the streaming library.
type queue struct {
	ctx   context.Context
	sizes <-chan runtime.TermSize
}

// Next blocks for the next size; nil is the end.
func (q *queue) Next() *remotecommand.TerminalSize {
	select {
	case s, ok := <-q.sizes:
		if ok {
			return &remotecommand.TerminalSize{Width: s.Width, Height: s.Height}
		}
	case <-q.ctx.Done():
	}
	return nil
}

// PortForward implements runtime.Runtime.
func (r *Runtime) PortForward(ctx context.Context, sandboxID string, port int32, data io.ReadWriteCloser) error {
	defer data.Close()
	resp, err := r.runtime.PortForward(ctx, &api.PortForwardRequest{PodSandboxId: sandboxID, Port: []int32{port}})
	if err != nil {
		return translate(err)
	}
	u, err := url.Parse(resp.Url)
	if err != nil {
		return fmt.Errorf("streaming URL of the container runtime: %w", err)
	}
	transport, upgrader, err := spdy.RoundTripperFor(&rest.Config{TLSClientConfig: rest.TLSClientConfig{Insecure: u.Scheme == "https"}})
	if err != nil {
		return err
	}
	conn, _, err := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, u).Dial("portforward.k8s.io")
	if err != nil {
		return fmt.Errorf("port forward to %d: %w", port, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close(); data.Close() })
	defer stop()
	return forward(conn, port, data)
}

func forward(conn httpstream.Connection, port int32, data io.ReadWriteCloser) error {
	headers := http.Header{}
	headers.Set(corev1.PortHeader, strconv.Itoa(int(port)))
	headers.Set(corev1.PortForwardRequestIDHeader, "0")
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	errorStream, err := conn.CreateStream(headers)
	if err != nil {
		return err
	}
	errorStream.Close() // nothing is sent on it
	told := make(chan error, 1)
	go func() {
		message, err := io.ReadAll(errorStream)
		if err == nil && len(message) > 0 {
			err = errors.New(string(message))
		}
		told <- err
	}()
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	remote, err := conn.CreateStream(headers)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		io.Copy(remote, data)
		remote.Close() // half: the pod may still answer
	})
	io.Copy(data, remote)
	data.Close()
	err = <-told
	conn.Close()
	wg.Wait()
	return err
}
