package server

import (
	"net/http"
	"sync"
	"time"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// The types of /stats/summary, as in the kubelet's API stats/v1alpha1.
type (
	summary struct {
		Node nodeStats  `json:"node"`
		Pods []podStats `json:"pods"`
	}
	nodeStats struct {
		NodeName  string          `json:"nodeName"`
		StartTime time.Time       `json:"startTime"`
		CPU       *cpuStats       `json:"cpu,omitempty"`
		Memory    *memoryStats    `json:"memory,omitempty"`
		Fs        *fsStats        `json:"fs,omitempty"`
		Runtime   *runtimeFsStats `json:"runtime,omitempty"`
	}
	runtimeFsStats struct {
		ImageFs *fsStats `json:"imageFs,omitempty"`
	}
	podRef struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
		UID       string `json:"uid"`
	}
	podStats struct {
		PodRef           podRef           `json:"podRef"`
		StartTime        time.Time        `json:"startTime"`
		Containers       []containerStats `json:"containers"`
		CPU              *cpuStats        `json:"cpu,omitempty"`
		Memory           *memoryStats     `json:"memory,omitempty"`
		Network          *networkStats    `json:"network,omitempty"`
		EphemeralStorage *fsStats         `json:"ephemeral-storage,omitempty"`
		ProcessStats     *processStats    `json:"process_stats,omitempty"`
	}
	containerStats struct {
		Name      string       `json:"name"`
		StartTime time.Time    `json:"startTime"`
		CPU       *cpuStats    `json:"cpu,omitempty"`
		Memory    *memoryStats `json:"memory,omitempty"`
		Rootfs    *fsStats     `json:"rootfs,omitempty"`
		Logs      *fsStats     `json:"logs,omitempty"`
	}
	cpuStats struct {
		Time                 time.Time `json:"time"`
		UsageNanoCores       *uint64   `json:"usageNanoCores,omitempty"`
		UsageCoreNanoSeconds *uint64   `json:"usageCoreNanoSeconds,omitempty"`
	}
	memoryStats struct {
		Time            time.Time `json:"time"`
		AvailableBytes  *uint64   `json:"availableBytes,omitempty"`
		UsageBytes      *uint64   `json:"usageBytes,omitempty"`
		WorkingSetBytes *uint64   `json:"workingSetBytes,omitempty"`
		RSSBytes        *uint64   `json:"rssBytes,omitempty"`
		PageFaults      *uint64   `json:"pageFaults,omitempty"`
		MajorPageFaults *uint64   `json:"majorPageFaults,omitempty"`
	}
	fsStats struct {
		Time           time.Time `json:"time"`
		AvailableBytes *uint64   `json:"availableBytes,omitempty"`
		CapacityBytes  *uint64   `json:"capacityBytes,omitempty"`
		UsedBytes      *uint64   `json:"usedBytes,omitempty"`
		InodesFree     *uint64   `json:"inodesFree,omitempty"`
		Inodes         *uint64   `json:"inodes,omitempty"`
		InodesUsed     *uint64   `json:"inodesUsed,omitempty"`
	}
	networkStats struct {
		Time       time.Time        `json:"time"`
		Name       string           `json:"name"`
		RxBytes    *uint64          `json:"rxBytes,omitempty"`
		RxErrors   *uint64          `json:"rxErrors,omitempty"`
		TxBytes    *uint64          `json:"txBytes,omitempty"`
		TxErrors   *uint64          `json:"txErrors,omitempty"`
		Interfaces []interfaceStats `json:"interfaces,omitempty"`
	}
	interfaceStats struct {
		Name     string  `json:"name"`
		RxBytes  *uint64 `json:"rxBytes,omitempty"`
		RxErrors *uint64 `json:"rxErrors,omitempty"`
		TxBytes  *uint64 `json:"txBytes,omitempty"`
		TxErrors *uint64 `json:"txErrors,omitempty"`
	}
	processStats struct {
		ProcessCount *uint64 `json:"process_count,omitempty"`
	}
)

// rates remembers the last CPU counter of everything, for the momentary usage is the difference of two.
type rates struct {
	mu   sync.Mutex
	last map[string]sample
}

type sample struct {
	at    time.Time
	nanos uint64
	rate  *uint64
}

