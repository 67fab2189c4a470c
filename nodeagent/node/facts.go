package node

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Capacity is what the machine has. dataDir lies on the file system that pods use.
func Capacity(dataDir string, maxPods int) (corev1.ResourceList, error) {
	memory, err := meminfo("MemTotal")
	if err != nil {
		return nil, err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dataDir, &fs); err != nil {
		return nil, fmt.Errorf("size of the file system of %s: %w", dataDir, err)
	}
	list := corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewQuantity(int64(runtime.NumCPU()), resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(memory, resource.BinarySI),
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(int64(fs.Blocks)*fs.Bsize, resource.BinarySI),
		corev1.ResourcePods:             *resource.NewQuantity(int64(maxPods), resource.DecimalSI),
	}
	for size, bytes := range hugepages("/sys/kernel/mm/hugepages") {
		page := resource.NewQuantity(size, resource.BinarySI)
		list[corev1.ResourceName(corev1.ResourceHugePagesPrefix+page.String())] = *resource.NewQuantity(bytes, resource.BinarySI)
	}
	return list, nil
}

// meminfo is a line of /proc/meminfo, in bytes.
func meminfo(name string) (int64, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 2 && fields[0] == name+":" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("no %s in /proc/meminfo", name)
}

// hugepages are the sizes of page that the kernel has, with the bytes set aside in each.
func hugepages(root string) map[int64]int64 {
	out := map[int64]int64{}
	dirs, _ := filepath.Glob(filepath.Join(root, "hugepages-*kB"))
	for _, dir := range dirs {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(dir), "hugepages-"), "kB")
		kib, err := strconv.ParseInt(name, 10, 64)
		if err != nil {
			continue
		}
		count, _ := strconv.ParseInt(readLine(filepath.Join(dir, "nr_hugepages")), 10, 64)
		out[kib<<10] = count * kib << 10
	}
	return out
}

func readLine(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// Info names the machine and its software.
func Info(version, containerRuntime string) corev1.NodeSystemInfo {
	var uts unix.Utsname
	_ = unix.Uname(&uts)
	return corev1.NodeSystemInfo{
		MachineID:               readLine("/etc/machine-id"),
		SystemUUID:              firstOf(readLine("/sys/class/dmi/id/product_uuid"), readLine("/etc/machine-id")),
		BootID:                  readLine("/proc/sys/kernel/random/boot_id"),
		KernelVersion:           unix.ByteSliceToString(uts.Release[:]),
		OSImage:                 osImage(),
		ContainerRuntimeVersion: containerRuntime,
		KubeletVersion:          version,
		OperatingSystem:         runtime.GOOS,
		Architecture:            runtime.GOARCH,
	}
}

func firstOf(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

func osImage() string {
	for _, line := range strings.Split(readLine("/etc/os-release"), "\n") {
		if v, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			return strings.Trim(v, `"`)
		}
	}
	return "Unknown"
}

// Addresses of the node: the wished ones, or the one from which the API server is reached (no packet is sent to find out), or
// the first that is not the loopback's.
func Addresses(wished []string, server string) ([]string, error) {
	if len(wished) > 0 {
		for _, ip := range wished {
			if net.ParseIP(ip) == nil {
				return nil, fmt.Errorf("--node-ip: %q is no IP address", ip)
			}
		}
		return wished, nil
	}
	if server != "" {
		if conn, err := net.Dial("udp", server); err == nil {
			host, _, err := net.SplitHostPort(conn.LocalAddr().String())
			_ = conn.Close()
			if ip := net.ParseIP(host); err == nil && ip != nil && !ip.IsLoopback() {
				return []string{ip.String()}, nil
			}
		}
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("addresses of this machine: %w", err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && n.IP.To4() != nil {
			return []string{n.IP.String()}, nil
		}
	}
	return nil, fmt.Errorf("this machine has no address to be reached at; give one by --node-ip")
}
