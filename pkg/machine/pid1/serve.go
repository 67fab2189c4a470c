package pid1

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"sort"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/pkg/machine/control"
)

// machine is what PID 1 knows.
type machine struct {
	spec   *control.Spec
	reaper *reaper

	mu         sync.Mutex
	components map[string]*component
}

func (m *machine) serve(l *net.UnixListener) error {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return fmt.Errorf("control socket: %w", err)
		}
		go m.answer(c)
	}
}

func (m *machine) answer(c *net.UnixConn) {
	defer c.Close()
	var req control.Request
	files, err := control.Receive(c, &req)
	if err != nil {
		slog.Warn("request cannot be read", "err", err)
		return
	}
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	reply, err := m.obey(c, &req, files)
	if err != nil {
		reply.Error = err.Error()
	}
	if err := control.Send(c, reply); err != nil {
		slog.Warn("reply cannot be sent", "op", string(req.Op), "err", err)
	}
}

func (m *machine) obey(c *net.UnixConn, req *control.Request, files []*os.File) (control.Reply, error) {
	switch req.Op {
	case control.OpStatus:
		return control.Reply{Components: m.states()}, nil
	case control.OpExec:
		return m.exec(c, req.Exec, files)
	case control.OpStart:
		if req.Component != nil {
			return control.Reply{}, m.add(req.Component.Name).start(req.Component)
		}
	}
	comp, err := m.named(req.Name)
	if err != nil {
		return control.Reply{}, err
	}
	switch req.Op {
	case control.OpStart:
		return control.Reply{}, comp.start(nil)
	case control.OpStop:
		comp.halt(req.Grace)
		return control.Reply{}, nil
	case control.OpSignal:
		return control.Reply{}, comp.signal(unix.Signal(req.Signal))
	}
	return control.Reply{}, fmt.Errorf("init does not know the request %q", req.Op)
}

func (m *machine) add(name string) *component {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.components[name]
	if !ok {
		c = &component{reaper: m.reaper, held: m.spec.Held, logs: m.spec.Logs}
		m.components[name] = c
	}
	return c
}

func (m *machine) named(name string) (*component, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.components[name]
	if !ok {
		return nil, fmt.Errorf("machine %s has no component %q", m.spec.Hostname, name)
	}
	return c, nil
}

func (m *machine) states() []control.State {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []control.State
	for _, c := range m.components {
		all = append(all, c.snapshot())
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all
}

// exec runs a command for whoever is at the other end of c, and kills it when they go away.
func (m *machine) exec(c *net.UnixConn, e *control.Exec, files []*os.File) (control.Reply, error) {
	if e == nil || len(e.Argv) == 0 || len(files) != 3 {
		return control.Reply{}, errors.New("exec needs a command and three descriptors")
	}
	program, err := exec.LookPath(e.Argv[0])
	if err != nil {
		return control.Reply{ExitCode: 127}, err
	}
	dir := e.Dir
	if dir == "" {
		dir = "/"
	}
	fds := []uintptr{files[0].Fd(), files[1].Fd(), files[2].Fd()}
	attr := &syscall.SysProcAttr{Setsid: true, Setctty: e.Terminal}
	pid, ended, err := m.reaper.start(append([]string{program}, e.Argv[1:]...), append(os.Environ(), e.Env...), dir, fds, attr)
	if err != nil {
		return control.Reply{ExitCode: 126}, err
	}
	for _, f := range files {
		f.Close() // the command has its own now; holding on would keep a pipe's reader waiting
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		var nothing control.Request
		_, _ = control.Receive(c, &nothing) // nobody sends a second message: this returns when the asker leaves
	}()
	select {
	case status := <-ended:
		return control.Reply{ExitCode: exitCode(status)}, nil
	case <-gone:
		// The command leads a session and a group of its own; what it started goes with it.
		_ = unix.Kill(-pid, unix.SIGKILL)
		return control.Reply{ExitCode: exitCode(<-ended)}, nil
	}
}
