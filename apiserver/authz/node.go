package authz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/storage"
	"github.com/skiff-project/skiff/apiserver/watchcache"
)

const (
	nodeUser  = "system:node:"
	nodeGroup = "system:nodes"
)

// nodeName says whether a user is a node's agent, and whose.
func nodeName(u *kinds.UserInfo) (name string, isNode bool) {
	name, ok := strings.CutPrefix(u.Name, nodeUser)
	return name, ok && slices.Contains(u.Groups, nodeGroup)
}

// node decides for node agents. Some kinds are subdivided, by name or by what the node's pods refer to; the others are
// the same for all nodes.
func (a *Authorizer) node(ctx context.Context, access *kinds.Access) (allowed bool, reason string, err error) {
	name, isNode := nodeName(&access.User)
	if !isNode {
		return false, "", nil
	}
	if name == "" {
		return false, fmt.Sprintf("unknown node for user %q", access.User.Name), nil
	}
	n := nodeQuestion{ctx: ctx, auth: a, node: name, Access: access}
	if !access.NonResource {
		if decide := subdivided[schema.GroupResource{Group: access.Group, Resource: access.Resource}]; decide != nil {
			reason := decide(&n)
			if n.err != nil {
				return false, reason, n.err
			}
			return reason == "" && !n.refused, reason, nil
		}
	}
	for i := range a.cfg.NodeRules {
		if allows(&a.cfg.NodeRules[i], access) {
			return true, "", nil
		}
	}
	return false, "", nil
}

// nodeQuestion is one question of one node.
type nodeQuestion struct {
	ctx  context.Context
	auth *Authorizer
	node string
	*kinds.Access
	// refused without a reason.
	refused bool
	err     error
}

// subdivided holds what decides about kinds of which a node sees a part. An empty answer allows.
var subdivided = map[schema.GroupResource]func(*nodeQuestion) string{
	{Resource: "secrets"}:    func(n *nodeQuestion) string { return n.readOne(n.podRefers(podSecret)) },
	{Resource: "configmaps"}: func(n *nodeQuestion) string { return n.readOne(n.podRefers(podConfigMap)) },
	{Resource: "persistentvolumeclaims"}: func(n *nodeQuestion) string {
		if n.Subresource == "status" {
			if n.Verb != "update" && n.Verb != "patch" {
				return "can only get/update/patch this type"
			}
			return n.related(n.podRefers(podClaim))
		}
		return n.getOne(n.podRefers(podClaim))
	},
	{Resource: "persistentvolumes"}:                                    func(n *nodeQuestion) string { return n.getOne(n.volumeIsUsed) },
	{Group: "resource.k8s.io", Resource: "resourceclaims"}:             func(n *nodeQuestion) string { return n.getOne(n.podRefers(podResourceClaim)) },
	{Group: "storage.k8s.io", Resource: "volumeattachments"}:           func(n *nodeQuestion) string { return n.getOne(n.attachmentIsHere) },
	{Resource: "serviceaccounts"}:                                      (*nodeQuestion).serviceAccount,
	{Group: "coordination.k8s.io", Resource: "leases"}:                 (*nodeQuestion).lease,
	{Group: "storage.k8s.io", Resource: "csinodes"}:                    (*nodeQuestion).csiNode,
	{Group: "resource.k8s.io", Resource: "resourceslices"}:             (*nodeQuestion).resourceSlice,
	{Resource: "nodes"}:                                                (*nodeQuestion).nodes,
	{Resource: "pods"}:                                                 (*nodeQuestion).pods,
	{Group: "certificates.k8s.io", Resource: "podcertificaterequests"}: (*nodeQuestion).podCertificate,
}

func (n *nodeQuestion) readOne(isRelated func() bool) string {
	switch {
	case n.Verb != "get" && n.Verb != "list" && n.Verb != "watch":
		return "can only read resources of this type"
	case n.Subresource != "":
		return "cannot read subresource"
	case n.Namespace == "":
		return "can only read namespaced object of this type"
	}
	return n.related(isRelated)
}

