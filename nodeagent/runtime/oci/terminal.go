package oci

import (
	"context"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// runTerminal gives the OCI runtime a terminal of our own; it relays between that and the one inside the container, and
// takes over every change of its size.
func (e *execution) runTerminal(ctx context.Context, options runtime.ExecOptions) (int, error) {
	master, slave, err := openTerminal()
	if err != nil {
		return 0, err
	}
	defer master.Close()
	// The size is often the first thing sent; a program that starts with none draws for nothing.
	select {
	case size, ok := <-options.Resize:
		if ok {
			setSize(master, size)
		}
	default:
	}
	e.cmd.Stdin, e.cmd.Stdout, e.cmd.Stderr = slave, slave, slave
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = e.cmd.Start()
	slave.Close()
	if err != nil {
		return 0, err
	}
	ended, stop := context.WithCancel(ctx)
	defer stop()
	go resize(ended, options.Resize, func(s runtime.TermSize) { setSize(master, s) })
	if options.Stdin != nil {
		go io.Copy(master, options.Stdin)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		if options.Stdout == nil {
			io.Copy(io.Discard, master)
			return
		}
		io.Copy(options.Stdout, master) // ends with EIO when the last one has closed the other end
	}()
	code, err := e.wait(ctx)
	<-read
	return code, err
}

// resize hands on sizes until ctx ends.
func resize(ctx context.Context, sizes <-chan runtime.TermSize, set func(runtime.TermSize)) {
	for {
		select {
		case <-ctx.Done():
			return
		case s, ok := <-sizes:
			if !ok {
				return
			}
			if s.Width > 0 && s.Height > 0 {
				set(s)
			}
		}
	}
}

// openTerminal makes a pseudo terminal. The master is non-blocking, so that closing it ends a read.
func openTerminal() (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, &os.PathError{Op: "open", Path: "/dev/ptmx", Err: err}
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		unix.Close(fd)
		return nil, nil, fmt.Errorf("pseudo terminal: %w", err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		unix.Close(fd)
		return nil, nil, err
	}
	return os.NewFile(uintptr(fd), "/dev/ptmx"), slave, nil
}

func setSize(terminal *os.File, s runtime.TermSize) {
	raw, err := terminal.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: s.Height, Col: s.Width})
	})
}
