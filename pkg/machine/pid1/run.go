package pid1

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/pkg/machine/control"
)

// Names of descriptors in control.Spec.Held that init itself uses.
const (
	// HeldControl is the socket on which requests arrive. The host made it: its path lies in the host's /run.
	HeldControl = "control"
)

// Run is the machine's PID 1. It returns only if the machine cannot be one.
func Run() error {
	spec := &control.Spec{}
	if err := json.Unmarshal([]byte(os.Getenv(specEnv)), spec); err != nil {
		return fmt.Errorf("spec: %w", err)
	}
	if err := os.Unsetenv(specEnv); err != nil {
		return err
	}
	for _, fd := range spec.Held {
		unix.CloseOnExec(fd) // a component gets what it names, nothing else
	}
	unix.CloseOnExec(GateFD)
	// Signals have no say here: a machine ends when its init is killed. Caught and dropped, because ignoring would be
	// inherited by every program of the machine.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
	// It was executed by way of /proc/self/exe, and would be called "exe" in every list.
	if err := os.WriteFile("/proc/self/comm", []byte("machine-init"), 0); err != nil {
		slog.Warn("own name cannot be set", "err", err)
	}
	m := &machine{spec: spec, reaper: newReaper(), components: map[string]*component{}}
	listener, err := m.listener()
	if err != nil {
		return err
	}
	go watchLogs(spec.Logs, time.Minute)
	// The host waits for this: the machine is up.
	gate = os.NewFile(GateFD, "gate")
	if _, err := gate.Write([]byte{Ready}); err != nil {
		return fmt.Errorf("whoever started this machine is gone: %w", err)
	}
	if err := gate.Close(); err != nil {
		return err
	}
	slog.Info("machine runs", "machine", spec.Hostname)
	return m.serve(listener)
}

func (m *machine) listener() (*net.UnixListener, error) {
	fd, ok := m.spec.Held[HeldControl]
	if !ok {
		return nil, errors.New("the spec names no control socket")
	}
	f := os.NewFile(uintptr(fd), HeldControl)
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	u, ok := l.(*net.UnixListener)
	if !ok {
		return nil, fmt.Errorf("control socket is a %T", l)
	}
	return u, nil
}
