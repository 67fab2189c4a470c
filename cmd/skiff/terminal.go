package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/skiff-project/skiff/pkg/machine"
	"github.com/skiff-project/skiff/pkg/machine/control"
	"github.com/skiff-project/skiff/pkg/pty"
)

// execOnTerminal runs a command on a terminal of its own and joins this process's terminal to it, so that job control,
// editors and window sizes work in the machine.
func execOnTerminal(m *machine.Machine, e control.Exec) (int, error) {
	near, far, err := pty.Open()
	if err != nil {
		return 0, fmt.Errorf("terminal: %w", err)
	}
	defer near.Close()
	defer far.Close()
	resize := func() {
		if size, err := unix.IoctlGetWinsize(int(os.Stdin.Fd()), unix.TIOCGWINSZ); err == nil {
			_ = unix.IoctlSetWinsize(int(far.Fd()), unix.TIOCSWINSZ, size) // at worst the size is wrong
		}
	}
	resize()
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	defer signal.Stop(changed)
	go func() {
		for range changed {
			resize()
		}
	}()
	before, err := term.MakeRaw(int(os.Stdin.Fd()))
	if err != nil {
		return 0, err
	}
	defer term.Restore(int(os.Stdin.Fd()), before) //nolint:errcheck // nothing is left to try
	go io.Copy(near, os.Stdin)                     //nolint:errcheck // ends with the process
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		_, _ = io.Copy(os.Stdout, near) // ends with EIO when the last holder of the far end is gone
	}()
	e.Terminal = true
	code, err := m.Exec(e, far, far, far)
	far.Close()
	<-shown
	return code, err
}
