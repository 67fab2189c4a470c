package machine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/pkg/machine/control"
)

// StartComponent starts a program and keeps it running.
func (m *Machine) StartComponent(c control.Component) error {
	_, err := control.Call(m.socket(), control.Request{Op: control.OpStart, Component: &c})
	return err
}

// RestoreComponent starts a component again that StopComponent has ended.
func (m *Machine) RestoreComponent(name string) error {
	_, err := control.Call(m.socket(), control.Request{Op: control.OpStart, Name: name})
	return err
}

// StopComponent ends a component and keeps it so.
func (m *Machine) StopComponent(name string, grace time.Duration) error {
	_, err := control.Call(m.socket(), control.Request{Op: control.OpStop, Name: name, Grace: grace})
	return err
}

// SignalComponent sends a signal to a component, which init restarts if it ends of that.
func (m *Machine) SignalComponent(name string, sig unix.Signal) error {
	_, err := control.Call(m.socket(), control.Request{Op: control.OpSignal, Name: name, Signal: int(sig)})
	return err
}

// Components lists the machine's components by name.
func (m *Machine) Components() ([]control.State, error) {
	reply, err := control.Call(m.socket(), control.Request{Op: control.OpStatus})
	return reply.Components, err
}

// Exec runs a command in the machine and returns its exit code.
func (m *Machine) Exec(e control.Exec, stdin, stdout, stderr *os.File) (int, error) {
	reply, err := control.Call(m.socket(), control.Request{Op: control.OpExec, Exec: &e}, stdin, stdout, stderr)
	return reply.ExitCode, err
}

// DialContext connects from within the machine's network. Only addresses in figures make sense: names would be resolved
// on the host.
func (m *Machine) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	ns, err := m.namespace()
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	var conn net.Conn
	err = inNamespace(ns, func() error {
		var err error
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Stop ends a machine as a power cut would.
func (m *Machine) Stop(ctx context.Context) error { return m.state.kill(ctx) }

// Process is a process of a machine, in a container or not.
type Process struct {
	PID   int    // as the host counts
	Inner int    // as the machine counts; 0 for a process deeper down, in a pod's own PID namespace
	Name  string // of the program
	PSS   int64  // its share of memory in bytes: pages that several processes use are counted in parts
}

// Processes lists all processes of the machine.
func (m *Machine) Processes() ([]Process, error) {
	all, err := hierarchies()
	if err != nil {
		return nil, err
	}
	var found []Process
	for _, pid := range processesBelow(all[0], cgroupOf(m.cluster.Name())+"/"+m.Name()) {
		if p, ok := process(pid); ok {
			found = append(found, p)
		}
	}
	return found, nil
}

// Log is what is in the log file of a component.
func (m *Machine) Log(component string) ([]byte, error) {
	return os.ReadFile(fmt.Sprintf("/proc/%d/root%s/%s.log", m.PID(), LogDir, component))
}

// machineID is the 32 hexadecimal digits that tell machines of a host apart.
func machineID(cluster, name string) string {
	sum := sha256.Sum256([]byte(cluster + "/" + name))
	return hex.EncodeToString(sum[:16])
}
