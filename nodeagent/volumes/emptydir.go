package volumes

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	podresources "k8s.io/component-helpers/resource"
)

// emptyDir is a folder that everybody may write to, in memory or huge pages if so asked.
func (p *Pod) emptyDir(pod *corev1.Pod, v *corev1.Volume) (*volume, error) {
	path := p.path(v.Name)
	if err := os.MkdirAll(path, 0o750); err != nil {
		return nil, err
	}
	var err error
	medium := v.EmptyDir.Medium
	switch {
	case medium == corev1.StorageMediumDefault:
	case medium == corev1.StorageMediumMemory:
		err = mountOnce(path, "tmpfs", tmpfsOptions(p.memoryLimit(pod, v.EmptyDir.SizeLimit)))
	case medium == corev1.StorageMediumHugePages || strings.HasPrefix(string(medium), string(corev1.StorageMediumHugePagesPrefix)):
		var size string
		if size, err = hugePageSize(pod, medium); err == nil {
			err = mountOnce(path, "hugetlbfs", "pagesize="+size)
		}
	default:
		err = fmt.Errorf("unknown storage medium %q", medium)
	}
	if err != nil {
		return nil, err
	}
	if err := open(path); err != nil {
		return nil, err
	}
	return &volume{path: path}, own(path, pod, false)
}

// open lets everybody into a folder, whatever the umask; it keeps a setgid bit.
func open(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	want := info.Mode()&os.ModeSetgid | 0o777
	if info.Mode()&^os.ModeDir == want {
		return nil
	}
	return os.Chmod(path, want)
}

// memoryLimit is the most that a volume in memory may hold: what it asks for, within what pod and node allow. 0: the kernel's default.
func (p *Pod) memoryLimit(pod *corev1.Pod, wanted *resource.Quantity) int64 {
	var limit int64
	narrow := func(q resource.Quantity) {
		if n := q.Value(); n > 0 && (limit == 0 || n < limit) {
			limit = n
		}
	}
	if p.cfg.Allocatable != nil {
		narrow(p.cfg.Allocatable()[corev1.ResourceMemory])
	}
	if everyContainerLimited(pod) {
		narrow(podresources.PodLimits(pod, podresources.PodResourcesOptions{})[corev1.ResourceMemory])
	}
	if wanted != nil {
		narrow(*wanted)
	}
	return limit
}

func everyContainerLimited(pod *corev1.Pod) bool {
	if pod.Spec.Resources != nil {
		if _, ok := pod.Spec.Resources.Limits[corev1.ResourceMemory]; ok {
			return true
		}
	}
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Resources.Limits.Memory().IsZero() {
			return false
		}
	}
	return true
}

func tmpfsOptions(limit int64) string {
	if limit == 0 {
		return ""
	}
	return "size=" + strconv.FormatInt(limit, 10)
}

// Resize changes the size of an emptyDir in memory.
func (p *Pod) Resize(name string, size resource.Quantity) error {
	path := p.path(name)
	if mounted, err := isMountPoint(path); err != nil || !mounted {
		return errors.Join(err, fmt.Errorf("volume %s is not yet mounted; deferring resize", name))
	}
	return unix.Mount("tmpfs", path, "tmpfs", unix.MS_REMOUNT, tmpfsOptions(size.Value()))
}

// hugePageSize is the page size, in mount's words, of a volume in huge pages: that of its medium, else the only one that the pod asks for.
func hugePageSize(pod *corev1.Pod, medium corev1.StorageMedium) (string, error) {
	if medium != corev1.StorageMediumHugePages {
		return pageSize(strings.TrimPrefix(string(medium), string(corev1.StorageMediumHugePagesPrefix)))
	}
	found := map[string]bool{}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for name := range list[i].Resources.Requests {
				if s, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix); ok {
					found[s] = true
				}
			}
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("medium %s: hugePages storage requested, but there is no resource request for huge pages", medium)
	case 1:
		for s := range found {
			return pageSize(s)
		}
	}
	return "", fmt.Errorf("medium: %s can't be used if container requests multiple huge page sizes", medium)
}

func pageSize(s string) (string, error) {
	q, err := resource.ParseQuantity(s)
	if err != nil {
		return "", fmt.Errorf("huge page size %q: %w", s, err)
	}
	return strconv.FormatInt(q.Value()>>10, 10) + "K", nil
}