func (n *nodeQuestion) getOne(isRelated func() bool) string {
	switch {
	case n.Verb != "get":
		return "can only get individual resources of this type"
	case n.Subresource != "":
		return "cannot get subresource"
	}
	return n.related(isRelated)
}

func (n *nodeQuestion) related(isRelated func() bool) string {
	if n.Name == "" {
		return "No Object name found"
	}
	if isRelated() {
		return ""
	}
	return fmt.Sprintf("no relationship found between node '%s' and this object", n.node)
}

func (n *nodeQuestion) serviceAccount() string {
	if n.Verb == "get" && n.Subresource == "" {
		return n.readOne(n.podRefers(podServiceAccount))
	}
	switch {
	case n.Verb != "create" || n.Name == "":
		return "can only create tokens for individual service accounts"
	case n.Subresource != "token":
		return "can only create token subresource of serviceaccount"
	}
	return n.related(n.podRefers(podServiceAccount))
}

func (n *nodeQuestion) verbs(allowed ...string) bool { return slices.Contains(allowed, n.Verb) }

func (n *nodeQuestion) lease() string {
	switch {
	case !n.verbs("get", "create", "update", "patch", "delete"):
		return "can only get, create, update, patch, or delete a node lease"
	case n.Namespace != corev1.NamespaceNodeLease:
		return fmt.Sprintf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	case n.Verb != "create" && n.Name != n.node:
		return "can only access node lease with the same name as the requesting node"
	}
	return ""
}

func (n *nodeQuestion) csiNode() string {
	switch {
	case n.Subresource != "":
		return "cannot authorize CSINode subresources"
	case !n.verbs("get", "create", "update", "patch", "delete"):
		return "can only get, create, update, patch, or delete a CSINode"
	case n.Verb != "create" && n.Name != n.node:
		return "can only access CSINode with the same name as the requesting node"
	}
	return ""
}

func (n *nodeQuestion) resourceSlice() string {
	if n.Subresource != "" {
		return "cannot authorize ResourceSlice subresources"
	}
	switch n.Verb {
	case "create": // NodeRestriction looks at the object
		return ""
	case "get", "update", "patch", "delete":
		return n.related(n.sliceIsHere)
	case "watch", "list", "deletecollection":
		if n.selects(resourcev1.ResourceSliceSelectorNodeName) {
			return ""
		}
		return "can only list/watch/deletecollection resourceslices with nodeName field selector"
	}
	return "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection"
}

func (n *nodeQuestion) podCertificate() string {
	if n.Subresource != "" {
		return "nodes may not access the status subresource of PodCertificateRequests"
	}
	switch n.Verb {
	case "create": // NodeRestriction looks at the object
		return ""
	case "get":
		return n.related(n.certificateIsForHere)
	case "list", "watch":
		if n.selects("spec.nodeName") {
			return ""
		}
		return "can only list/watch podcertificaterequests with nodeName field selector"
	}
	return fmt.Sprintf("nodes may not %s podcertificaterequests", n.Verb)
}

func (n *nodeQuestion) nodes() string {
	switch {
	case n.Subresource == "" && n.verbs("create", "update", "patch"), n.Subresource == "status" && n.verbs("update", "patch"):
		return "" // NodeRestriction looks at the name
	case n.Subresource == "" && n.verbs("get", "list", "watch"):
		switch n.Name {
		case n.node:
			return ""
		case "":
			return fmt.Sprintf("node '%s' cannot read all nodes, only its own Node object", n.node)
		}
		return fmt.Sprintf("node '%s' cannot read '%s', only its own Node object", n.node, n.Name)
	}
	n.refused = true
	return ""
}

func (n *nodeQuestion) pods() string {
	here := func() bool { return n.podRefers(func(*corev1.Pod, string) bool { return true })() }
	switch n.Subresource {
	case "":
		switch n.Verb {
		case "get":
			return n.getOne(here)
		case "list", "watch":
			switch {
			case n.selects("spec.nodeName"):
				return ""
			case n.Name != "":
				return n.related(here)
			}
			return "can only list/watch pods with spec.nodeName field selector"
		case "create", "delete": // mirror pods: NodeRestriction looks
			return ""
		}
	case "status":
		if n.verbs("update", "patch") {
			return ""
		}
	case "eviction":
		if n.Verb == "create" {
			return ""
		}
	}
	n.refused = true
	return ""
}

