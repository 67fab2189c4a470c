package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// ID of a process for all times (of one boot).
type ID struct {
	PID int
	// Start in clock ticks after boot, as /proc/PID/stat has it.
	Start uint64
}

// Of reads the ID of a process that runs now.
func Of(pid int) (ID, error) {
	start, state, err := stat(pid)
	if err != nil {
		return ID{}, err
	}
	if state == 'Z' || state == 'X' {
		return ID{}, fmt.Errorf("process %d: %w", pid, os.ErrProcessDone)
	}
	return ID{PID: pid, Start: start}, nil
}

// stat parses /proc/PID/stat from behind the name, which may hold anything.
func stat(pid int) (start uint64, state byte, err error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0, fmt.Errorf("process %d: %w", pid, os.ErrProcessDone)
	}
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 20 {
		return 0, 0, fmt.Errorf("process %d: unexpected stat", pid)
	}
	start, err = strconv.ParseUint(string(fields[19]), 10, 64)
	return start, fields[0][0], err
}

// Alive says whether the process still runs. A zombie does not.
func (id ID) Alive() bool {
	if id.PID <= 0 {
		return false
	}
	now, err := Of(id.PID)
	return err == nil && now == id
}

// open returns a pidfd that certainly is of this process.
func (id ID) open() (*os.File, error) {
	if id.PID <= 0 {
		return nil, os.ErrProcessDone
	}
	fd, err := unix.PidfdOpen(id.PID, unix.PIDFD_NONBLOCK)
	if err != nil {
		if errors.Is(err, unix.ESRCH) {
			err = os.ErrProcessDone
		}
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	if !id.Alive() { // checked while the fd pins the id
		f.Close()
		return nil, os.ErrProcessDone
	}
	return f, nil
}

// Signal sends a signal. A process that is gone is os.ErrProcessDone.
func (id ID) Signal(sig unix.Signal) error {
	f, err := id.open()
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.PidfdSendSignal(int(f.Fd()), sig, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// Wait returns nil when the process has ended, or when ctx ends its error. A child of the agent is left for Reap.
func (id ID) Wait(ctx context.Context) error {
	f, err := id.open()
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	stop := context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	err = raw.Read(ended)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// ended says whether a pidfd is readable: then its process has ended.
func ended(fd uintptr) bool {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(poll, 0)
	return err == nil && n > 0
}

// Reap collects a child that has ended, so that it does not stay as a zombie. For other processes it does nothing.
func (id ID) Reap() { unix.Wait4(id.PID, nil, unix.WNOHANG, nil) }
