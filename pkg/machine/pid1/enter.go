package pid1

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/pkg/machine/control"
)

// GateFD is the descriptor of the socket on which the host says Go, once everything outside is in place, and is told
// Ready. Its closing without that word says that the machine did not come up.
const GateFD = 3

var gate *os.File

// The words exchanged at the gate.
const (
	Go    = 'g'
	Ready = 'r'
)

// Enter makes the calling process the machine that the spec at path describes, then executes it again as
// "PROGRAM run". It returns only with an error.
func Enter(path string) error {
	runtime.LockOSThread() // namespaces below are this thread's; the execution at the end keeps this thread alone
	// Never closed here: the second execution finds it open, and what goes wrong before is written to the log first.
	gate = os.NewFile(GateFD, "gate")
	var b [1]byte
	if _, err := io.ReadFull(gate, b[:]); err != nil {
		return fmt.Errorf("whoever started this machine is gone: %w", err)
	}
	spec, err := readSpec(path)
	if err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("cgroup namespace: %w", err)
	}
	if err := buildRoot(spec); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(spec.Hostname)); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	for key, value := range spec.Sysctls {
		file := filepath.Join("/proc/sys", strings.ReplaceAll(key, ".", "/"))
		if err := os.WriteFile(file, []byte(value), 0o644); err != nil {
			return fmt.Errorf("sysctl %s: %w", key, err)
		}
	}
	body, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", specEnv + "=" + string(body)}
	return unix.Exec("/proc/self/exe", []string{"machine-init", "run"}, env)
}

// specEnv carries the spec across the execution: the file it came from is out of sight by then.
const specEnv = "SKIFF_MACHINE"

func readSpec(path string) (*control.Spec, error) {
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	spec := &control.Spec{}
	if err := json.Unmarshal(body, spec); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return spec, nil
}
