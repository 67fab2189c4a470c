package lab

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/skiff-project/skiff/pkg/machine"
)

// Usage is what the machine's processes take.
type Usage struct {
	// PSS is memory in bytes by program, with pages that several share counted in parts.
	PSS map[string]int64
	// Count is the number of processes by program.
	Count map[string]int
}

// Total is the memory of all programs in bytes.
func (u Usage) Total() int64 {
	var sum int64
	for _, b := range u.PSS {
		sum += b
	}
	return sum
}

// Usage looks at the machine's processes.
func (l *Lab) Usage() (Usage, error) { return UsageOf(l.Machine) }

// PID is a component's process as the host counts, and 0 if it does not run.
func (l *Lab) PID(component string) (int, error) {
	states, err := l.Machine.Components()
	if err != nil {
		return 0, err
	}
	inner := 0
	for _, s := range states {
		if s.Name == component {
			inner = s.PID
		}
	}
	processes, err := l.Machine.Processes()
	if err != nil || inner == 0 {
		return 0, err
	}
	for _, p := range processes {
		if p.Inner == inner {
			return p.PID, nil
		}
	}
	return 0, nil
}

// CPU is the processor time that a process has used, with a resolution of 10 ms.
func CPU(pid int) (time.Duration, error) {
	body, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// Behind the program's name, which may hold blanks: state is field 3, user and system time are 14 and 15.
	fields := bytes.Fields(body[bytes.LastIndexByte(body, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("stat of process %d: %q", pid, body)
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	const perSecond = 100 // USER_HZ, the same on every machine that Linux shows to programs
	return time.Duration(ticks) * time.Second / perSecond, nil
}

// PSS is the memory of a process in bytes.
func PSS(pid int) (int64, error) {
	body, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(body)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("process %d shows no Pss", pid)
}

// CgroupCPU is the processor time of everything that ever ran on a machine, pods included.
func CgroupCPU(cluster, machine string) (time.Duration, error) {
	name := filepath.Join("skiff-"+cluster, machine)
	for _, top := range []string{"/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup/cpu,cpuacct"} {
		if body, err := os.ReadFile(filepath.Join(top, name, "cpuacct.usage")); err == nil {
			ns, err := strconv.ParseInt(strings.TrimSpace(string(body)), 10, 64)
			return time.Duration(ns), err
		}
	}
	body, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", name, "cpu.stat"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(body)) {
		if rest, ok := strings.CutPrefix(line, "usage_usec "); ok {
			us, err := strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
			return time.Duration(us) * time.Microsecond, err
		}
	}
	return 0, fmt.Errorf("cgroup %s shows no processor time", name)
}

// UsageOf looks at the processes of any machine.
func UsageOf(m *machine.Machine) (Usage, error) {
	u := Usage{PSS: map[string]int64{}, Count: map[string]int{}}
	processes, err := m.Processes()
	for _, p := range processes {
		u.PSS[p.Name] += p.PSS
		u.Count[p.Name]++
	}
	return u, err
}
