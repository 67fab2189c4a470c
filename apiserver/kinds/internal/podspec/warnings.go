package podspec

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// DeprecatedNodeLabels are labels of nodes with what to say to those who still use them.
var DeprecatedNodeLabels = map[string]string{
	"beta.kubernetes.io/arch":                       `deprecated since v1.14; use "kubernetes.io/arch" instead`,
	"beta.kubernetes.io/os":                         `deprecated since v1.14; use "kubernetes.io/os" instead`,
	"failure-domain.beta.kubernetes.io/region":      `deprecated since v1.17; use "topology.kubernetes.io/region" instead`,
	"failure-domain.beta.kubernetes.io/zone":        `deprecated since v1.17; use "topology.kubernetes.io/zone" instead`,
	"beta.kubernetes.io/instance-type":              `deprecated since v1.17; use "node.kubernetes.io/instance-type" instead`,
	"app.kubernetes.io/created-by":                  `deprecated since v1.9`,
	"scheduler.alpha.kubernetes.io/preferAvoidPods": `deprecated since v1.22; use Taints and Tolerations instead`,
	"node-role.kubernetes.io/master":                `use "node-role.kubernetes.io/control-plane" instead`,
}

// gone are volumes that do nothing any more, or soon will not.
func gone(v *corev1.VolumeSource) (name, since string) {
	switch {
	case v.PhotonPersistentDisk != nil:
		return "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"
	case v.GitRepo != nil:
		return "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"
	case v.ScaleIO != nil:
		return "scaleIO", "deprecated in v1.16, non-functional in v1.22+"
	case v.Flocker != nil:
		return "flocker", "deprecated in v1.22, non-functional in v1.25+"
	case v.StorageOS != nil:
		return "storageOS", "deprecated in v1.22, non-functional in v1.25+"
	case v.Quobyte != nil:
		return "quobyte", "deprecated in v1.22, non-functional in v1.25+"
	case v.Glusterfs != nil:
		return "glusterfs", "deprecated in v1.25, non-functional in v1.26+"
	case v.CephFS != nil:
		return "cephfs", "deprecated in v1.28, non-functional in v1.31+"
	case v.RBD != nil:
		return "rbd", "deprecated in v1.28, non-functional in v1.31+"
	}
	return "", ""
}

// warner collects what is allowed but not wise.
type warner struct {
	texts []string
	spec  *corev1.PodSpec
	meta  *metav1.ObjectMeta
	// top is the path of the template; nil for a pod.
	top *field.Path
	at  *field.Path // of the spec
}

func (w *warner) warn(at *field.Path, format string, args ...any) {
	w.texts = append(w.texts, at.String()+": "+fmt.Sprintf(format, args...))
}

// Warnings are those for a pod (top is nil) or a template at a path.
func Warnings(meta *metav1.ObjectMeta, spec *corev1.PodSpec, top *field.Path) []string {
	return withPaths(top.Child("spec"), func(at *field.Path) []string { return warnings(meta, spec, top, at) })
}

func warnings(meta *metav1.ObjectMeta, spec *corev1.PodSpec, top, at *field.Path) []string {
	w := &warner{spec: spec, meta: meta, top: top, at: at}
	w.nodeLabels()
	w.annotations()
	w.volumes()
	w.duplicates()
	w.fractions()
	w.containers()
	w.ports()
	if t := spec.TerminationGracePeriodSeconds; t != nil && *t < 0 {
		w.warn(w.at.Child("terminationGracePeriodSeconds"), "must be >= 0; negative values are invalid and will be treated as 1")
	}
	w.affinity()
	if spec.DNSConfig != nil {
		for i, ip := range spec.DNSConfig.Nameservers {
			w.texts = append(w.texts, validation.GetWarningsForIP(index(child(w.at, "dnsConfig", "nameservers"), i), ip)...)
		}
	}
	for i, a := range spec.HostAliases {
		w.texts = append(w.texts, validation.GetWarningsForIP(child(index(child(w.at, "hostAliases"), i), "ip"), a.IP)...)
	}
	return w.texts
}

