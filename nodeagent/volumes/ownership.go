package volumes

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	corev1 "k8s.io/api/core/v1"
)

// own gives a volume to the pod's fsGroup: its group becomes the owner of all that is in it, may read it and, unless the volume is
// read-only, write it; new files inherit the group.
func own(path string, pod *corev1.Pod, readOnly bool) error {
	group, policy := fsGroup(pod)
	if group == nil {
		return nil
	}
	if policy == corev1.FSGroupChangeOnRootMismatch && owned(path, *group, readOnly) {
		return nil
	}
	return filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := os.Lchown(name, -1, int(*group)); err != nil {
			return err
		}
		if d.Type()&fs.ModeSymlink != 0 {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return os.Chmod(name, info.Mode()|groupMode(d.IsDir(), readOnly))
	})
}

func groupMode(dir, readOnly bool) os.FileMode {
	mode := os.FileMode(0o660)
	if readOnly {
		mode = 0o440
	}
	if dir {
		mode |= os.ModeSetgid | 0o110
	}
	return mode
}

func owned(path string, group int64, readOnly bool) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	want := groupMode(true, readOnly)
	return ok && int64(stat.Gid) == group && info.Mode()&want == want
}

func fsGroup(pod *corev1.Pod) (*int64, corev1.PodFSGroupChangePolicy) {
	sc := pod.Spec.SecurityContext
	if sc == nil || sc.FSGroup == nil {
		return nil, ""
	}
	if sc.FSGroupChangePolicy != nil {
		return sc.FSGroup, *sc.FSGroupChangePolicy
	}
	return sc.FSGroup, corev1.FSGroupChangeAlways
}

// fsUser is the user that all containers of the pod run as, where the pod says so; nil when it does not or they differ.
func fsUser(pod *corev1.Pod) *int64 {
	var uid *int64
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			u := runAsUser(pod, &list[i])
			if u == nil || uid != nil && *uid != *u {
				return nil
			}
			uid = u
		}
	}
	return uid
}

func runAsUser(pod *corev1.Pod, c *corev1.Container) *int64 {
	if sc := c.SecurityContext; sc != nil && sc.RunAsUser != nil {
		return sc.RunAsUser
	}
	if sc := pod.Spec.SecurityContext; sc != nil {
		return sc.RunAsUser
	}
	return nil
}