// of returns the usage in nanocores since the last asking; nil the first time. Askers in quick succession get the same
// answer, since a difference over a few milliseconds says nothing.
func (r *rates) of(key string, s runtime.Stats) *uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil {
		r.last = map[string]sample{}
	}
	old, ok := r.last[key]
	next := sample{at: s.Time, nanos: s.CPUNanos}
	if ok {
		took := s.Time.Sub(old.at)
		if took < time.Second {
			return old.rate
		}
		if s.CPUNanos >= old.nanos {
			rate := uint64(float64(s.CPUNanos-old.nanos) / took.Seconds())
			next.rate = &rate
		}
	}
	r.last[key] = next
	for k, v := range r.last {
		if s.Time.Sub(v.at) > time.Hour {
			delete(r.last, k) // what ended
		}
	}
	return next.rate
}

func (s *Server) summary(w http.ResponseWriter, r *http.Request) {
	usage, err := s.usage(r.Context())
	if err != nil {
		refuse(w, err)
		return
	}
	node := nodeUsage()
	out := summary{Pods: []podStats{}, Node: nodeStats{
		NodeName: s.config.NodeName, StartTime: node.StartTime, CPU: s.cpu("node", node), Memory: memory(node), Fs: s.imageFs(r, false),
		Runtime: &runtimeFsStats{ImageFs: s.imageFs(r, true)},
	}}
	if r.URL.Query().Get("only_cpu_and_memory") == "true" {
		out.Node.Fs, out.Node.Runtime = nil, nil
	}
	for _, p := range usage {
		out.Pods = append(out.Pods, s.podStats(p))
	}
	writeJSON(w, out)
}

func (s *Server) podStats(p podUsage) podStats {
	sb := p.sandbox
	out := podStats{
		PodRef: podRef{sb.Pod.Name, sb.Pod.Namespace, sb.Pod.UID}, StartTime: sb.CreatedAt, Containers: []containerStats{},
		CPU: s.cpu(sb.ID, p.stats.Stats), Memory: memory(p.stats.Stats), ProcessStats: &processStats{&p.stats.Pids},
	}
	if n := p.stats.Network; n != nil {
		out.Network = &networkStats{
			Time: p.stats.Time, Name: n.Interface, RxBytes: &n.RxBytes, RxErrors: &n.RxErrors, TxBytes: &n.TxBytes, TxErrors: &n.TxErrors,
			Interfaces: []interfaceStats{{n.Interface, &n.RxBytes, &n.RxErrors, &n.TxBytes, &n.TxErrors}},
		}
	}
	var used, inodes uint64
	for _, c := range p.containers {
		st := c.stats
		used += st.RootfsBytes + st.LogBytes
		inodes += st.RootfsInodes
		out.Containers = append(out.Containers, containerStats{
			Name: c.status.Name, StartTime: c.status.StartedAt, CPU: s.cpu(c.status.ID, st), Memory: memory(st),
			Rootfs: &fsStats{Time: st.Time, UsedBytes: &st.RootfsBytes, InodesUsed: &st.RootfsInodes},
			Logs:   &fsStats{Time: st.Time, UsedBytes: &st.LogBytes},
		})
	}
	out.EphemeralStorage = &fsStats{Time: p.stats.Time, UsedBytes: &used, InodesUsed: &inodes}
	return out
}

func (s *Server) cpu(key string, st runtime.Stats) *cpuStats {
	return &cpuStats{Time: st.Time, UsageCoreNanoSeconds: &st.CPUNanos, UsageNanoCores: s.rates.of(key, st)}
}

func memory(st runtime.Stats) *memoryStats {
	m := &memoryStats{Time: st.Time, UsageBytes: &st.MemoryUsage, WorkingSetBytes: &st.MemoryWorking, RSSBytes: &st.MemoryRSS, PageFaults: &st.PageFaults, MajorPageFaults: &st.MajorPageFaults}
	if st.MemoryLimit > st.MemoryWorking {
		available := st.MemoryLimit - st.MemoryWorking
		m.AvailableBytes = &available
	}
	return m
}

// imageFs is the file system of the images, and with ours what the images use of it.
func (s *Server) imageFs(r *http.Request, ours bool) *fsStats {
	u, err := s.config.Images.Usage(r.Context())
	if err != nil {
		return nil
	}
	used := u.CapacityBytes - min(u.CapacityBytes, u.AvailableBytes)
	if ours {
		used = u.UsedBytes
	}
	inodes := u.Inodes - min(u.Inodes, u.InodesFree)
	return &fsStats{Time: time.Now(), AvailableBytes: &u.AvailableBytes, CapacityBytes: &u.CapacityBytes, UsedBytes: &used, Inodes: &u.Inodes, InodesFree: &u.InodesFree, InodesUsed: &inodes}
}
