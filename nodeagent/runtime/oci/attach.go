package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// Conmon's attach socket sends one packet a piece of output, the first byte saying from which stream.
const (
	attachStdout = 2
	attachStderr = 3
	attachBuffer = 64 << 10 // more than conmon ever sends in one packet
)

// Conmon's control fifo takes lines of three numbers.
const (
	controlResize = 1
	controlReopen = 2
)

// Attach implements runtime.Runtime.
func (r *Runtime) Attach(ctx context.Context, id string, options runtime.AttachOptions) error {
	c, err := r.get(id)
	if err != nil {
		return err
	}
	if _, err := c.running(); err != nil {
		return err
	}
	conn, err := r.dialAttach(c)
	if err != nil {
		return fmt.Errorf("attach to container %s: %w", c.Config.Name, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	ended, cancel := context.WithCancel(ctx)
	defer cancel()
	go resize(ended, options.Resize, func(s runtime.TermSize) { r.control(c, controlResize, int(s.Height), int(s.Width)) })

	if options.Stdin != nil && c.Config.Stdin {
		go func() {
			io.Copy(onlyWriter{conn}, options.Stdin)
			conn.CloseWrite() // conmon closes the container's stdin with it if that is to be open once only
		}()
	}
	err = copyAttached(conn, options)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// dialAttach connects through /proc/self/fd: a socket's path is at most 107 bytes long.
func (r *Runtime) dialAttach(c *container) (*net.UnixConn, error) {
	dir, err := os.Open(r.dir(c.ID))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: fmt.Sprintf("/proc/self/fd/%d/attach", dir.Fd()), Net: "unixpacket"})
}

// onlyWriter hides ReadFrom, which would splice past the packet boundaries.
type onlyWriter struct{ io.Writer }

func copyAttached(conn *net.UnixConn, options runtime.AttachOptions) error {
	buf := make([]byte, attachBuffer)
	for {
		n, err := conn.Read(buf)
		if n > 1 {
			var to io.Writer
			switch buf[0] {
			case attachStdout:
				to = options.Stdout
			case attachStderr:
				to = options.Stderr
			}
			if to != nil {
				if _, err := to.Write(buf[1:n]); err != nil {
					return nil // who watched has gone
				}
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) || err == nil && n == 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// control sends conmon a command.
func (r *Runtime) control(c *container, kind, a, b int) error {
	// Without a reader, that is without conmon, the open fails instead of waiting.
	f, err := os.OpenFile(r.file(c.ID, "ctl"), os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintf(f, "%d %d %d\n", kind, a, b)
	return err
}

// ReopenLog implements runtime.Runtime.
func (r *Runtime) ReopenLog(ctx context.Context, id string) error {
	c, err := r.get(id)
	if err != nil {
		return err
	}
	if _, err := c.running(); err != nil {
		return err
	}
	if err := r.control(c, controlReopen, 0, 0); err != nil {
		return fmt.Errorf("reopen log of container %s: %w", c.Config.Name, err)
	}
	return r.logReopened(ctx, c)
}

// logReopened waits until conmon has made the new file: it takes commands but does not answer them.
func (r *Runtime) logReopened(ctx context.Context, c *container) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		if _, err := os.Stat(c.LogPath); err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("log of container %s was not reopened in time", c.Config.Name)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.done:
			return nil
		case <-time.After(time.Millisecond):
		}
	}
}
