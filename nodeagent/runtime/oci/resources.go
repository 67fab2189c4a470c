package oci

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// linuxResources are the limits and devices of a container in OCI's terms.
func linuxResources(c *container) (*specs.LinuxResources, []specs.LinuxDevice, error) {
	res := c.Config.Resources
	out := &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}}
	shares := uint64(max(res.CPUShares, 2))
	out.CPU = &specs.LinuxCPU{Shares: &shares, Cpus: res.CpusetCPUs, Mems: res.CpusetMems}
	if res.CPUQuota > 0 {
		period := uint64(100_000)
		if res.CPUPeriod > 0 {
			period = uint64(res.CPUPeriod)
		}
		out.CPU.Quota, out.CPU.Period = &res.CPUQuota, &period
	}
	if res.MemoryLimit > 0 {
		swap := res.MemorySwapLimit
		if swap == 0 {
			swap = res.MemoryLimit
		}
		out.Memory = &specs.LinuxMemory{Limit: &res.MemoryLimit}
		if swapAccounted() {
			out.Memory.Swap = &swap
		}
	}
	if res.PidsLimit > 0 {
		out.Pids = &specs.LinuxPids{Limit: &res.PidsLimit}
	}
	for size, limit := range res.HugepageLimits {
		out.HugepageLimits = append(out.HugepageLimits, specs.LinuxHugepageLimit{Pagesize: size, Limit: limit})
	}
	if len(res.Unified) > 0 {
		out.Unified = res.Unified
	}
	if c.Config.Security.Privileged {
		devices, err := hostDevices()
		out.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
		return out, devices, err
	}
	var devices []specs.LinuxDevice
	for _, d := range c.Config.Devices {
		list, err := devicesAt(d)
		if err != nil {
			return nil, nil, err
		}
		for _, dev := range list {
			devices = append(devices, dev)
			major, minor := dev.Major, dev.Minor
			out.Devices = append(out.Devices, specs.LinuxDeviceCgroup{Allow: true, Type: dev.Type, Major: &major, Minor: &minor, Access: d.Permissions})
		}
	}
	return out, devices, nil
}

// swapAccounted says whether the kernel can limit memory and swap together.
func swapAccounted() bool {
	for _, f := range []string{"/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes", "/sys/fs/cgroup/cgroup.controllers"} {
		if _, err := os.Stat(f); err == nil {
			return true
		}
	}
	return false
}

// devicesAt is the device at a path, or every device below a folder.
func devicesAt(d runtime.Device) ([]specs.LinuxDevice, error) {
	var list []specs.LinuxDevice
	err := filepath.WalkDir(d.HostPath, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			return nil
		}
		dev, ok, err := device(path)
		if ok {
			dev.Path = filepath.Join(d.ContainerPath, strings.TrimPrefix(path, d.HostPath))
			list = append(list, dev)
		}
		return err
	})
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("device %s: not a device", d.HostPath)
	}
	return list, err
}

// hostDevices are the node's devices, for privileged containers; without terminals and what the runtime mounts itself.
func hostDevices() ([]specs.LinuxDevice, error) {
	var list []specs.LinuxDevice
	err := filepath.WalkDir("/dev", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // what vanished meanwhile
		}
		if e.IsDir() {
			switch path {
			case "/dev/pts", "/dev/shm", "/dev/fd", "/dev/mqueue", "/dev/.lxc", "/dev/.lxd-mounts", "/dev/.udev":
				return filepath.SkipDir
			}
			return nil
		}
		if path == "/dev/console" {
			return nil
		}
		if dev, ok, err := device(path); err == nil && ok {
			dev.Path = path
			list = append(list, dev)
		}
		return nil
	})
	return list, err
}

func device(path string) (specs.LinuxDevice, bool, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return specs.LinuxDevice{}, false, &os.PathError{Op: "stat device", Path: path, Err: err}
	}
	d := specs.LinuxDevice{Major: int64(unix.Major(uint64(st.Rdev))), Minor: int64(unix.Minor(uint64(st.Rdev))), UID: &st.Uid, GID: &st.Gid}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		d.Type = "c"
	case unix.S_IFBLK:
		d.Type = "b"
	default:
		return d, false, nil
	}
	mode := os.FileMode(st.Mode & 0o777)
	d.FileMode = &mode
	return d, true, nil
}
