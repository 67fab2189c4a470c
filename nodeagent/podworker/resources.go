package podworker

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	podresources "k8s.io/component-helpers/resource"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

const (
	cpuPeriod   = 100_000
	minShares   = 2
	maxShares   = 262_144
	minCPUQuota = 1_000

	guaranteedScore = -997
	bestEffortScore = 1000
)

// QOS is the pod's class: what the API server says, else worked out by its rule.
func QOS(pod *corev1.Pod) corev1.PodQOSClass {
	if pod.Status.QOSClass != "" {
		return pod.Status.QOSClass
	}
	all := []corev1.ResourceRequirements{}
	if pod.Spec.Resources != nil {
		all = append(all, *pod.Spec.Resources)
	} else {
		for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for i := range list {
				all = append(all, list[i].Resources)
			}
		}
	}
	any, guaranteed := false, true
	for _, r := range all {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			limit, request := r.Limits[name], r.Requests[name]
			any = any || !limit.IsZero() || !request.IsZero()
			if limit.IsZero() || (!request.IsZero() && request.Cmp(limit) != 0) {
				guaranteed = false
			}
		}
	}
	switch {
	case !any:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

// CgroupParent is the pod's cgroup, by class.
func CgroupParent(pod *corev1.Pod) string {
	name := "pod" + string(pod.UID)
	switch QOS(pod) {
	case corev1.PodQOSGuaranteed:
		return "/kubepods/" + name
	case corev1.PodQOSBestEffort:
		return "/kubepods/besteffort/" + name
	}
	return "/kubepods/burstable/" + name
}

func shares(milli int64) int64 { return min(max(milli*1024/1000, minShares), maxShares) }

func quota(milli int64) int64 {
	if milli == 0 {
		return 0
	}
	return max(milli*cpuPeriod/1000, minCPUQuota)
}

// containerResources are the limits of a container's cgroup. A request that is missing counts as the limit.
func containerResources(pod *corev1.Pod, c *corev1.Container, capacity int64) runtime.Resources {
	r := runtime.Resources{CPUPeriod: cpuPeriod, OOMScoreAdj: oomScore(pod, c, capacity)}
	limits, requests := c.Resources.Limits, c.Resources.Requests
	cpu := requests.Cpu()
	if _, set := requests[corev1.ResourceCPU]; !set {
		cpu = limits.Cpu()
	}
	r.CPUShares = shares(cpu.MilliValue())
	r.CPUQuota = quota(bounded(pod, limits, corev1.ResourceCPU).MilliValue())
	r.MemoryLimit = bounded(pod, limits, corev1.ResourceMemory).Value()
	r.HugepageLimits = hugepages(limits)
	return r
}

// bounded is a container's limit, or the pod's where the container has none.
func bounded(pod *corev1.Pod, limits corev1.ResourceList, name corev1.ResourceName) *resource.Quantity {
	q, ok := limits[name]
	if !ok && pod.Spec.Resources != nil {
		q = pod.Spec.Resources.Limits[name]
	}
	return &q
}

func hugepages(limits corev1.ResourceList) map[string]uint64 {
	var out map[string]uint64
	for name, q := range limits {
		size, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix)
		if !ok {
			continue
		}
		page, err := resource.ParseQuantity(size)
		if err != nil {
			continue
		}
		if out == nil {
			out = map[string]uint64{}
		}
		out[pageName(page.Value())] = uint64(q.Value())
	}
	return out
}

// pageName is a page size as the cgroup files spell it: 2MB, 1GB.
func pageName(bytes int64) string {
	switch {
	case bytes >= 1<<30:
		return resource.NewQuantity(bytes>>30, resource.DecimalSI).String() + "GB"
	case bytes >= 1<<20:
		return resource.NewQuantity(bytes>>20, resource.DecimalSI).String() + "MB"
	}
	return resource.NewQuantity(bytes>>10, resource.DecimalSI).String() + "KB"
}

// podResourceLimits are those of the pod's cgroup: a limit holds only where every container has one.
func podResourceLimits(pod *corev1.Pod) runtime.Resources {
	requests := podresources.PodRequests(pod, podresources.PodResourcesOptions{})
	r := runtime.Resources{CPUPeriod: cpuPeriod, CPUShares: shares(requests.Cpu().MilliValue())}
	limits := podresources.PodLimits(pod, podresources.PodResourcesOptions{})
	if limited(pod, corev1.ResourceCPU) {
		r.CPUQuota = quota(limits.Cpu().MilliValue())
	}
	if limited(pod, corev1.ResourceMemory) {
		r.MemoryLimit = limits.Memory().Value()
	}
	r.HugepageLimits = hugepages(limits)
	return r
}

func limited(pod *corev1.Pod, name corev1.ResourceName) bool {
	if pod.Spec.Resources != nil {
		if q, ok := pod.Spec.Resources.Limits[name]; ok && !q.IsZero() {
			return true
		}
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if q := list[i].Resources.Limits[name]; q.IsZero() {
				return false
			}
		}
	}
	return true
}

// oomScore says whom the kernel is to kill first when memory runs out: those who use more than they asked for.
func oomScore(pod *corev1.Pod, c *corev1.Container, capacity int64) int64 {
	if pod.Spec.PriorityClassName == "system-node-critical" || pod.Spec.Priority != nil && *pod.Spec.Priority >= 2_000_001_000 {
		return guaranteedScore
	}
	switch QOS(pod) {
	case corev1.PodQOSGuaranteed:
		return guaranteedScore
	case corev1.PodQOSBestEffort:
		return bestEffortScore
	}
	if capacity <= 0 {
		return bestEffortScore - 1
	}
	request := c.Resources.Requests.Memory().Value()
	if _, set := c.Resources.Requests[corev1.ResourceMemory]; !set {
		request = c.Resources.Limits.Memory().Value()
	}
	if pod.Spec.Resources != nil {
		request += spareMemory(pod) / int64(len(pod.Spec.Containers)+len(pod.Spec.InitContainers))
	}
	return min(max(1000-1000*request/capacity, 1000+guaranteedScore), bestEffortScore-1)
}

// spareMemory is what the pod asks for beyond its containers.
func spareMemory(pod *corev1.Pod) int64 {
	spare := pod.Spec.Resources.Requests.Memory().Value()
	for i := range pod.Spec.Containers {
		spare -= pod.Spec.Containers[i].Resources.Requests.Memory().Value()
	}
	return max(spare, 0)
}
