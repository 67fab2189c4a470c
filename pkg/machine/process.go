package machine

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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

// process describes a process unless it is gone.
func process(pid int) (Process, bool) {
	p := Process{PID: pid}
	body, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return p, false
	}
	for _, line := range strings.Split(string(body), "\n") {
		key, value, _ := strings.Cut(line, ":")
		switch key {
		case "Name":
			p.Name = strings.TrimSpace(value)
		case "NSpid":
			if fields := strings.Fields(value); len(fields) == 2 {
				p.Inner, _ = strconv.Atoi(fields[1]) // the kernel writes numbers
			}
		}
	}
	p.Name = wholeName(pid, p.Name)
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return p, true // a kernel without it: the process is shown without its size
	}
	for _, line := range strings.Split(string(rollup), "\n") {
		if value, ok := strings.CutPrefix(line, "Pss:"); ok {
			kb, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(value, "kB")), 10, 64)
			p.PSS = kb << 10
		}
	}
	return p, true
}

// wholeName is the program's name; the kernel's own keeps 15 characters of it.
func wholeName(pid int, short string) string {
	body, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return short
	}
	first, _, _ := strings.Cut(string(body), "\x00")
	if base := filepath.Base(first); strings.HasPrefix(base, short) {
		return base
	}
	return short
}