// selects says whether the request's field selector confines it to this node.
func (n *nodeQuestion) selects(field string) bool {
	if n.FieldSelector == nil {
		return false
	}
	return slices.ContainsFunc(n.FieldSelector.Requirements, func(r metav1.FieldSelectorRequirement) bool {
		return r.Key == field && r.Operator == metav1.FieldSelectorOpIn && len(r.Values) == 1 && r.Values[0] == n.node
	})
}

// podRefers says whether a pod of this node is, or refers to, the object in question: by what the cache knows, and if
// that says no by a fresh read, since another API server may have bound the pod a moment ago.
func (n *nodeQuestion) podRefers(refers func(pod *corev1.Pod, name string) bool) func() bool {
	return func() bool {
		return n.anyPod(n.Namespace, func(pod *corev1.Pod) bool {
			if n.Resource == "pods" {
				return pod.Name == n.Name
			}
			// A node could give itself access to anything by making a mirror pod.
			return pod.Annotations[corev1.MirrorPodAnnotationKey] == "" && refers(pod, n.Name)
		})
	}
}

func (n *nodeQuestion) anyPod(namespace string, is func(*corev1.Pod) bool) bool {
	reader := n.auth.cfg.Readers(schema.GroupResource{Resource: "pods"})
	opts := watchcache.ListOptions{Namespace: namespace, Fields: fields.OneTermEqualSelector("spec.nodeName", n.node), Cached: true}
	for {
		list, err := reader.List(n.ctx, opts)
		if err != nil {
			n.err = fmt.Errorf("list the pods of node %s: %w", n.node, err)
			return false
		}
		for _, item := range list.Items {
			if obj, err := item.Shared(); err == nil && is(obj.(*corev1.Pod)) {
				return true
			}
		}
		if !opts.Cached {
			return false
		}
		opts.Cached = false
	}
}

// get reads an object by name; nil if there is none.
func (n *nodeQuestion) get(gr schema.GroupResource, namespace, name string) runtime.Object {
	reader := n.auth.cfg.Readers(gr)
	if reader == nil {
		return nil
	}
	o, err := reader.Get(n.ctx, namespace, name, watchcache.Latest)
	if err == nil {
		var obj runtime.Object
		if obj, err = o.Shared(); err == nil {
			return obj
		}
	}
	if !errors.Is(err, storage.ErrNotFound) {
		n.err = fmt.Errorf("get %s %s: %w", gr, name, err)
	}
	return nil
}

// volumeIsUsed: the volume's claim is used by a pod of this node.
func (n *nodeQuestion) volumeIsUsed() bool {
	pv, _ := n.get(schema.GroupResource{Resource: "persistentvolumes"}, "", n.Name).(*corev1.PersistentVolume)
	if pv == nil || pv.Spec.ClaimRef == nil {
		return false
	}
	return n.anyPod(pv.Spec.ClaimRef.Namespace, func(pod *corev1.Pod) bool {
		return pod.Annotations[corev1.MirrorPodAnnotationKey] == "" && podClaim(pod, pv.Spec.ClaimRef.Name)
	})
}

func (n *nodeQuestion) attachmentIsHere() bool {
	va, _ := n.get(schema.GroupResource{Group: "storage.k8s.io", Resource: "volumeattachments"}, "", n.Name).(*storagev1.VolumeAttachment)
	return va != nil && va.Spec.NodeName == n.node
}

func (n *nodeQuestion) sliceIsHere() bool {
	s, _ := n.get(schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceslices"}, "", n.Name).(*resourcev1.ResourceSlice)
	return s != nil && s.Spec.NodeName != nil && *s.Spec.NodeName == n.node
}

func (n *nodeQuestion) certificateIsForHere() bool {
	r, _ := n.get(schema.GroupResource{Group: "certificates.k8s.io", Resource: "podcertificaterequests"}, n.Namespace, n.Name).(*certificatesv1.PodCertificateRequest)
	return r != nil && string(r.Spec.NodeName) == n.node
}
