package server

import (
	"bufio"
	"context"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// nodeUsage reads what the whole node uses, from /proc: the root control group tells less, and nothing on v2.
func nodeUsage() runtime.Stats {
	s := runtime.Stats{Time: time.Now()}
	s.CPUNanos = nodeCPU()
	mem := meminfo()
	s.MemoryLimit = mem["MemTotal"]
	s.MemoryUsage = mem["MemTotal"] - mem["MemFree"]
	s.MemoryWorking = s.MemoryUsage - min(s.MemoryUsage, mem["Inactive(file)"])
	s.MemoryRSS = mem["AnonPages"]
	s.StartTime = bootTime()
	return s
}

// nodeCPU adds up the time that all processors were busy. The kernel counts in hundredths of a second.
func nodeCPU() uint64 {
	f, err := os.Open("/proc/stat")
	if err != nil {
		return 0
	}
	defer f.Close()
	line, _ := bufio.NewReader(f).ReadString('\n')
	fields := strings.Fields(line)
	var ticks uint64
	for i, field := range fields {
		if i == 0 || i == 4 || i == 5 || i > 8 { // name, idle, iowait, guest times that are in user's already
			continue
		}
		n, _ := strconv.ParseUint(field, 10, 64)
		ticks += n
	}
	return ticks * uint64(time.Second/100)
}

func meminfo() map[string]uint64 {
	out := map[string]uint64{}
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return out
	}
	for line := range strings.Lines(string(data)) {
		name, rest, _ := strings.Cut(line, ":")
		if fields := strings.Fields(rest); len(fields) > 0 {
			n, _ := strconv.ParseUint(fields[0], 10, 64)
			out[name] = n << 10
		}
	}
	return out
}

func bootTime() time.Time {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(ts.Nano())).Truncate(time.Second)
}

// podUsage is a sandbox with what it and its running containers use.
type podUsage struct {
	sandbox    runtime.Sandbox
	stats      runtime.PodStats
	containers []containerUsage
}

type containerUsage struct {
	status runtime.ContainerStatus
	stats  runtime.Stats
}

// usage reads the counters of all running pods. What ends meanwhile is left out.
func (s *Server) usage(ctx context.Context) ([]podUsage, error) {
	sandboxes, err := s.config.Runtime.Sandboxes(ctx)
	if err != nil {
		return nil, err
	}
	containers, err := s.config.Runtime.Containers(ctx)
	if err != nil {
		return nil, err
	}
	var out []podUsage
	for _, sb := range sandboxes {
		if sb.State != runtime.SandboxReady {
			continue
		}
		p := podUsage{sandbox: sb}
		if p.stats, err = s.config.Runtime.PodStats(ctx, sb.ID); err != nil {
			continue
		}
		for _, c := range containers {
			if c.SandboxID != sb.ID || c.State != runtime.Running {
				continue
			}
			if stats, err := s.config.Runtime.ContainerStats(ctx, c.ID); err == nil {
				p.containers = append(p.containers, containerUsage{c, stats})
			}
		}
		slices.SortFunc(p.containers, func(a, b containerUsage) int { return strings.Compare(a.status.Name, b.status.Name) })
		out = append(out, p)
	}
	return out, nil
}
