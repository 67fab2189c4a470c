package oci

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// defaultCapabilities are what containers have in Docker, containerd and CRI-O unless they ask otherwise.
var defaultCapabilities = []string{
	"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
	"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

var maskedPaths = []string{
	"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
	"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
}

var readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}

// capabilities of a container: the usual ones, plus added, minus dropped; ALL counts before single names. What the agent
// itself lacks cannot be given.
func (r *Runtime) capabilities(sc runtime.SecurityContext) *specs.LinuxCapabilities {
	set := slices.Clone(defaultCapabilities)
	if sc.Privileged {
		set = slices.Clone(capabilityNames)
	} else {
		if hasAll(sc.AddCapabilities) {
			set = slices.Clone(capabilityNames)
		}
		if hasAll(sc.DropCapabilities) {
			set = nil
		}
		for _, name := range sc.AddCapabilities {
			if full := fullName(name); !slices.Contains(set, full) && full != "CAP_ALL" {
				set = append(set, full)
			}
		}
		for _, name := range sc.DropCapabilities {
			full := fullName(name)
			set = slices.DeleteFunc(set, func(s string) bool { return s == full })
		}
	}
	set = slices.DeleteFunc(set, func(s string) bool { return !slices.Contains(r.limits.capabilities, s) })
	slices.Sort(set)
	// No inheritable ones: they would survive into setuid-less programs of other users.
	return &specs.LinuxCapabilities{Bounding: set, Effective: set, Permitted: set}
}

func hasAll(list []string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return fullName(s) == "CAP_ALL" })
}

func fullName(name string) string {
	name = strings.ToUpper(name)
	if strings.HasPrefix(name, "CAP_") {
		return name
	}
	return "CAP_" + name
}

// seccompProfile is the filter of a container; privileged ones have none, as with other runtimes.
func seccompProfile(sc runtime.SecurityContext, caps *specs.LinuxCapabilities) (*specs.LinuxSeccomp, error) {
	if sc.Privileged {
		return nil, nil
	}
	switch sc.Seccomp.Kind {
	case runtime.SeccompRuntimeDefault:
		return defaultSeccomp(caps.Bounding), nil
	case runtime.SeccompLocalhost:
		data, err := os.ReadFile(sc.Seccomp.LocalhostPath)
		if err != nil {
			return nil, fmt.Errorf("cannot load seccomp profile: %w", err)
		}
		profile := &specs.LinuxSeccomp{}
		if err := json.Unmarshal(data, profile); err != nil {
			return nil, fmt.Errorf("cannot load seccomp profile %q: %w", sc.Seccomp.LocalhostPath, err)
		}
		return profile, nil
	}
	return nil, nil
}
