package pause

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestProgramRunsAndReapsOrphans(t *testing.T) {
	program, err := Program(runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "pause")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path)
	// Its own PID namespace, as with shareProcessNamespace.
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	// SIGCHLD is signal 17: bit 16 of the ignored ones, once it has run.
	deadline := time.Now().Add(5 * time.Second)
	for {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		if ignored(t, string(status))&(1<<16) != 0 && strings.Contains(string(status), "State:\tS") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not asleep with SIGCHLD ignored:\n%s", status)
		}
		time.Sleep(time.Millisecond)
	}
	// An orphan is handed to it and must not stay as a zombie.
	sh := exec.Command("nsenter", "-t", fmt.Sprint(cmd.Process.Pid), "-p", "sh", "-c", "sh -c 'exit 3' & exec true")
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("nsenter: %v: %s", err, out)
	}
	for {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		if len(bytes.TrimSpace(children)) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("orphans stay: %s", children)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestProgramIsWellFormed(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		program, err := Program(arch)
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(program))
		if err != nil {
			t.Fatalf("%s: %v", arch, err)
		}
		if f.Machine != machine || len(f.Progs) != 2 {
			t.Errorf("%s: machine %v, %d segments", arch, f.Machine, len(f.Progs))
		}
		// The signal action stands at the end, aligned.
		if len(program)%8 != 0 {
			t.Errorf("%s: %d bytes: the data is not aligned", arch, len(program))
		}
	}
	if _, err := Program("riscv64"); err == nil {
		t.Error("a program for an unknown processor")
	}
}

// ignored is the set of signals that a process ignores. Others than SIGCHLD may be in it, inherited from whoever runs the
// test.
func ignored(t *testing.T, status string) uint64 {
	t.Helper()
	_, rest, _ := strings.Cut(status, "SigIgn:")
	var set uint64
	if _, err := fmt.Sscanf(rest, "%x", &set); err != nil {
		t.Fatal(err)
	}
	return set
}
