package machine

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// startTime is when the process pid started, in ticks since boot, or 0 if there is none that lives.
func startTime(pid int) uint64 {
	body, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The second field is the program's name, which may hold blanks and brackets: count from behind it.
	fields := bytes.Fields(body[bytes.LastIndexByte(body, ')')+1:])
	if len(fields) < 20 || fields[0][0] == 'Z' {
		return 0
	}
	t, err := strconv.ParseUint(string(fields[19]), 10, 64)
	if err != nil {
		return 0
	}
	return t
}

func (m machineState) lives() bool {
	return m.PID > 0 && startTime(m.PID) == m.Started && m.Started > 0
}

// kill ends init, and with it everything in its PID namespace, and waits until the kernel is done with that.
func (m machineState) kill(ctx context.Context) error {
	if !m.lives() {
		return nil
	}
	fd, err := unix.PidfdOpen(m.PID, 0)
	if err != nil {
		return nil //nolint:nilerr // it has gone in between
	}
	defer unix.Close(fd)
	if !m.lives() {
		return nil // the number is another's by now
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && err != unix.ESRCH {
		return fmt.Errorf("kill machine %s: %w", m.Name, err)
	}
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for ctx.Err() == nil {
		n, err := unix.Poll(poll, 100)
		if err != nil && err != unix.EINTR {
			return err
		}
		if n > 0 {
			return nil
		}
	}
	return fmt.Errorf("machine %s does not end: %w", m.Name, ctx.Err())
}

// until waits for a condition that the kernel brings about in its own time.
func until(ctx context.Context, done func() bool) error {
	for pause := time.Millisecond; !done(); pause = min(2*pause, 50*time.Millisecond) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
	return nil
}

// innermost is the number that a process has one PID namespace below this one: in its machine. It is 0 for a process
// of a container, which is deeper.
func innermost(pid int) int {
	body, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for _, line := range bytes.Split(body, []byte("\n")) {
		numbers, ok := bytes.CutPrefix(line, []byte("NSpid:"))
		if !ok {
			continue
		}
		if fields := bytes.Fields(numbers); len(fields) == 2 {
			n, err := strconv.Atoi(string(fields[1]))
			if err == nil {
				return n
			}
		}
	}
	return 0
}
