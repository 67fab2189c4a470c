package nodeagent

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	podresources "k8s.io/component-helpers/resource"

	"github.com/skiff-project/skiff/nodeagent/eviction"
	"github.com/skiff-project/skiff/nodeagent/node"
	"github.com/skiff-project/skiff/nodeagent/runtime"
	"github.com/skiff-project/skiff/nodeagent/status"
)

const (
	lookPeriod  = 10 * time.Second
	sweepPeriod = time.Minute

	// Images are removed, the longest unused first, when the disk is fuller than the one, until it is as full as the other.
	imagesHigh, imagesLow = 85, 80
	// unusedFor is how long an image must have lain about.
	unusedFor = 2 * time.Minute
)

// housekeeping watches the machine's resources and removes what nobody needs any more.
func (a *Agent) housekeeping(ctx context.Context) error {
	look := time.NewTicker(lookPeriod)
	defer look.Stop()
	sweep := time.NewTicker(sweepPeriod)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
			a.lookAtResources(ctx)
		case <-sweep.C:
			a.sweep(ctx)
			a.collectImages(ctx)
		}
	}
}

// lookAtResources has one pod ended when something is short: its end may be enough, the next look tells.
func (a *Agent) lookAtResources(ctx context.Context) {
	before := a.manager.Pressure()
	s, short, err := a.manager.Look()
	if err != nil {
		a.cfg.Log.Warn("resources of the machine not measured", "err", err)
		return
	}
	for t, is := range short {
		if is && !before[t] {
			a.keeper.Wake()
		}
	}
	a.enforceStorage(ctx)
	switch {
	case short[corev1.NodeDiskPressure]:
		a.removeImages(ctx, int64(s.DiskTotal/100*imagesLow), int64(s.DiskTotal-s.DiskAvailable))
	case short[corev1.NodeMemoryPressure]:
		a.evictForMemory(ctx, s)
	}
}

func (a *Agent) evictForMemory(ctx context.Context, s eviction.Signal) {
	node.Event(a.recorder, a.cfg.NodeName, corev1.EventTypeWarning, "EvictionThresholdMet", "Attempting to reclaim memory")
	sandboxes, err := a.runtime.Sandboxes(ctx)
	if err != nil {
		return
	}
	used := map[types.UID]int64{}
	for _, sb := range sandboxes {
		if sb.State != runtime.SandboxReady {
			continue
		}
		if stats, err := a.runtime.PodStats(ctx, sb.ID); err == nil {
			used[types.UID(sb.Pod.UID)] = int64(stats.MemoryWorking)
		}
	}
	a.ask(func() {
		var list []eviction.Usage
		for uid, e := range a.pods {
			if u, ok := used[uid]; ok && e.holds {
				q := podresources.PodRequests(e.pod, podresources.PodResourcesOptions{})[corev1.ResourceMemory]
				list = append(list, eviction.Usage{Pod: e.pod, Used: u, Request: q.Value()})
			}
		}
		ranked := eviction.Rank(list)
		if len(ranked) == 0 {
			return
		}
		const floor = 100 << 20
		message := eviction.Message(corev1.ResourceMemory, ranked[0], floor, s.MemoryAvailable)
		a.evict(ranked[0].Pod, message, "memory.available")
	})
}

// enforceStorage ends pods that hold more on the disk than they may.
func (a *Agent) enforceStorage(ctx context.Context) {
	var limited []*corev1.Pod
	a.mu.RLock()
	for _, e := range a.pods {
		if e.holds && !over(e.pod) && eviction.LimitsStorage(e.pod) {
			limited = append(limited, e.pod)
		}
	}
	a.mu.RUnlock()
	if len(limited) == 0 {
		return
	}
	containers, err := a.runtime.Containers(ctx)
	if err != nil {
		return
	}
	for _, pod := range limited {
		s := eviction.Storage{Volumes: map[string]int64{}, Containers: map[string]int64{}}
		for i := range pod.Spec.Volumes {
			if v := &pod.Spec.Volumes[i]; v.EmptyDir != nil && v.EmptyDir.Medium == corev1.StorageMediumDefault {
				s.Volumes[v.Name] = eviction.Used(a.volumes.VolumeDir(pod.UID, v.Name))
			}
		}
		for _, c := range containers {
			if c.Pod.UID != string(pod.UID) || c.State != runtime.Running {
				continue
			}
			if stats, err := a.runtime.ContainerStats(ctx, c.ID); err == nil {
				s.Containers[c.Name] = int64(stats.RootfsBytes + stats.LogBytes)
			}
		}
		if message := eviction.OverLimit(pod, s); message != "" {
			a.ask(func() { a.evict(pod, message, "ephemeralcontainerfs.limit") })
		}
	}
}

