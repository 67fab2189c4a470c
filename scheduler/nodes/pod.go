package nodes

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/resource"
)

// Pod is a pod as the scheduler's rules see it: the object, and what would be expensive to derive from it each time.
// It is immutable.
type Pod struct {
	Obj      *corev1.Pod
	Key      types.NamespacedName
	Priority int32
	// Owner is the UID of the controller that made the pod; pods of one owner are spread by default.
	Owner   types.UID
	Labels  labels.Set
	Request Resources
	// NonZero is Request with a floor per container, as upstream's scores count pods that ask for nothing
	// (100m CPU, 200 MB): otherwise they would all go to one node.
	NonZero Resources
	Ports   []Port

	Affinity, AntiAffinity                   []Term // required
	PreferredAffinity, PreferredAntiAffinity []Term
	Spread                                   []Constraint
	// Claims are the names of the PersistentVolumeClaims that the pod mounts.
	Claims []string
	// InvalidReason is set where a selector of the pod cannot be parsed.
	InvalidReason string
}

// Port is a port of the node that a container wants for itself.
type Port struct {
	IP       string // "0.0.0.0" for all addresses
	Protocol corev1.Protocol
	Port     int32
}

// Term is one pod (anti-)affinity term with its selectors parsed.
type Term struct {
	Namespaces        map[string]bool
	NamespaceSelector labels.Selector
	Selector          labels.Selector
	TopologyKey       string
	Weight            int32
}

// Constraint is one topology spread constraint with its selector parsed.
type Constraint struct {
	Key           string
	MaxSkew       int32
	MinDomains    int32
	Selector      labels.Selector // nil: pods of the same Owner
	HonorAffinity bool
	HonorTaints   bool
	Hard          bool
}

// Upstream's stand-ins for containers without requests (pkg/scheduler/util: DefaultMilliCPURequest, DefaultMemoryRequest).
var nonMissing = corev1.ResourceList{
	corev1.ResourceCPU:    *milli(100),
	corev1.ResourceMemory: *bytes(200 * 1024 * 1024),
}

// NewPod derives a Pod. The object must not change afterwards.
func NewPod(obj *corev1.Pod) *Pod {
	p := &Pod{Obj: obj, Key: types.NamespacedName{Namespace: obj.Namespace, Name: obj.Name}, Labels: obj.Labels}
	if obj.Spec.Priority != nil {
		p.Priority = *obj.Spec.Priority
	}
	if c := metav1.GetControllerOf(obj); c != nil {
		p.Owner = c.UID
	}
	opts := resource.PodResourcesOptions{UseStatusResources: true}
	p.Request = FromList(resource.PodRequests(obj, opts))
	opts.NonMissingContainerRequests = nonMissing
	p.NonZero = FromList(resource.PodRequests(obj, opts))
	p.Ports = hostPorts(&obj.Spec)
	p.addTerms(obj)
	p.addSpread(obj)
	for i := range obj.Spec.Volumes {
		v := &obj.Spec.Volumes[i]
		switch {
		case v.PersistentVolumeClaim != nil:
			p.Claims = append(p.Claims, v.PersistentVolumeClaim.ClaimName)
		case v.Ephemeral != nil:
			p.Claims = append(p.Claims, obj.Name+"-"+v.Name)
		}
	}
	return p
}

// UID is the pod's identity in the table.
func (p *Pod) UID() types.UID { return p.Obj.UID }