func (w *warner) nodeLabels() {
	for key := range w.spec.NodeSelector {
		if text, old := DeprecatedNodeLabels[key]; old {
			w.warn(w.at.Child("nodeSelector").Key(key), "%s", text)
		}
	}
	if a := w.spec.Affinity; a != nil && a.NodeAffinity != nil {
		at := child(w.at, "affinity", "nodeAffinity")
		if s := a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution; s != nil {
			for i := range s.NodeSelectorTerms {
				w.texts = append(w.texts, NodeTermWarnings(&s.NodeSelectorTerms[i], false, index(child(at, "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"), i))...)
			}
		}
		for i := range a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
			t := &a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution[i]
			w.texts = append(w.texts, NodeTermWarnings(&t.Preference, true, child(index(child(at, "preferredDuringSchedulingIgnoredDuringExecution"), i), "preference"))...)
		}
	}
	for i, t := range w.spec.TopologySpreadConstraints {
		at := index(child(w.at, "topologySpreadConstraints"), i)
		if text, old := DeprecatedNodeLabels[t.TopologyKey]; old {
			w.warn(at.Child("topologyKey"), "%s is %s", t.TopologyKey, text)
		}
		if t.LabelSelector == nil {
			w.warn(at.Child("labelSelector"), "a null labelSelector results in matching no pod")
		}
	}
}

// NodeTermWarnings are those for a term that selects nodes.
func NodeTermWarnings(t *corev1.NodeSelectorTerm, values bool, at *field.Path) []string {
	w := &warner{}
	for i, e := range t.MatchExpressions {
		p := index(child(at, "matchExpressions"), i)
		if text, old := DeprecatedNodeLabels[e.Key]; old {
			w.warn(p.Child("key"), "%s is %s", e.Key, text)
		}
		if !values {
			continue
		}
		for k, v := range e.Values {
			for _, m := range validation.IsValidLabelValue(v) {
				w.warn(p.Child("values").Index(k), "%s is invalid, %s", v, m)
			}
		}
	}
	return w.texts
}

