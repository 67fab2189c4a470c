package cri

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	api "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// ContainerStats implements runtime.Runtime.
func (r *Runtime) ContainerStats(ctx context.Context, id string) (runtime.Stats, error) {
	resp, err := r.runtime.ContainerStats(ctx, &api.ContainerStatsRequest{ContainerId: id})
	if err != nil {
		return runtime.Stats{}, translate(err)
	}
	s := resp.Stats
	out := usage(s.GetCpu(), s.GetMemory())
	out.RootfsBytes, out.RootfsInodes = s.GetWritableLayer().GetUsedBytes().GetValue(), s.GetWritableLayer().GetInodesUsed().GetValue()
	status, err := r.ContainerStatus(ctx, id)
	if err != nil {
		return out, err
	}
	out.StartTime = status.StartedAt
	if info, err := os.Stat(status.LogPath); err == nil {
		out.LogBytes = uint64(info.Size())
	}
	return out, nil
}

func usage(cpu *api.CpuUsage, memory *api.MemoryUsage) runtime.Stats {
	return runtime.Stats{
		Time: time.Unix(0, cpu.GetTimestamp()), CPUNanos: cpu.GetUsageCoreNanoSeconds().GetValue(),
		MemoryUsage: memory.GetUsageBytes().GetValue(), MemoryWorking: memory.GetWorkingSetBytes().GetValue(), MemoryRSS: memory.GetRssBytes().GetValue(),
		PageFaults: memory.GetPageFaults().GetValue(), MajorPageFaults: memory.GetMajorPageFaults().GetValue(),
	}
}

// PodStats implements runtime.Runtime.
func (r *Runtime) PodStats(ctx context.Context, sandboxID string) (runtime.PodStats, error) {
	resp, err := r.runtime.PodSandboxStats(ctx, &api.PodSandboxStatsRequest{PodSandboxId: sandboxID})
	if err != nil {
		return runtime.PodStats{}, translate(err)
	}
	l := resp.GetStats().GetLinux()
	out := runtime.PodStats{Stats: usage(l.GetCpu(), l.GetMemory())}
	out.Pids = l.GetProcess().GetProcessCount().GetValue()
	if n := l.GetNetwork().GetDefaultInterface(); n != nil {
		out.Network = &runtime.NetworkStats{
			Interface: n.Name, RxBytes: n.GetRxBytes().GetValue(), RxErrors: n.GetRxErrors().GetValue(), TxBytes: n.GetTxBytes().GetValue(), TxErrors: n.GetTxErrors().GetValue(),
		}
	}
	if s, err := r.Sandbox(ctx, sandboxID); err == nil {
		out.StartTime = s.CreatedAt
	} else if !errors.Is(err, runtime.ErrNotFound) {
		return out, fmt.Errorf("pod statistics: %w", err)
	}
	return out, nil
}
