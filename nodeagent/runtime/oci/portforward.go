package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// PortForward implements runtime.Runtime.
func (r *Runtime) PortForward(ctx context.Context, sandboxID string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	if port <= 0 || port > 65535 {
		return fmt.Errorf("port %d is out of range", port)
	}
	conn, err := r.dialInside(ctx, sandboxID, port)
	if err != nil {
		return fmt.Errorf("port forward to %d: %w", port, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close(); stream.Close() })
	defer stop()
	return join(conn, stream)
}

// dialInside connects to a port on the sandbox's loopback. A socket belongs to the namespace of the thread that makes it.
func (r *Runtime) dialInside(ctx context.Context, sandboxID string, port int32) (net.Conn, error) {
	s, err := r.sandboxes.Get(sandboxID)
	if err != nil {
		return nil, err
	}
	if !s.Ready {
		return nil, fmt.Errorf("sandbox %s is not running", sandboxID)
	}
	var conn net.Conn
	err = r.sandboxes.Inside(sandboxID, func() error {
		var failed error
		for _, host := range []string{"127.0.0.1", "::1"} {
			var d net.Dialer
			dialCtx, cancel := context.WithTimeout(ctx, 10*time.Second)
			conn, err = d.DialContext(dialCtx, "tcp", net.JoinHostPort(host, fmt.Sprint(port)))
			cancel()
			if err == nil {
				return nil
			}
			if failed == nil {
				failed = err
			}
		}
		return failed
	})
	return conn, err
}

// join copies both ways. When the pod has said all, the stream is done; when the client has, the pod may still answer.
func join(conn net.Conn, stream io.ReadWriteCloser) error {
	var wg sync.WaitGroup
	wg.Go(func() {
		io.Copy(conn, stream)
		if tcp, ok := conn.(*net.TCPConn); ok {
			tcp.CloseWrite()
		}
	})
	_, err := io.Copy(stream, conn)
	stream.Close()
	conn.Close()
	wg.Wait()
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		return nil
	}
	return err
}

// ContainerStats implements runtime.Runtime.
func (r *Runtime) ContainerStats(_ context.Context, id string) (runtime.Stats, error) {
	c, err := r.get(id)
	if err != nil {
		return runtime.Stats{}, err
	}
	stats, err := r.cgroups.Stats(c.Group)
	if err != nil {
		return stats, err
	}
	stats.StartTime = c.status().StartedAt
	stats.RootfsBytes, stats.RootfsInodes = diskUsage(r.file(id, "upper"))
	stats.LogBytes = logUsage(c.LogPath)
	return stats, nil
}

// PodStats implements runtime.Runtime.
func (r *Runtime) PodStats(_ context.Context, sandboxID string) (runtime.PodStats, error) {
	s, err := r.sandboxes.Get(sandboxID)
	if err != nil {
		return runtime.PodStats{}, err
	}
	stats, err := r.cgroups.Stats(s.Config.CgroupParent)
	out := runtime.PodStats{Stats: stats}
	if err == nil && !s.Config.HostNetwork && s.Ready {
		if net, err := r.network.Stats(sandboxID); err == nil {
			out.Network = &net
		}
	}
	return out, err
}