func (w *warner) annotations() {
	at := w.top.Child("metadata", "annotations")
	for _, a := range []struct{ key, text string }{
		{"scheduler.alpha.kubernetes.io/critical-pod", `non-functional in v1.16+; use the "priorityClassName" field instead`},
		{"security.alpha.kubernetes.io/sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
		{"security.alpha.kubernetes.io/unsafe-sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
	} {
		if _, set := w.meta.Annotations[a.key]; set {
			w.warn(at.Key(a.key), "%s", a.text)
		}
	}
	if s := w.spec.SecurityContext; s == nil || s.SeccompProfile == nil {
		if _, set := w.meta.Annotations[corev1.SeccompPodAnnotationKey]; set {
			w.warn(at.Key(corev1.SeccompPodAnnotationKey), `non-functional in v1.27+; use the "seccompProfile" field instead`)
		}
	}
}

func (w *warner) volumes() {
	for i := range w.spec.Volumes {
		v, at := &w.spec.Volumes[i], index(child(w.at, "volumes"), i)
		if name, since := gone(&v.VolumeSource); name != "" {
			w.warn(at.Child(name), "%s", since)
		}
		if e := v.Ephemeral; e != nil && e.VolumeClaimTemplate != nil {
			w.texts = append(w.texts, ClaimWarnings(&e.VolumeClaimTemplate.Spec, at.Child("ephemeral", "volumeClaimTemplate", "spec"))...)
		}
	}
	for i := range w.spec.Volumes {
		w.overlaps(&w.spec.Volumes[i])
	}
}

// ClaimWarnings are those for a claim, on its own or in a template.
func ClaimWarnings(spec *corev1.PersistentVolumeClaimSpec, at *field.Path) []string {
	w := &warner{}
	w.fraction(spec.Resources.Requests, corev1.ResourceStorage, child(at, "resources", "requests"))
	w.fraction(spec.Resources.Limits, corev1.ResourceStorage, child(at, "resources", "limits"))
	return w.texts
}

func (w *warner) fraction(list corev1.ResourceList, name corev1.ResourceName, at *field.Path) {
	if q, set := list[name]; set && q.MilliValue()%1000 != 0 {
		w.warn(at.Key(string(name)), "fractional byte value %q is invalid, must be an integer", text(q))
	}
}

func text(q resource.Quantity) string { return q.String() }

// file is a path in a volume and where it comes from: a kind of source, and the name of one.
type file struct {
	path, from string
	name       *string
}

func (f file) String() string {
	switch {
	case f.name != nil:
		return fmt.Sprintf("%q (%s %q)", f.path, f.from, *f.name)
	case f.from != "":
		return fmt.Sprintf("%q (%s)", f.path, f.from)
	}
	return fmt.Sprintf("%q", f.path)
}

// overlaps: of two sources for one path the last wins, and a file cannot be a folder as well.
func (w *warner) overlaps(v *corev1.Volume) {
	look := func(name string, files []file) {
		var seen []file
		for _, f := range files {
			f.path = strings.TrimRight(f.path, "/")
			for _, s := range seen {
				if f.path != "" && (s.path == f.path || strings.HasPrefix(s.path+"/", f.path+"/") || strings.HasPrefix(f.path+"/", s.path+"/")) {
					w.texts = append(w.texts, fmt.Sprintf("volume %q (%s): overlapping paths: %s with %s", v.Name, name, f, s))
				}
			}
			seen = append(seen, f)
		}
	}
	switch {
	case v.ConfigMap != nil:
		look(fmt.Sprintf("ConfigMap %q", v.ConfigMap.Name), keyFiles(v.ConfigMap.Items, "", nil))
	case v.Secret != nil:
		look(fmt.Sprintf("Secret %q", v.Secret.SecretName), keyFiles(v.Secret.Items, "", nil))
	case v.DownwardAPI != nil:
		look("DownwardAPI", fieldFiles(v.DownwardAPI.Items, ""))
	case v.Projected != nil:
		var files []file
		for i := range v.Projected.Sources {
			s := &v.Projected.Sources[i]
			if *s == (corev1.VolumeProjection{}) {
				w.texts = append(w.texts, fmt.Sprintf("volume %q (Projected) has no sources provided", v.Name))
			}
			files = append(files, projectedFiles(s)...)
		}
		look("Projected", files)
	}
}

func projectedFiles(s *corev1.VolumeProjection) []file {
	switch {
	case s.ConfigMap != nil:
		return keyFiles(s.ConfigMap.Items, "ConfigMap", &s.ConfigMap.Name)
	case s.Secret != nil:
		return keyFiles(s.Secret.Items, "Secret", &s.Secret.Name)
	case s.DownwardAPI != nil:
		return fieldFiles(s.DownwardAPI.Items, "DownwardAPI")
	case s.ServiceAccountToken != nil:
		return []file{{path: s.ServiceAccountToken.Path, from: "ServiceAccountToken"}}
	case s.ClusterTrustBundle != nil:
		b, name := s.ClusterTrustBundle, new(string)
		if b.Name != nil {
			name = b.Name
		} else if b.SignerName != nil {
			name = b.SignerName
		}
		return []file{{b.Path, "ClusterTrustBundle", name}}
	case s.PodCertificate != nil:
		var out []file
		for _, f := range []file{{path: s.PodCertificate.CertificateChainPath, from: "PodCertificate chain"},
			{path: s.PodCertificate.KeyPath, from: "PodCertificate key"}, {path: s.PodCertificate.CredentialBundlePath, from: "PodCertificate credential bundle"}} {
			if f.path != "" {
				out = append(out, f)
			}
		}
		return out
	}
	return nil
}

func keyFiles(items []corev1.KeyToPath, from string, name *string) []file {
	out := make([]file, len(items))
	for i := range items {
		out[i] = file{items[i].Path, from, name}
	}
	return out
}

func fieldFiles(items []corev1.DownwardAPIVolumeFile, from string) []file {
	out := make([]file, len(items))
	for i := range items {
		out[i] = file{path: items[i].Path, from: from}
	}
	return out
}

func (w *warner) duplicates() {
	ips := sets.New[string]()
	for i, a := range w.spec.HostAliases {
		if ips.Has(a.IP) {
			w.warn(w.at.Child("hostAliases").Index(i).Child("ip"), "duplicate ip %q", a.IP)
		}
		ips.Insert(a.IP)
	}
	names := sets.New[string]()
	for i, s := range w.spec.ImagePullSecrets {
		if names.Has(s.Name) {
			w.warn(w.at.Child("imagePullSecrets").Index(i).Child("name"), "duplicate name %q", s.Name)
		}
		names.Insert(s.Name)
	}
	for i, s := range w.spec.ImagePullSecrets {
		if s.Name == "" {
			w.warn(w.at.Child("imagePullSecrets").Index(i).Child("name"), "invalid empty name %q", s.Name)
		}
	}
}

func (w *warner) fractions() {
	for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		w.fraction(w.spec.Overhead, name, child(w.at, "overhead"))
	}
}

func (w *warner) containers() {
	annotations := w.top.Child("metadata", "annotations")
	var whole *corev1.AppArmorProfile
	if w.spec.SecurityContext != nil {
		whole = w.spec.SecurityContext.AppArmorProfile
	}
	Containers(w.spec, w.at, func(c *corev1.Container, at *field.Path) {
		if s := c.SecurityContext; s == nil || s.SeccompProfile == nil {
			key := corev1.SeccompContainerAnnotationKeyPrefix + c.Name
			if _, set := w.meta.Annotations[key]; set {
				w.warn(annotations.Key(key), `non-functional in v1.27+; use the "seccompProfile" field instead`)
			}
		}
		if s := c.SecurityContext; w.top != nil && (s == nil || s.AppArmorProfile == nil) {
			key := corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + c.Name
			if value, set := w.meta.Annotations[key]; set && !sameProfile(whole, appArmorProfile(value)) {
				w.warn(annotations.Key(key), appArmorAnnotationOld)
			}
		}
		for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
			w.fraction(c.Resources.Limits, name, child(at, "resources", "limits"))
			w.fraction(c.Resources.Requests, name, child(at, "resources", "requests"))
		}
		var seen sets.Set[string]
		for i := range c.Env {
			e := &c.Env[i]
			if definedBefore(c.Env, i, &seen) {
				// A value that builds upon the one before is meant to; any other hides it.
				ref := "$(" + e.Name + ")"
				if e.ValueFrom != nil || e.Value == ref || !strings.Contains(e.Value, ref) {
					w.warn(at.Child("env").Index(i), "hides previous definition of %q, which may be dropped when using apply", e.Name)
				}
			}
		}
	})
}

