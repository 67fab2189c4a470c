package cgroups

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

const (
	defaultPeriod = 100_000
	minShares     = 2
	maxShares     = 262_144
)

// limit writes what a group may use. Group is the full path.
func (m *Manager) limit(group string, res runtime.Resources) error {
	var err error
	if m.Unified() {
		err = m.limitUnified(filepath.Join(m.h.unified, group), res)
	} else {
		err = m.limitV1(group, res)
	}
	if err != nil {
		return fmt.Errorf("limit control group %s: %w", group, err)
	}
	return nil
}

func (m *Manager) limitV1(group string, res runtime.Resources) error {
	set := func(controller, name, value string) error {
		path := m.h.file(controller, group, name)
		if path == "" {
			return nil
		}
		return write(path, value)
	}
	period := res.CPUPeriod
	if period == 0 {
		period = defaultPeriod
	}
	errs := []error{
		set("cpu", "cpu.shares", strconv.FormatInt(clampShares(res.CPUShares), 10)),
		optional(set("cpu", "cpu.cfs_period_us", strconv.FormatInt(period, 10))),
		optional(set("cpu", "cpu.cfs_quota_us", strconv.FormatInt(orUnlimited(res.CPUQuota), 10))),
		optional(set("pids", "pids.max", maxOr(res.PidsLimit))),
		m.limitMemoryV1(group, res),
	}
	for size, bytes := range res.HugepageLimits {
		errs = append(errs, optional(set("hugetlb", "hugetlb."+size+".limit_in_bytes", strconv.FormatUint(bytes, 10))))
	}
	return errors.Join(errs...)
}

// limitMemoryV1 sets memory and memory+swap, which must never be the smaller one: which to write first depends on what
// is there, so the other order is tried where the first fails. Kernels without swap accounting lack the second file.
func (m *Manager) limitMemoryV1(group string, res runtime.Resources) error {
	swap := res.MemorySwapLimit
	if swap == 0 {
		swap = res.MemoryLimit
	}
	memory := func() error {
		return write(m.h.file("memory", group, "memory.limit_in_bytes"), strconv.FormatInt(orUnlimited(res.MemoryLimit), 10))
	}
	memsw := func() error {
		return optional(write(m.h.file("memory", group, "memory.memsw.limit_in_bytes"), strconv.FormatInt(orUnlimited(swap), 10)))
	}
	if err := memory(); err == nil {
		return memsw()
	} else if !errors.Is(err, unix.EINVAL) {
		return err
	}
	if err := memsw(); err != nil {
		return err
	}
	return memory()
}

func (m *Manager) limitUnified(dir string, res runtime.Resources) error {
	set := func(name, value string) error { return optional(write(filepath.Join(dir, name), value)) }
	period := res.CPUPeriod
	if period == 0 {
		period = defaultPeriod
	}
	swap := "0"
	if res.MemoryLimit == 0 {
		swap = "max"
	} else if res.MemorySwapLimit > res.MemoryLimit {
		swap = strconv.FormatInt(res.MemorySwapLimit-res.MemoryLimit, 10)
	}
	errs := []error{
		set("cpu.weight", strconv.FormatInt(Weight(res.CPUShares), 10)),
		set("cpu.max", maxOr(res.CPUQuota)+" "+strconv.FormatInt(period, 10)),
		set("memory.max", maxOr(res.MemoryLimit)),
		set("memory.swap.max", swap),
		set("pids.max", maxOr(res.PidsLimit)),
	}
	for size, bytes := range res.HugepageLimits {
		errs = append(errs, set("hugetlb."+size+".max", strconv.FormatUint(bytes, 10)))
	}
	for name, value := range res.Unified {
		errs = append(errs, write(filepath.Join(dir, filepath.Base(name)), value))
	}
	return errors.Join(errs...)
}

// optional lets a controller be absent.
func optional(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func orUnlimited(n int64) int64 {
	if n <= 0 {
		return -1
	}
	return n
}

func maxOr(n int64) string {
	if n <= 0 {
		return "max"
	}
	return strconv.FormatInt(n, 10)
}

func clampShares(shares int64) int64 { return min(max(shares, minShares), maxShares) }

// Weight is cgroup v2's cpu.weight for v1's cpu.shares, as the kubelet computes it for pods.
func Weight(shares int64) int64 {
	return 1 + (clampShares(shares)-minShares)*9999/(maxShares-minShares)
}
