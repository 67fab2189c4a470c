package podspec

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/component-helpers/node/util/sysctl"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

const longestSysctl = 253

var sysctlName = regexp.MustCompile(`^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$`)

func (c *specCheck) user(at *field.Path, id *int64) {
	if id != nil {
		c.Messages(at, *id, validation.IsValidUserID(*id))
	}
}

func (c *specCheck) group(at *field.Path, id *int64) {
	if id != nil {
		c.Messages(at, *id, validation.IsValidGroupID(*id))
	}
}

// podSecurity checks the security context of the pod.
func (c *specCheck) podSecurity() {
	s := c.spec.SecurityContext
	if s == nil {
		return
	}
	at := child(c.at, "securityContext")
	c.group(child(at, "fsGroup"), s.FSGroup)
	c.user(child(at, "runAsUser"), s.RunAsUser)
	c.group(child(at, "runAsGroup"), s.RunAsGroup)
	for i := range s.SupplementalGroups {
		c.group(index(child(at, "supplementalGroups"), i), &s.SupplementalGroups[i])
	}
	c.sysctls(s.Sysctls, child(at, "sysctls"))
	if p := s.FSGroupChangePolicy; p != nil {
		check.OneOf(&c.List, child(at, "fsGroupChangePolicy"), *p, corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch)
	}
	c.seccomp(s.SeccompProfile, child(at, "seccompProfile"))
	c.windowsOptions(s.WindowsOptions, child(at, "windowsOptions"))
	c.All(validateAppArmor(s.AppArmorProfile, child(at, "appArmorProfile")))
	if p := s.SupplementalGroupsPolicy; p != nil {
		check.OneOf(&c.List, child(at, "supplementalGroupsPolicy"), *p, corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict)
	}
	if p := s.SELinuxChangePolicy; p != nil {
		check.OneOf(&c.List, child(at, "seLinuxChangePolicy"), *p, corev1.SELinuxChangePolicyMountOption, corev1.SELinuxChangePolicyRecursive)
	}
}

func (c *specCheck) sysctls(list []corev1.Sysctl, at *field.Path) {
	seen := sets.New[string]()
	for i, s := range list {
		p := child(index(at, i), "name")
		switch {
		case s.Name == "":
			c.Add(field.Required(p, ""))
		case len(s.Name) > longestSysctl || !sysctlName.MatchString(s.Name):
			c.Add(field.Invalid(p, s.Name, fmt.Sprintf("must have at most %d characters and match regex %s", longestSysctl, sysctlName)))
		case seen.Has(s.Name):
			c.Add(field.Duplicate(p, s.Name))
		}
		switch space, _, _ := sysctl.GetNamespace(s.Name); {
		case c.spec.HostNetwork && space == sysctl.NetNamespace:
			c.Add(field.Invalid(p, s.Name, "may not be specified when 'hostNetwork' is true"))
		case c.spec.HostIPC && space == sysctl.IPCNamespace:
			c.Add(field.Invalid(p, s.Name, "may not be specified when 'hostIPC' is true"))
		}
		seen.Insert(s.Name)
	}
}

func (c *specCheck) seccomp(p *corev1.SeccompProfile, at *field.Path) {
	if p == nil {
		return
	}
	known := []corev1.SeccompProfileType{corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined}
	if p.Type == "" {
		c.Add(field.Required(at.Child("type"), "type is required when seccompProfile is set"))
	} else {
		check.OneOf(&c.List, child(at, "type"), p.Type, known...)
	}
	name := child(at, "localhostProfile")
	switch {
	case p.Type == corev1.SeccompProfileTypeLocalhost && p.LocalhostProfile == nil:
		c.Add(field.Required(name, "must be set when seccomp type is Localhost"))
	case p.Type == corev1.SeccompProfileTypeLocalhost:
		c.Descending(name, *p.LocalhostProfile)
	case p.LocalhostProfile != nil:
		c.Add(field.Invalid(name, p, "can only be set when seccomp type is Localhost"))
	}
}

