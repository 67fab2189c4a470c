package apiserver

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
)

// listen opens what the flags name and takes over what was inherited.
func (c *Config) listen() (out []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range out {
				l.Close()
			}
		}
	}()
	out = append(out, c.Listeners...)
	for _, fd := range c.ListenFDs {
		f := os.NewFile(uintptr(fd), "listener")
		l, err := net.FileListener(f)
		f.Close() // the listener has a copy
		if err != nil {
			return out, fmt.Errorf("--listen-fds: file descriptor %d is no listener: %w", fd, err)
		}
		out = append(out, l)
	}
	if c.SecurePort != 0 {
		address := net.JoinHostPort(c.BindAddress, strconv.Itoa(c.SecurePort))
		l, err := net.Listen("tcp", address)
		if errors.Is(err, syscall.EADDRINUSE) {
			return out, fmt.Errorf("port %d is in use: another server listens on %s", c.SecurePort, address)
		}
		if err != nil {
			return out, fmt.Errorf("listen on %s: %w", address, err)
		}
		out = append(out, l)
	}
	if len(out) == 0 {
		return nil, errors.New("nothing to listen on: --secure-port is 0 and --listen-fds is empty")
	}
	return out, nil
}