// definedBefore says whether a variable has the name of an earlier one. Few variables are looked through; of many, seen
// keeps the names.
func definedBefore(env []corev1.EnvVar, i int, seen *sets.Set[string]) bool {
	const few = 16
	if len(env) <= few {
		return slices.ContainsFunc(env[:i], func(e corev1.EnvVar) bool { return e.Name == env[i].Name })
	}
	if *seen == nil {
		*seen = sets.New[string]()
	}
	before := seen.Has(env[i].Name)
	seen.Insert(env[i].Name)
	return before
}

func sameProfile(a, b *corev1.AppArmorProfile) bool {
	if a == nil || b == nil {
		return false
	}
	return a.Type == b.Type && samePointer(a.LocalhostProfile, b.LocalhostProfile)
}

func (w *warner) ports() {
	type place struct {
		at   *field.Path
		port *corev1.ContainerPort
	}
	type number struct {
		port     int32
		protocol corev1.Protocol
	}
	seen := map[number][]place{}
	Containers(w.spec, w.at, func(c *corev1.Container, at *field.Path) {
		for i := range c.Ports {
			p, here := &c.Ports[i], index(child(at, "ports"), i)
			if p.HostIP != "" && p.HostPort == 0 {
				w.warn(here, "hostIP set without hostPort: %s", portText(*p))
			}
			key := number{p.ContainerPort, p.Protocol}
			for _, o := range seen[key] {
				switch {
				case p.HostIP == o.port.HostIP && p.HostPort == o.port.HostPort:
					w.warn(here, "duplicate port definition with %s", o.at)
				case p.HostPort == 0 || o.port.HostPort == 0:
					w.warn(here, "overlapping port definition with %s", o.at)
				case p.HostPort == o.port.HostPort && (p.HostIP == "") != (o.port.HostIP == ""):
					w.warn(here, "dangerously ambiguous port definition with %s", o.at)
				}
			}
			seen[key] = append(seen[key], place{here, p})
		}
	})
	names := map[string]*field.Path{}
	Containers(w.spec, w.at, func(c *corev1.Container, at *field.Path) {
		for i, p := range c.Ports {
			if p.Name == "" {
				continue
			}
			here := index(child(at, "ports"), i)
			if first, taken := names[p.Name]; taken {
				w.warn(here, "duplicate port name %q with %s, services and probes that select ports by name will use %s", p.Name, first, first)
			} else {
				names[p.Name] = here
			}
		}
	})
}

// portText is a port as upstream's message shows it.
func portText(p corev1.ContainerPort) string {
	return fmt.Sprintf("{Name:%s HostPort:%d ContainerPort:%d Protocol:%s HostIP:%s}", p.Name, p.HostPort, p.ContainerPort, p.Protocol, p.HostIP)
}

func (w *warner) affinity() {
	a := w.spec.Affinity
	if a == nil {
		return
	}
	look := func(name string, required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		at := child(w.at, "affinity", name)
		const nothing = "a null labelSelector results in matching no pod"
		for i := range required {
			if required[i].LabelSelector == nil {
				w.warn(at.Child("requiredDuringSchedulingIgnoredDuringExecution").Index(i).Child("labelSelector"), nothing)
			}
		}
		for i := range preferred {
			if preferred[i].PodAffinityTerm.LabelSelector == nil {
				w.warn(at.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i).Child("podAffinityTerm", "labelSelector"), nothing)
			}
		}
	}
	if p := a.PodAffinity; p != nil {
		look("podAffinity", p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if p := a.PodAntiAffinity; p != nil {
		look("podAntiAffinity", p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
}