// containerSecurity checks the security context of a container.
func (c *specCheck) containerSecurity(s *corev1.SecurityContext, at *field.Path) {
	if s == nil {
		return
	}
	c.user(child(at, "runAsUser"), s.RunAsUser)
	c.group(child(at, "runAsGroup"), s.RunAsGroup)
	if p := s.ProcMount; p != nil {
		check.OneOf(&c.List, child(at, "procMount"), *p, corev1.DefaultProcMount, corev1.UnmaskedProcMount)
		if *p == corev1.UnmaskedProcMount && c.usesHostUsers() {
			c.Add(field.Invalid(at.Child("procMount"), s.ProcMount, "`hostUsers` must be false to use `Unmasked`"))
		}
	}
	c.seccomp(s.SeccompProfile, child(at, "seccompProfile"))
	if e := s.AllowPrivilegeEscalation; e != nil && !*e {
		if s.Privileged != nil && *s.Privileged {
			c.Add(field.Invalid(at, s, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"))
		}
		if !c.sysAdmin && s.Capabilities != nil && slices.Contains(s.Capabilities.Add, "CAP_SYS_ADMIN") {
			c.Add(field.Invalid(at, s, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"))
		}
	}
	c.windowsOptions(s.WindowsOptions, child(at, "windowsOptions"))
	c.All(validateAppArmor(s.AppArmorProfile, child(at, "appArmorProfile")))
}

// hostUsers: a pod with user ids of its own cannot share the host's other namespaces.
func (c *specCheck) hostUsers() {
	if c.usesHostUsers() {
		return
	}
	const reason = "when `hostUsers` is false"
	if c.spec.HostNetwork {
		c.Add(field.Forbidden(c.at.Child("hostNetwork"), reason))
	}
	if c.spec.HostPID {
		c.Add(field.Forbidden(c.at.Child("HostPID"), reason))
	}
	if c.spec.HostIPC {
		c.Add(field.Forbidden(c.at.Child("HostIPC"), reason))
	}
	if c.hostUserDevices {
		return
	}
	Containers(c.spec, c.at, func(ctr *corev1.Container, at *field.Path) {
		if len(ctr.VolumeDevices) > 0 {
			c.Add(field.Forbidden(at.Child("volumeDevices"), reason))
		}
	})
}

// operatingSystem: what one system has, the other has not.
func (c *specCheck) operatingSystem() {
	os := c.spec.OS
	if os == nil {
		return
	}
	switch os.Name {
	case "":
		c.Add(field.Required(c.at.Child("os", "name"), ""))
	case corev1.Linux:
		c.linux()
	case corev1.Windows:
		c.windows()
	default:
		c.Add(field.NotSupported(c.at.Child("os"), os.Name, []corev1.OSName{corev1.Linux, corev1.Windows}))
	}
}

func (c *specCheck) linux() {
	const reason = "windows options cannot be set for a linux pod"
	if s := c.spec.SecurityContext; s != nil && s.WindowsOptions != nil {
		c.Add(field.Forbidden(c.at.Child("securityContext").Child("windowsOptions"), reason))
	}
	Containers(c.spec, c.at, func(ctr *corev1.Container, at *field.Path) {
		if s := ctr.SecurityContext; s != nil && s.WindowsOptions != nil {
			c.Add(field.Forbidden(at.Child("securityContext").Child("windowsOptions"), reason))
		}
	})
}

// forbidden is a field that a Windows pod may not set.
type forbidden struct {
	name string
	set  bool
}

func (c *specCheck) windows() {
	refuse := func(at *field.Path, fields ...forbidden) {
		for _, f := range fields {
			if f.set {
				c.Add(field.Forbidden(at.Child(f.name), "cannot be set for a windows pod"))
			}
		}
	}
	if s := c.spec.SecurityContext; s != nil {
		refuse(child(c.at, "securityContext"),
			forbidden{"appArmorProfile", s.AppArmorProfile != nil}, forbidden{"seLinuxOptions", s.SELinuxOptions != nil},
			forbidden{"seccompProfile", s.SeccompProfile != nil}, forbidden{"fsGroup", s.FSGroup != nil},
			forbidden{"fsGroupChangePolicy", s.FSGroupChangePolicy != nil}, forbidden{"sysctls", len(s.Sysctls) > 0},
			forbidden{"runAsUser", s.RunAsUser != nil}, forbidden{"runAsGroup", s.RunAsGroup != nil},
			forbidden{"supplementalGroups", s.SupplementalGroups != nil}, forbidden{"supplementalGroupsPolicy", s.SupplementalGroupsPolicy != nil},
			forbidden{"seLinuxChangePolicy", s.SELinuxChangePolicy != nil})
	}
	refuse(c.at, forbidden{"hostUsers", c.spec.HostUsers != nil}, forbidden{"hostPID", c.spec.HostPID}, forbidden{"hostIPC", c.spec.HostIPC},
		forbidden{"shareProcessNamespace", c.spec.ShareProcessNamespace != nil})
	Containers(c.spec, c.at, func(ctr *corev1.Container, at *field.Path) {
		s := ctr.SecurityContext
		if s == nil {
			return
		}
		refuse(child(at, "securityContext"),
			forbidden{"appArmorProfile", s.AppArmorProfile != nil}, forbidden{"seLinuxOptions", s.SELinuxOptions != nil},
			forbidden{"seccompProfile", s.SeccompProfile != nil}, forbidden{"capabilities", s.Capabilities != nil},
			forbidden{"readOnlyRootFilesystem", s.ReadOnlyRootFilesystem != nil}, forbidden{"privileged", s.Privileged != nil},
			forbidden{"allowPrivilegeEscalation", s.AllowPrivilegeEscalation != nil}, forbidden{"procMount", s.ProcMount != nil},
			forbidden{"runAsUser", s.RunAsUser != nil}, forbidden{"runAsGroup", s.RunAsGroup != nil})
	})
}

const (
	longestGMSASpec = 64 * 1024
	longestDomain   = 256
	longestUser     = 104
)

var (
	controlCharacter = regexp.MustCompile(`[[:cntrl:]]+`)
	netBIOSDomain    = regexp.MustCompile(`^[^\\/:\*\?"<>|\.][^\\/:\*\?"<>|]{0,14}$`)
	dnsDomain        = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$`)
	badInUser        = regexp.MustCompile(`["/\\:;|=,\+\*\?<>@\[\]]`)
	dotsAndSpaces    = regexp.MustCompile(`^[\. ]+$`)
)

func (c *specCheck) windowsOptions(o *corev1.WindowsSecurityContextOptions, at *field.Path) {
	if o == nil {
		return
	}
	if n := o.GMSACredentialSpecName; n != nil {
		c.Messages(child(at, "gmsaCredentialSpecName"), n, validation.IsDNS1123Subdomain(*n))
	}
	if s := o.GMSACredentialSpec; s != nil {
		p := child(at, "gmsaCredentialSpec")
		if *s == "" {
			c.Add(field.Invalid(p, s, "gmsaCredentialSpec cannot be an empty string"))
		} else if len(*s) > longestGMSASpec {
			c.Add(field.Invalid(p, s, fmt.Sprintf("gmsaCredentialSpec size must be under %d KiB", longestGMSASpec/1024)))
		}
	}
	if o.RunAsUserName != nil {
		for _, m := range windowsUser(*o.RunAsUserName) {
			c.Add(field.Invalid(at.Child("runAsUserName"), o.RunAsUserName, m))
		}
	}
}

// windowsUser says what is wrong with a name of the form [DOMAIN\]USER.
func windowsUser(name string) []string {
	parts := strings.Split(name, `\`)
	switch {
	case name == "":
		return []string{"runAsUserName cannot be an empty string"}
	case controlCharacter.MatchString(name):
		return []string{"runAsUserName cannot contain control characters"}
	case len(parts) > 2:
		return []string{"runAsUserName cannot contain more than one backslash"}
	}
	var out []string
	user := parts[len(parts)-1]
	if len(parts) == 2 {
		if len(parts[0]) >= longestDomain {
			out = append(out, fmt.Sprintf("runAsUserName's Domain length must be under %d characters", longestDomain))
		}
		if !netBIOSDomain.MatchString(parts[0]) && !dnsDomain.MatchString(parts[0]) {
			out = append(out, "runAsUserName's Domain doesn't match the NetBios nor the DNS format")
		}
	}
	if user == "" {
		out = append(out, "runAsUserName's User cannot be empty")
	} else if len(user) > longestUser {
		out = append(out, fmt.Sprintf("runAsUserName's User length must not be longer than %d characters", longestUser))
	}
	if dotsAndSpaces.MatchString(user) {
		out = append(out, "runAsUserName's User cannot contain only periods or spaces")
	}
	if badInUser.MatchString(user) {
		out = append(out, `runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]`)
	}
	return out
}

// windowsHostProcess: either all containers of a pod are processes of the host, or none.
func (c *specCheck) windowsHostProcess() {
	var whole *bool
	if s := c.spec.SecurityContext; s != nil && s.WindowsOptions != nil {
		whole = s.WindowsOptions.HostProcess
	}
	all, host := 0, 0
	Containers(c.spec, c.at, func(ctr *corev1.Container, at *field.Path) {
		all++
		var own *bool
		if s := ctr.SecurityContext; s != nil && s.WindowsOptions != nil {
			own = s.WindowsOptions.HostProcess
		}
		if whole != nil && own != nil && *whole != *own {
			c.Add(field.Invalid(at.Child("securityContext", "windowsOptions", "hostProcess"), *own,
				fmt.Sprintf("pod hostProcess value must be identical if both are specified, was %v", *whole)))
		}
		if own == nil {
			own = whole
		}
		if own != nil && *own {
			host++
		}
	})
	if host == 0 {
		return
	}
	if host != all {
		c.Add(field.Invalid(c.at, "", "If pod contains any hostProcess containers then all containers must be HostProcess containers"))
	}
	if !c.spec.HostNetwork {
		c.Add(field.Invalid(c.at.Child("hostNetwork"), false, "hostNetwork must be true if pod contains any hostProcess containers"))
	}
}
