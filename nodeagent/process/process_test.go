package process

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func start(t *testing.T) ID {
	t.Helper()
	cmd := exec.Command("/bin/cat")
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	id, err := Of(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { id.Signal(unix.SIGKILL); cmd.Wait() })
	return id
}

func TestWaitEndsWithTheProcess(t *testing.T) {
	id := start(t)
	if !id.Alive() {
		t.Fatal("not alive after its start")
	}
	short, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := id.Wait(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Wait for a running process = %v, want the deadline", err)
	}
	if err := id.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	long, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := id.Wait(long); err != nil {
		t.Fatal(err)
	}
	if id.Alive() {
		t.Error("alive after its end")
	}
	id.Reap()
	if err := id.Signal(unix.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Signal after the end = %v, want %v", err, os.ErrProcessDone)
	}
}

func TestAnotherProcessWithTheSamePIDIsNotTakenForIt(t *testing.T) {
	id := start(t)
	id.Start++
	if id.Alive() {
		t.Error("alive")
	}
	if err := id.Signal(unix.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Signal = %v, want %v", err, os.ErrProcessDone)
	}
}
