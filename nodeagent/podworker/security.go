package podworker

import (
	"fmt"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// security joins what pod and container say about a container's process; the container wins.
func security(pod *corev1.Pod, c *corev1.Container, seccompRoot string) runtime.SecurityContext {
	var out runtime.SecurityContext
	if p := pod.Spec.SecurityContext; p != nil {
		out.RunAsUser, out.RunAsGroup = p.RunAsUser, p.RunAsGroup
		out.SupplementalGroups = append(out.SupplementalGroups, p.SupplementalGroups...)
		if p.FSGroup != nil {
			out.SupplementalGroups = append(out.SupplementalGroups, *p.FSGroup)
		}
		out.SupplementalGroupsStrict = p.SupplementalGroupsPolicy != nil && *p.SupplementalGroupsPolicy == corev1.SupplementalGroupsPolicyStrict
		out.Seccomp = seccomp(p.SeccompProfile, seccompRoot)
		out.AppArmorProfile = apparmor(p.AppArmorProfile)
		out.SELinux = selinux(p.SELinuxOptions)
	}
	s := c.SecurityContext
	if s == nil {
		return out
	}
	if s.RunAsUser != nil {
		out.RunAsUser = s.RunAsUser
	}
	if s.RunAsGroup != nil {
		out.RunAsGroup = s.RunAsGroup
	}
	if s.SeccompProfile != nil {
		out.Seccomp = seccomp(s.SeccompProfile, seccompRoot)
	}
	if s.AppArmorProfile != nil {
		out.AppArmorProfile = apparmor(s.AppArmorProfile)
	}
	if s.SELinuxOptions != nil {
		out.SELinux = selinux(s.SELinuxOptions)
	}
	out.Privileged = isTrue(s.Privileged)
	out.ReadOnlyRootfs = isTrue(s.ReadOnlyRootFilesystem)
	out.NoNewPrivileges = s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation
	out.UnmaskedProc = s.ProcMount != nil && *s.ProcMount == corev1.UnmaskedProcMount
	if s.Capabilities != nil {
		out.AddCapabilities, out.DropCapabilities = capabilities(s.Capabilities.Add), capabilities(s.Capabilities.Drop)
	}
	if out.Privileged {
		out.Seccomp = runtime.Seccomp{Kind: runtime.SeccompUnconfined}
	}
	return out
}

func isTrue(b *bool) bool { return b != nil && *b }

func seccomp(p *corev1.SeccompProfile, root string) runtime.Seccomp {
	if p == nil {
		return runtime.Seccomp{Kind: runtime.SeccompUnconfined}
	}
	s := runtime.Seccomp{Kind: runtime.SeccompKind(p.Type)}
	if p.Type == corev1.SeccompProfileTypeLocalhost && p.LocalhostProfile != nil {
		s.LocalhostPath = filepath.Join(root, *p.LocalhostProfile)
	}
	return s
}

func apparmor(p *corev1.AppArmorProfile) string {
	switch {
	case p == nil:
		return ""
	case p.Type == corev1.AppArmorProfileTypeUnconfined:
		return "unconfined"
	case p.Type == corev1.AppArmorProfileTypeLocalhost && p.LocalhostProfile != nil:
		return "localhost/" + *p.LocalhostProfile
	}
	return "runtime/default"
}

func selinux(o *corev1.SELinuxOptions) *runtime.SELinux {
	if o == nil {
		return nil
	}
	return &runtime.SELinux{User: o.User, Role: o.Role, Type: o.Type, Level: o.Level}
}

func capabilities(list []corev1.Capability) []string {
	var out []string
	for _, c := range list {
		out = append(out, strings.TrimPrefix(strings.ToUpper(string(c)), "CAP_"))
	}
	return out
}

// checkNonRoot refuses to run as root what must not.
func checkNonRoot(pod *corev1.Pod, c *corev1.Container, image runtime.Image) error {
	var must *bool
	if p := pod.Spec.SecurityContext; p != nil {
		must = p.RunAsNonRoot
	}
	if s := c.SecurityContext; s != nil && s.RunAsNonRoot != nil {
		must = s.RunAsNonRoot
	}
	if !isTrue(must) {
		return nil
	}
	user := security(pod, c, "").RunAsUser
	switch {
	case user != nil && *user == 0:
		return fmt.Errorf("container's runAsUser breaks non-root policy (pod: %q, container: %s)", fullName(pod), c.Name)
	case user != nil:
		return nil
	case image.Username != "":
		return fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root (pod: %q, container: %s)", image.Username, fullName(pod), c.Name)
	case image.UID == nil || *image.UID == 0:
		return fmt.Errorf("container has runAsNonRoot and image will run as root (pod: %q, container: %s)", fullName(pod), c.Name)
	}
	return nil
}
