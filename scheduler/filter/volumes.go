package filter

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/skiff-project/skiff/scheduler/nodes"
)

// Volumes knows the claims and volumes of the cluster.
type Volumes struct {
	Claims  corelisters.PersistentVolumeClaimLister
	Volumes corelisters.PersistentVolumeLister
	Classes storagelisters.StorageClassLister
}

func (v *Volumes) rule() Rule {
	return Rule{
		Name:    "VolumeBinding",
		Applies: func(p *nodes.Pod) bool { return len(p.Claims) > 0 },
		Check:   v.check,
		WokenBy: func(_ *nodes.Pod, e Event) bool { return nodeCame(e) || e.Change.Labels || e.Storage },
	}
}

// Missing says why no node at all will do, because of the pod's claims; empty if there is no such reason.
func (v *Volumes) Missing(p *nodes.Pod) string {
	for _, name := range p.Claims {
		claim, err := v.Claims.PersistentVolumeClaims(p.Key.Namespace).Get(name)
		switch {
		case apierrors.IsNotFound(err):
			return fmt.Sprintf("persistentvolumeclaim %q not found", name)
		case err != nil:
			return err.Error()
		case claim.DeletionTimestamp != nil:
			return fmt.Sprintf("persistentvolumeclaim %q is being deleted", name)
		case claim.Status.Phase == corev1.ClaimLost:
			return fmt.Sprintf("persistentvolumeclaim %q bound to non-existent persistentvolume %q", name, claim.Spec.VolumeName)
		case claim.Spec.VolumeName == "" && !v.waits(claim):
			return "pod has unbound immediate PersistentVolumeClaims"
		}
	}
	return ""
}

// Unbound lists the claims of the pod that wait for a node to be chosen.
func (v *Volumes) Unbound(p *nodes.Pod) []*corev1.PersistentVolumeClaim {
	var out []*corev1.PersistentVolumeClaim
	for _, name := range p.Claims {
		claim, err := v.Claims.PersistentVolumeClaims(p.Key.Namespace).Get(name)
		if err == nil && claim.Spec.VolumeName == "" && v.waits(claim) {
			out = append(out, claim)
		}
	}
	return out
}

func (v *Volumes) waits(claim *corev1.PersistentVolumeClaim) bool {
	class := v.class(claim)
	return class != nil && class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
}

func (v *Volumes) class(claim *corev1.PersistentVolumeClaim) *storagev1.StorageClass {
	if claim.Spec.StorageClassName == nil {
		return nil
	}
	class, err := v.Classes.Get(*claim.Spec.StorageClassName)
	if err != nil {
		return nil
	}
	return class
}

func (v *Volumes) check(p *nodes.Pod, n *nodes.Node) *Verdict {
	for _, name := range p.Claims {
		claim, err := v.Claims.PersistentVolumeClaims(p.Key.Namespace).Get(name)
		if err != nil {
			return &Verdict{Rule: "VolumeBinding", Reasons: []string{fmt.Sprintf("persistentvolumeclaim %q not found", name)}, Unresolvable: true}
		}
		if claim.Spec.VolumeName == "" {
			if !v.classAllows(claim, n) {
				return &Verdict{Rule: "VolumeBinding", Reasons: []string{"node(s) didn't find available persistent volumes to bind"}, Unresolvable: true}
			}
			continue
		}
		volume, err := v.Volumes.Get(claim.Spec.VolumeName)
		if err != nil {
			return &Verdict{Rule: "VolumeBinding", Reasons: []string{"node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"}, Unresolvable: true}
		}
		if !reachable(volume, n) {
			return &Verdict{Rule: "VolumeBinding", Reasons: []string{"node(s) didn't match PersistentVolume's node affinity"}, Unresolvable: true}
		}
	}
	return nil
}

// classAllows says whether an unbound claim could get a volume on the node: one that is there already, or a new one.
func (v *Volumes) classAllows(claim *corev1.PersistentVolumeClaim, n *nodes.Node) bool {
	class := v.class(claim)
	if class == nil {
		return false
	}
	if class.Provisioner != "kubernetes.io/no-provisioner" {
		return len(class.AllowedTopologies) == 0 || inTopologies(class.AllowedTopologies, n)
	}
	volumes, err := v.Volumes.List(labels.Everything())
	if err != nil {
		return false
	}
	for _, volume := range volumes {
		if volume.Spec.ClaimRef == nil && volume.Spec.StorageClassName == class.Name && reachable(volume, n) && fits(claim, volume) {
			return true
		}
	}
	return false
}

func fits(claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume) bool {
	want, have := claim.Spec.Resources.Requests[corev1.ResourceStorage], volume.Spec.Capacity[corev1.ResourceStorage]
	return want.Cmp(have) <= 0
}

func reachable(volume *corev1.PersistentVolume, n *nodes.Node) bool {
	if volume.Spec.NodeAffinity == nil || volume.Spec.NodeAffinity.Required == nil {
		return true
	}
	selector, err := nodeaffinity.NewNodeSelector(volume.Spec.NodeAffinity.Required)
	return err == nil && selector.Match(n.Obj)
}

func inTopologies(terms []corev1.TopologySelectorTerm, n *nodes.Node) bool {
	selector := nodeaffinity.NewLazyErrorNodeSelector(nodeSelectorOf(terms))
	ok, err := selector.Match(n.Obj)
	return ok && err == nil
}

func nodeSelectorOf(terms []corev1.TopologySelectorTerm) *corev1.NodeSelector {
	out := &corev1.NodeSelector{}
	for _, t := range terms {
		var term corev1.NodeSelectorTerm
		for _, e := range t.MatchLabelExpressions {
			term.MatchExpressions = append(term.MatchExpressions, corev1.NodeSelectorRequirement{Key: e.Key, Operator: corev1.NodeSelectorOpIn, Values: e.Values})
		}
		out.NodeSelectorTerms = append(out.NodeSelectorTerms, term)
	}
	return out
}
