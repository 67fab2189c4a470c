package pid1

import (
	"errors"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// reaper collects every process that ends below PID 1: those that it started, whose end it reports, and those that lost
// their parent, of which nobody wants to hear.
//
// It is the only one to wait for processes. os/exec waits by itself and would race with it, so processes are started
// with syscall.ForkExec under the lock: an end cannot be seen before its start is known.
type reaper struct {
	mu      sync.Mutex
	started map[int]chan<- syscall.WaitStatus
}

func newReaper() *reaper {
	r := &reaper{started: map[int]chan<- syscall.WaitStatus{}}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	go func() {
		for range ended {
			r.collect()
		}
	}()
	return r
}

func (r *reaper) collect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if ch, ok := r.started[pid]; ok {
			delete(r.started, pid)
			ch <- status // has room for one
		}
	}
}

// start runs a program and reports its end once on the channel.
func (r *reaper) start(argv, env []string, dir string, files []uintptr, attr *syscall.SysProcAttr) (int, <-chan syscall.WaitStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{Dir: dir, Env: env, Files: files, Sys: attr})
	if err != nil {
		return 0, nil, err
	}
	ch := make(chan syscall.WaitStatus, 1)
	r.started[pid] = ch
	return pid, ch, nil
}

// signal reaches pid only while it is known to run, so that a number used again is never hit.
func (r *reaper) signal(pid int, sig unix.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.started[pid]; !ok {
		return os.ErrProcessDone
	}
	return unix.Kill(pid, sig)
}

func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "signal: " + status.Signal().String()
	}
	return "exit status " + strconv.Itoa(status.ExitStatus())
}

func exitCode(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}