func (a *Agent) evict(pod *corev1.Pod, message, signal string) {
	a.recorder.Event(pod, corev1.EventTypeWarning, "Evicted", message)
	a.metrics.evictions.WithLabelValues(signal).Inc()
	a.cfg.Log.Warn("pod evicted", "pod", pod.Namespace+"/"+pod.Name, "message", message)
	if e := a.pods[pod.UID]; e != nil {
		zero := int64(0)
		e.worker.End(status.Ended{Phase: corev1.PodFailed, Reason: "Evicted", Message: message, Disruption: message}, &zero)
	}
}

// collectImages removes unused images when the disk fills.
func (a *Agent) collectImages(ctx context.Context) {
	u, err := a.engine.images.Usage(ctx)
	if err != nil || u.CapacityBytes == 0 {
		return
	}
	full := u.CapacityBytes - u.AvailableBytes
	if full*100 >= u.CapacityBytes*imagesHigh {
		a.removeImages(ctx, int64(u.CapacityBytes/100*imagesLow), int64(full))
	}
}

func (a *Agent) removeImages(ctx context.Context, want, have int64) {
	list, err := a.engine.images.List(ctx)
	if err != nil {
		return
	}
	containers, err := a.runtime.Containers(ctx)
	if err != nil {
		return
	}
	inUse := map[string]bool{}
	for _, c := range containers {
		inUse[c.ImageID], inUse[c.Image] = true, true
	}
	slices.SortFunc(list, func(x, y runtime.Image) int { return x.LastUsed.Compare(y.LastUsed) })
	for _, i := range list {
		if have <= want {
			return
		}
		if i.Pinned || inUse[i.ID] || inUse[i.StatusID()] || time.Since(i.LastUsed) < unusedFor || slices.ContainsFunc(i.RepoTags, func(t string) bool { return inUse[t] }) {
			continue
		}
		if err := a.engine.images.Remove(ctx, i.ID); err != nil {
			a.cfg.Log.Warn("image not removed", "image", i.ID, "err", err)
			continue
		}
		a.cfg.Log.Info("unused image removed", "image", i.RepoTags, "bytes", i.Size)
		have -= i.Size
	}
}

// sweep removes what pods that are gone have left behind: of a former agent, or because removing failed.
func (a *Agent) sweep(ctx context.Context) {
	uids, err := a.volumes.OnDisk()
	if err != nil {
		a.cfg.Log.Warn("folders of pods not listed", "err", err)
	}
	known, ok := a.known(ctx)
	if !ok {
		return
	}
	for _, uid := range uids {
		if !known[uid] {
			if err := a.volumes.Remove(uid); err != nil {
				a.cfg.Log.Warn("orphaned pod folder not removed", "uid", uid, "err", err)
			}
		}
	}
	a.sweepLogs(ctx)
}

// known are the pods that have a worker. It is asked for after what is on disk was listed, and of the loop, so that no pod
// that is just being added is taken for one that is gone.
func (a *Agent) known(ctx context.Context) (map[types.UID]bool, bool) {
	reply := make(chan map[types.UID]bool, 1)
	a.ask(func() {
		if !a.ready {
			reply <- nil // a pod that is not known yet is not gone
			return
		}
		known := make(map[types.UID]bool, len(a.pods))
		for uid := range a.pods {
			known[uid] = true
		}
		reply <- known
	})
	select {
	case known := <-reply:
		return known, known != nil
	case <-ctx.Done():
		return nil, false
	}
}

func (a *Agent) sweepLogs(ctx context.Context) {
	dirs, _ := os.ReadDir(a.cfg.LogRoot)
	known, ok := a.known(ctx)
	if !ok {
		return
	}
	for _, d := range dirs {
		// NAMESPACE_NAME_UID
		i := strings.LastIndexByte(d.Name(), '_')
		if i < 0 || known[types.UID(d.Name()[i+1:])] {
			continue
		}
		if err := os.RemoveAll(filepath.Join(a.cfg.LogRoot, d.Name())); err != nil {
			a.cfg.Log.Warn("orphaned logs not removed", "dir", d.Name(), "err", err)
		}
	}
	links, _ := os.ReadDir(a.cfg.LinkRoot)
	for _, l := range links {
		path := filepath.Join(a.cfg.LinkRoot, l.Name())
		if _, err := os.Stat(path); os.IsNotExist(err) {
			_ = os.Remove(path)
		}
	}
}
