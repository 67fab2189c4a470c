package cgroups

import "path/filepath"

// Groups of the node, named as the kubelet's cgroupfs driver names them.
const (
	Pods       = "/kubepods"
	Burstable  = "/kubepods/burstable"
	BestEffort = "/kubepods/besteffort"
)

// PodGroup is the group of a pod. qosClass is the API's: Guaranteed, Burstable or BestEffort.
func PodGroup(qosClass, uid string) string {
	parent := Pods
	switch qosClass {
	case "Burstable":
		parent = Burstable
	case "BestEffort":
		parent = BestEffort
	}
	return filepath.Join(parent, "pod"+uid)
}

// SharesFromMilliCPU turns a CPU request into cpu.shares: 1024 a core, never less than the kernel's 2.
func SharesFromMilliCPU(milli int64) int64 { return clampShares(milli * 1024 / 1000) }

// QuotaFromMilliCPU turns a CPU limit into microseconds per period of 100 ms; 0 is no limit. The kernel takes no less than 1 ms.
func QuotaFromMilliCPU(milli int64) int64 {
	if milli <= 0 {
		return 0
	}
	return max(milli*defaultPeriod/1000, 1000)
}
