package oci

import (
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
)

// limits are what the agent's own privileges allow it to give to containers.
type limits struct {
	capabilities []string // CAP_ names in our bounding set
	// oomFloor is the least oom_score_adj that can be set: without CAP_SYS_RESOURCE it cannot go below our own.
	oomFloor int
}

// capabilityNames by number, as in linux/capability.h.
var capabilityNames = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
	"CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE",
	"CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME",
	"CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP",
	"CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ",
	"CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// probeLimits looks once what can be set and says what cannot.
func probeLimits(log *slog.Logger) limits {
	l := limits{capabilities: boundingSet(), oomFloor: oomFloor()}
	if missing := without(capabilityNames, l.capabilities); len(missing) > 0 {
		log.Info("containers cannot have capabilities that the agent lacks", "missing", missing)
	}
	if l.oomFloor > -1000 {
		log.Warn("the out-of-memory score of containers cannot be lowered: critical pods are killed like others", "lowest", l.oomFloor)
	}
	return l
}

func without(all, have []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(have, s) })
}

func boundingSet() []string {
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return capabilityNames
	}
	_, rest, _ := strings.Cut(string(status), "CapBnd:")
	line, _, _ := strings.Cut(rest, "\n")
	mask, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	if err != nil {
		return capabilityNames
	}
	var list []string
	for bit, name := range capabilityNames {
		if mask&(1<<bit) != 0 {
			list = append(list, name)
		}
	}
	return list
}

// oomFloor tries to lower the agent's own score by one and puts it back.
func oomFloor() int {
	const path = "/proc/self/oom_score_adj"
	data, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	own, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || own == -1000 {
		return own
	}
	if os.WriteFile(path, []byte(strconv.Itoa(own-1)), 0) != nil {
		return own
	}
	os.WriteFile(path, []byte(strconv.Itoa(own)), 0)
	return -1000
}
