package cgroups

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// unlimited is what v1 shows for "no limit", give or take a page.
const unlimited = 1 << 62

// Stats reads what a group has used. What the kernel does not tell stays zero.
func (m *Manager) Stats(group string) (runtime.Stats, error) {
	group = m.Join(group)
	s := runtime.Stats{Time: time.Now()}
	dir := m.h.file("memory", group, "")
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return s, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	s.StartTime = time.Unix(st.Ctim.Unix())
	if m.Unified() {
		m.statsUnified(dir, &s)
	} else {
		m.statsV1(group, &s)
	}
	return s, nil
}

func (m *Manager) statsV1(group string, s *runtime.Stats) {
	s.CPUNanos = number(m.h.file("cpuacct", group, "cpuacct.usage"))
	s.MemoryUsage = number(m.h.file("memory", group, "memory.usage_in_bytes"))
	if limit := number(m.h.file("memory", group, "memory.limit_in_bytes")); limit < unlimited {
		s.MemoryLimit = limit
	}
	stat := table(m.h.file("memory", group, "memory.stat"))
	s.MemoryRSS = stat["total_rss"]
	s.PageFaults, s.MajorPageFaults = stat["total_pgfault"], stat["total_pgmajfault"]
	s.MemoryWorking = without(s.MemoryUsage, stat["total_inactive_file"])
	s.Pids = number(m.h.file("pids", group, "pids.current"))
}

func (m *Manager) statsUnified(dir string, s *runtime.Stats) {
	s.CPUNanos = table(filepath.Join(dir, "cpu.stat"))["usage_usec"] * 1000
	s.MemoryUsage = number(filepath.Join(dir, "memory.current"))
	s.MemoryLimit = number(filepath.Join(dir, "memory.max"))
	stat := table(filepath.Join(dir, "memory.stat"))
	s.MemoryRSS = stat["anon"]
	s.PageFaults, s.MajorPageFaults = stat["pgfault"], stat["pgmajfault"]
	s.MemoryWorking = without(s.MemoryUsage, stat["inactive_file"])
	s.Pids = number(filepath.Join(dir, "pids.current"))
}

// OOMKills counts the processes of a group that the kernel killed for want of memory.
func (m *Manager) OOMKills(group string) uint64 {
	group = m.Join(group)
	if m.Unified() {
		return table(filepath.Join(m.h.unified, group, "memory.events"))["oom_kill"]
	}
	return table(m.h.file("memory", group, "memory.oom_control"))["oom_kill"]
}

// Limits reads back the limits of a group that can be changed in place.
func (m *Manager) Limits(group string) runtime.Resources {
	group = m.Join(group)
	if m.Unified() {
		return m.limitsUnified(filepath.Join(m.h.unified, group))
	}
	var res runtime.Resources
	res.CPUShares = int64(number(m.h.file("cpu", group, "cpu.shares")))
	res.CPUPeriod = int64(number(m.h.file("cpu", group, "cpu.cfs_period_us")))
	res.CPUQuota = int64(number(m.h.file("cpu", group, "cpu.cfs_quota_us"))) // -1 is no number: 0
	if limit := number(m.h.file("memory", group, "memory.limit_in_bytes")); limit < unlimited {
		res.MemoryLimit = int64(limit)
	}
	return res
}

func (m *Manager) limitsUnified(dir string) runtime.Resources {
	var res runtime.Resources
	if weight := int64(number(filepath.Join(dir, "cpu.weight"))); weight > 0 {
		res.CPUShares = minShares + (weight-1)*(maxShares-minShares)/9999
	}
	data, _ := os.ReadFile(filepath.Join(dir, "cpu.max"))
	if fields := strings.Fields(string(data)); len(fields) == 2 {
		res.CPUQuota, _ = strconv.ParseInt(fields[0], 10, 64) // "max" is 0
		res.CPUPeriod, _ = strconv.ParseInt(fields[1], 10, 64)
	}
	res.MemoryLimit = int64(number(filepath.Join(dir, "memory.max")))
	return res
}

func without(a, b uint64) uint64 {
	if b > a {
		return 0
	}
	return a - b
}

func number(path string) uint64 {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
	return n
}

// table reads "name value" lines.
func table(path string) map[string]uint64 {
	t := map[string]uint64{}
	f, err := os.Open(path)
	if err != nil {
		return t
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), " "); ok {
			t[name], _ = strconv.ParseUint(value, 10, 64)
		}
	}
	return t
}