func hostPorts(spec *corev1.PodSpec) []Port {
	var out []Port
	add := func(c *corev1.Container) {
		for _, port := range c.Ports {
			if port.HostPort <= 0 {
				continue
			}
			ip, protocol := port.HostIP, port.Protocol
			if ip == "" || ip == "::" {
				ip = "0.0.0.0"
			}
			if protocol == "" {
				protocol = corev1.ProtocolTCP
			}
			out = append(out, Port{IP: ip, Protocol: protocol, Port: port.HostPort})
		}
	}
	for i := range spec.Containers {
		add(&spec.Containers[i])
	}
	for i := range spec.InitContainers {
		// Only sidecars run beside the others.
		if c := &spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	return out
}

// Conflicts says whether the two ports cannot be held on one node.
func (p Port) Conflicts(q Port) bool {
	return p.Port == q.Port && p.Protocol == q.Protocol && (p.IP == q.IP || p.IP == "0.0.0.0" || q.IP == "0.0.0.0")
}

func (p *Pod) addTerms(obj *corev1.Pod) {
	a := obj.Spec.Affinity
	if a == nil {
		return
	}
	if a.PodAffinity != nil {
		for _, t := range a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
			p.Affinity = append(p.Affinity, p.term(t, 0))
		}
		for _, t := range a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
			p.PreferredAffinity = append(p.PreferredAffinity, p.term(t.PodAffinityTerm, t.Weight))
		}
	}
	if a.PodAntiAffinity != nil {
		for _, t := range a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
			p.AntiAffinity = append(p.AntiAffinity, p.term(t, 0))
		}
		for _, t := range a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
			p.PreferredAntiAffinity = append(p.PreferredAntiAffinity, p.term(t.PodAffinityTerm, t.Weight))
		}
	}
}

func (p *Pod) term(t corev1.PodAffinityTerm, weight int32) Term {
	out := Term{TopologyKey: t.TopologyKey, Weight: weight, Namespaces: map[string]bool{}}
	out.Selector = p.selector(t.LabelSelector)
	for _, ns := range t.Namespaces {
		out.Namespaces[ns] = true
	}
	if t.NamespaceSelector != nil {
		out.NamespaceSelector = p.selector(t.NamespaceSelector)
	} else if len(t.Namespaces) == 0 {
		out.Namespaces[p.Key.Namespace] = true
	}
	return out
}

func (p *Pod) selector(s *metav1.LabelSelector) labels.Selector {
	sel, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		p.InvalidReason = fmt.Sprintf("parsing pod: %v", err)
		return labels.Nothing()
	}
	return sel
}

// Matches says whether the term selects a pod. namespaceLabels gives the labels of a namespace by name.
func (t *Term) Matches(q *Pod, namespaceLabels func(string) labels.Set) bool {
	if !t.Namespaces[q.Key.Namespace] &&
		(t.NamespaceSelector == nil || !t.NamespaceSelector.Empty() && !t.NamespaceSelector.Matches(namespaceLabels(q.Key.Namespace))) {
		return false
	}
	return t.Selector.Matches(q.Labels)
}

func (p *Pod) addSpread(obj *corev1.Pod) {
	for _, c := range obj.Spec.TopologySpreadConstraints {
		k := Constraint{
			Key: c.TopologyKey, MaxSkew: c.MaxSkew, MinDomains: 1, Selector: p.selector(c.LabelSelector),
			HonorAffinity: c.NodeAffinityPolicy == nil || *c.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor,
			HonorTaints:   c.NodeTaintsPolicy != nil && *c.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor,
			Hard:          c.WhenUnsatisfiable == corev1.DoNotSchedule,
		}
		if c.MinDomains != nil {
			k.MinDomains = *c.MinDomains
		}
		for _, key := range c.MatchLabelKeys {
			if v, ok := obj.Labels[key]; ok {
				k.Selector = and(k.Selector, labels.SelectorFromSet(labels.Set{key: v}))
			}
		}
		p.Spread = append(p.Spread, k)
	}
	if len(p.Spread) == 0 && p.Owner != "" {
		// Upstream's built-in default constraints. It asks Services and owners for their selectors; pods of one owner
		// are what those select in all but contrived cases.
		p.Spread = []Constraint{
			{Key: corev1.LabelHostname, MaxSkew: 3, MinDomains: 1, HonorAffinity: true},
			{Key: corev1.LabelTopologyZone, MaxSkew: 5, MinDomains: 1, HonorAffinity: true},
		}
	}
}

func and(a, b labels.Selector) labels.Selector {
	reqs, _ := b.Requirements()
	return a.Add(reqs...)
}

// Counts says whether the constraint of pod p counts q.
func (c *Constraint) Counts(p, q *Pod) bool {
	if q.Key.Namespace != p.Key.Namespace || q.Obj.DeletionTimestamp != nil {
		return false
	}
	if c.Selector == nil {
		return q.Owner == p.Owner
	}
	return c.Selector.Matches(q.Labels)
}
