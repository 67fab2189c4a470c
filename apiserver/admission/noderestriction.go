package admission

import (
	"context"
	"fmt"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// NodeRestriction confines a node's agent to its own Node, its own pods and what belongs to them. The Node authorizer
// has decided by names before; this rule looks at contents.
func NodeRestriction(o *Objects) Rule {
	return Rule{Name: "NodeRestriction", Mutate: func(ctx context.Context, a *Attributes) error {
		if a.User == nil || a.Operation == Connect {
			return nil
		}
		node, ok := strings.CutPrefix(a.User.Name, "system:node:")
		if !ok || !slices.Contains(a.User.Groups, "system:nodes") {
			return nil
		}
		if node == "" {
			return forbidden(a, "could not determine node from user %q", a.User.Name)
		}
		r := restriction{ctx: ctx, o: o, Attributes: a, node: node}
		if check := restricted[a.Kind.GroupResource()]; check != nil {
			return check(&r)
		}
		return nil
	}}
}

// restriction is one write of one node.
type restriction struct {
	*Attributes
	ctx  context.Context
	o    *Objects
	node string
}

var restricted = map[schema.GroupResource]func(*restriction) error{
	{Resource: "pods"}: func(r *restriction) error {
		switch r.Subresource {
		case "":
			return r.pod()
		case "status":
			return r.podStatus()
		case "eviction":
			return r.eviction()
		}
		return r.refuse("unexpected pod subresource %q, only 'status' and 'eviction' are allowed", r.Subresource)
	},
	{Resource: "nodes"}: (*restriction).ownNode,
	{Resource: "persistentvolumeclaims"}: func(r *restriction) error {
		if r.Subresource != "status" {
			return r.refuse("may only update PVC status")
		}
		return r.claimStatus()
	},
	{Resource: "serviceaccounts"}:                                      (*restriction).token,
	{Group: certificatesGroup, Resource: "podcertificaterequests"}:     (*restriction).podCertificate,
	{Group: certificatesGroup, Resource: "certificatesigningrequests"}: (*restriction).csr,
	{Group: coordinationv1.GroupName, Resource: "leases"}:              (*restriction).lease,
	{Group: storagev1.GroupName, Resource: "csinodes"}:                 (*restriction).csiNode,
	{Group: resourcev1.GroupName, Resource: "resourceslices"}:          (*restriction).slice,
}

func (r *restriction) refuse(format string, args ...any) error {
	return forbidden(r.Attributes, format, args...)
}

func (r *restriction) getPod(name string) (*corev1.Pod, error) {
	obj, err := r.o.get(r.ctx, core("pods"), r.Namespace, name)
	if err != nil {
		return nil, err
	}
	// A pod that was bound a moment ago, through another server, may look unbound here.
	if obj.(*corev1.Pod).Spec.NodeName != r.node {
		if obj, err = r.o.fresh(r.ctx, core("pods"), r.Namespace, name); err != nil {
			return nil, err
		}
	}
	return obj.(*corev1.Pod), nil
}

func (r *restriction) pod() error {
	switch r.Operation {
	case Create:
		return r.mirrorPod(r.Object.(*corev1.Pod))
	case Delete:
		pod, err := r.getPod(r.Name)
		if err != nil {
			return err
		}
		if pod.Spec.NodeName != r.node {
			return r.refuse("node %q can only delete pods with spec.nodeName set to itself", r.node)
		}
		return nil
	}
	return r.refuse("unexpected operation %q, node %q can only create and delete mirror pods", r.Operation, r.node)
}

func (r *restriction) mirrorPod(pod *corev1.Pod) error {
	if !isMirror(pod) {
		return r.refuse("pod does not have %q annotation, node %q can only create mirror pods", corev1.MirrorPodAnnotationKey, r.node)
	}
	if pod.Spec.NodeName != r.node {
		return r.refuse("node %q can only create pods with spec.nodeName set to itself", r.node)
	}
	if len(pod.OwnerReferences) > 1 {
		return r.refuse("node %q can only create pods with a single owner reference set to itself", r.node)
	}
	if len(pod.OwnerReferences) == 0 {
		return r.refuse("node %q can only create pods with an owner reference set to itself", r.node)
	}
	owner := pod.OwnerReferences[0]
	switch {
	case owner.APIVersion != "v1" || owner.Kind != "Node" || owner.Name != r.node:
		return r.refuse("node %q can only create pods with an owner reference set to itself", r.node)
	case owner.Controller == nil || !*owner.Controller:
		return r.refuse("node %q can only create pods with a controller owner reference set to itself", r.node)
	case owner.BlockOwnerDeletion != nil && *owner.BlockOwnerDeletion:
		return r.refuse("node %q must not set blockOwnerDeletion on an owner reference", r.node)
	}
	obj, err := r.o.get(r.ctx, core("nodes"), "", r.node)
	if err != nil {
		return err
	}
	if uid := obj.(*corev1.Node).UID; owner.UID != uid {
		return r.refuse("node %s UID mismatch: expected %s got %s", r.node, owner.UID, uid)
	}
	if what := refersTo(pod).first(pod); what != "" {
		return r.refuse("node %q can not create pods that reference %s", r.node, what)
	}
	return nil
}

func (r *restriction) podStatus() error {
	if r.Operation != Update {
		return r.refuse("unexpected operation %q", r.Operation)
	}
	pod, old := r.Object.(*corev1.Pod), r.Old.(*corev1.Pod)
	equal := apiequality.Semantic.DeepEqual
	switch {
	case old.Spec.NodeName != r.node:
		return r.refuse("node %q can only update pod status for pods with spec.nodeName set to itself", r.node)
	case !labels.Equals(old.Labels, pod.Labels):
		return r.refuse("node %q cannot update labels through pod status", r.node)
	case !equal(old.Status.ResourceClaimStatuses, pod.Status.ResourceClaimStatuses):
		return r.refuse("node %q cannot update resource claim statues", r.node)
	case !equal(old.Status.ExtendedResourceClaimStatus, pod.Status.ExtendedResourceClaimStatus):
		return r.refuse("node %q cannot update extended resource claim status", r.node)
	}
	return nil
}

func (r *restriction) eviction() error {
	if r.Operation != Create {
		return r.refuse("unexpected operation %s", r.Operation)
	}
	pod, err := r.getPod(r.Name)
	if err != nil {
		return err
	}
	if pod.Spec.NodeName != r.node {
		return r.refuse("node %s can only evict pods with spec.nodeName set to itself", r.node)
	}
	return nil
}

func (r *restriction) claimStatus() error {
	if r.Operation != Update {
		return r.refuse("unexpected operation %q", r.Operation)
	}
	claim, old := r.Object.(*corev1.PersistentVolumeClaim).DeepCopy(), r.Old.(*corev1.PersistentVolumeClaim).DeepCopy()
	for _, c := range []*corev1.PersistentVolumeClaim{claim, old} {
		c.ResourceVersion, c.ManagedFields = "", nil
		c.Status.Capacity, c.Status.Conditions, c.Status.AllocatedResources, c.Status.AllocatedResourceStatuses = nil, nil, nil, nil
	}
	if !apiequality.Semantic.DeepEqual(claim, old) {
		return r.refuse("node %q is not allowed to update fields other than status.quantity and status.conditions", r.node)
	}
	return nil
}

func (r *restriction) ownNode() error {
	name := r.Name
	if r.Operation == Create && name == "" {
		name = r.Object.(*corev1.Node).Name
	}
	if name != r.node {
		return r.refuse("node %q is not allowed to modify node %q", r.node, name)
	}
	switch r.Operation {
	case Create:
		node := r.Object.(*corev1.Node)
		if node.Spec.ConfigSource != nil {
			return r.refuse("node %q is not allowed to create pods with a non-nil configSource", r.node)
		}
		if bad := forbiddenLabels(node.Labels, nil); len(bad) > 0 {
			return r.refuse("node %q is not allowed to set the following labels: %s", r.node, strings.Join(bad, ", "))
		}
	case Update:
		node, old := r.Object.(*corev1.Node), r.Old.(*corev1.Node)
		equal := apiequality.Semantic.DeepEqual
		switch {
		case node.Spec.ConfigSource != nil && !equal(node.Spec.ConfigSource, old.Spec.ConfigSource):
			return r.refuse("node %q is not allowed to update configSource to a new non-nil configSource", r.node)
		case !equal(node.Spec.Taints, old.Spec.Taints):
			return r.refuse("node %q is not allowed to modify taints", r.node)
		case !equal(node.OwnerReferences, old.OwnerReferences):
			return r.refuse("node %q is not allowed to modify ownerReferences", r.node)
		}
		if bad := forbiddenLabels(node.Labels, old.Labels); len(bad) > 0 {
			return r.refuse("is not allowed to modify labels: %s", strings.Join(bad, ", "))
		}
	}
	return nil
}

// nodeLabels are those labels of Kubernetes' own that a node's agent sets.
var nodeLabels = []string{corev1.LabelHostname, corev1.LabelTopologyZone, corev1.LabelTopologyRegion, corev1.LabelFailureDomainBetaZone,
	corev1.LabelFailureDomainBetaRegion, corev1.LabelInstanceType, corev1.LabelInstanceTypeStable, corev1.LabelOSStable, corev1.LabelArchStable,
	"beta.kubernetes.io/os", "beta.kubernetes.io/arch"}

// forbiddenLabels are labels that differ and that a node must not choose for itself: by them it could draw workloads to
// itself that are meant for others.
func forbiddenLabels(now, before map[string]string) []string {
	var out []string
	check := func(key string) {
		domain, _, ok := strings.Cut(key, "/")
		if !ok {
			return
		}
		in := func(d string) bool { return domain == d || strings.HasSuffix(domain, "."+d) }
		ours := in("kubernetes.io") || in("k8s.io")
		allowed := slices.Contains(nodeLabels, key) || in(corev1.LabelNamespaceSuffixKubelet) || in(corev1.LabelNamespaceSuffixNode)
		if in(corev1.LabelNamespaceNodeRestriction) || ours && !allowed {
			out = append(out, key)
		}
	}
	for k, v := range now {
		if b, ok := before[k]; !ok || b != v {
			check(k)
		}
	}
	for k := range before {
		if _, ok := now[k]; !ok {
			check(k)
		}
	}
	slices.Sort(out)
	return out
}

// token: a node gets tokens for its pods alone, each bound to the pod.
func (r *restriction) token() error {
	if r.Operation != Create || r.Subresource != "token" {
		return nil
	}
	request, ok := r.Object.(*authenticationv1.TokenRequest)
	if !ok {
		return r.refuse("unexpected type %T", r.Object)
	}
	ref := request.Spec.BoundObjectRef
	if ref == nil || ref.APIVersion != "v1" || ref.Kind != "Pod" || ref.Name == "" {
		return r.refuse("node requested token not bound to a pod")
	}
	if ref.UID == "" {
		return r.refuse("node requested token with a pod binding without a uid")
	}
	pod, err := r.getPod(ref.Name)
	if err != nil {
		return err
	}
	if ref.UID != pod.UID {
		return r.refuse("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID)
	}
	if pod.Spec.NodeName != r.node {
		return r.refuse("node requested token bound to a pod scheduled on a different node")
	}
	return r.audience(request.Spec.Audiences, pod)
}

// audience: of the audiences in the world a node may ask for those that the pod's volumes name.
func (r *restriction) audience(audiences []string, pod *corev1.Pod) error {
	want := ""
	switch len(audiences) {
	case 0:
	case 1:
		want = audiences[0]
	default:
		return r.refuse("node may only request 0 or 1 audiences")
	}
	for i := range pod.Spec.Volumes {
		if r.volumeNames(pod, &pod.Spec.Volumes[i], want) {
			return nil
		}
	}
	decision, _, err := r.o.Authz.Decide(r.ctx, kinds.Access{User: *r.User, Verb: "request-serviceaccounts-token-audience", Version: "v1",
		Resource: want, Namespace: r.Namespace, Name: r.Name})
	if decision == kinds.Allow {
		return nil
	}
	if err != nil {
		return r.refuse("error authorizing %s to request tokens for audience %q: %w", r.User.Name, want, err)
	}
	return r.refuse("%s is not authorized to request tokens for audience %q", r.User.Name, want)
}

// volumeNames says whether a volume needs a token for an audience: a projected one directly, a CSI one because its
// driver does.
func (r *restriction) volumeNames(pod *corev1.Pod, v *corev1.Volume, audience string) bool {
	driver := ""
	switch {
	case v.Projected != nil:
		return slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool {
			return s.ServiceAccountToken != nil && s.ServiceAccountToken.Audience == audience
		})
	case v.CSI != nil:
		driver = v.CSI.Driver
	case v.Ephemeral != nil:
		driver = r.claimDriver(pod.Name + "-" + v.Name)
	case v.PersistentVolumeClaim != nil:
		driver = r.claimDriver(v.PersistentVolumeClaim.ClaimName)
	}
	if driver == "" {
		return false
	}
	obj, err := r.o.get(r.ctx, schema.GroupResource{Group: storagev1.GroupName, Resource: "csidrivers"}, "", driver)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(obj.(*storagev1.CSIDriver).Spec.TokenRequests, func(t storagev1.TokenRequest) bool { return t.Audience == audience })
}

func (r *restriction) claimDriver(name string) string {
	claim, err := r.o.get(r.ctx, core("persistentvolumeclaims"), r.Namespace, name)
	if err != nil {
		return ""
	}
	pv, err := r.o.get(r.ctx, core("persistentvolumes"), "", claim.(*corev1.PersistentVolumeClaim).Spec.VolumeName)
	if err != nil || pv.(*corev1.PersistentVolume).Spec.CSI == nil {
		return ""
	}
	return pv.(*corev1.PersistentVolume).Spec.CSI.Driver
}

func (r *restriction) podCertificate() error {
	if r.Operation != Create {
		return r.refuse("unexpected operation %v", r.Operation)
	}
	if r.Subresource != "" {
		return r.refuse("unexpected subresource %v", r.Subresource)
	}
	spec := &r.Object.(*certificatesv1.PodCertificateRequest).Spec
	if string(spec.NodeName) != r.node {
		return r.refuse("PodCertificateRequest.Spec.NodeName=%q, which is not the requesting node %q", spec.NodeName, r.node)
	}
	node, err := r.o.get(r.ctx, core("nodes"), "", r.node)
	if err != nil {
		return inconsistent("while retrieving node %q named in the PodCertificateRequest: %v", spec.NodeName, err)
	}
	where := r.Namespace + "/" + spec.PodName
	if uid := node.(*corev1.Node).UID; uid != spec.NodeUID {
		return inconsistent("PodCertificateRequest for pod %q names node UID %q, inconsistent with the running node (%q)", where, spec.NodeUID, uid)
	}
	pod, err := r.getPod(spec.PodName)
	if err != nil {
		return inconsistent("while retrieving pod %q named in the PodCertificateRequest: %v", where, err)
	}
	switch {
	case pod.UID != spec.PodUID:
		return inconsistent("PodCertificateRequest for pod %q contains pod UID (%q) which differs from running pod %q", where, spec.PodUID, pod.UID)
	case pod.Spec.NodeName != r.node:
		return r.refuse("pod %q is not running on node %q named in the PodCertificateRequest", where, spec.NodeName)
	case isMirror(pod):
		return r.refuse("pod %q is a mirror pod", where)
	case pod.Spec.ServiceAccountName != spec.ServiceAccountName:
		return r.refuse("PodCertificateRequest for pod %q contains serviceAccountName (%q) that differs from running pod (%q)", where, spec.ServiceAccountName, pod.Spec.ServiceAccountName)
	}
	account, err := r.o.get(r.ctx, core("serviceaccounts"), r.Namespace, spec.ServiceAccountName)
	if err != nil {
		return inconsistent("while retrieving service account %q named in the PodCertificateRequest: %v", r.Namespace+"/"+spec.ServiceAccountName, err)
	}
	if uid := account.(*corev1.ServiceAccount).UID; uid != spec.ServiceAccountUID {
		return inconsistent("PodCertificateRequest for pod %q names service account UID %q, which differs from the running service account (%q)", where, spec.ServiceAccountUID, uid)
	}
	return r.signerOf(pod, spec)
}

// inconsistent is no refusal for ever: the node may know of something that this server will know in a moment.
func inconsistent(format string, args ...any) error {
	return apierrors.NewInternalError(fmt.Errorf(format, args...))
}

func (r *restriction) signerOf(pod *corev1.Pod, spec *certificatesv1.PodCertificateRequestSpec) error {
	for _, v := range pod.Spec.Volumes {
		if v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool {
			return s.PodCertificate != nil && s.PodCertificate.SignerName == spec.SignerName
		}) {
			return nil
		}
	}
	decision, _, err := r.o.Authz.Decide(r.ctx, kinds.Access{User: *r.User, Verb: "request-serviceaccounts-podcertificate-signer", Group: certificatesGroup, Version: "v1",
		Resource: strings.ReplaceAll(spec.SignerName, "/", ":"), Namespace: r.Namespace, Name: spec.ServiceAccountName})
	if decision == kinds.Allow {
		return nil
	}
	if err != nil {
		return r.refuse("error authorizing %s to request podcertificaterequests for signer %q: %w", r.User.Name, spec.SignerName, err)
	}
	return r.refuse("pod %q does not mount a podCertificate projected volume for signer %q", r.Namespace+"/"+spec.PodName, spec.SignerName)
}

func (r *restriction) csr() error {
	if r.Operation != Create || r.Subresource != "" {
		return nil
	}
	spec := r.Object.(*certificatesv1.CertificateSigningRequest).Spec
	if spec.SignerName != certificatesv1.KubeletServingSignerName && spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName {
		return nil
	}
	request, err := parseCSR(spec.Request)
	if err != nil {
		return r.refuse("unable to parse csr: %w", err)
	}
	if request.Subject.CommonName != "system:node:"+r.node {
		return r.refuse("can only create a node CSR with CN=system:node:%s", r.node)
	}
	return nil
}

func (r *restriction) name() string {
	if r.Operation == Create {
		if m, ok := r.Object.(kinds.Object); ok {
			return m.GetName()
		}
	}
	return r.Name
}

func (r *restriction) lease() error {
	if r.Namespace != corev1.NamespaceNodeLease {
		return r.refuse("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	}
	if r.name() != r.node {
		return r.refuse("can only access node lease with the same name as the requesting node")
	}
	return nil
}

func (r *restriction) csiNode() error {
	if r.name() != r.node {
		return r.refuse("can only access CSINode with the same name as the requesting node")
	}
	return nil
}

func (r *restriction) slice() error {
	of := func(obj any) bool {
		s, _ := obj.(*resourcev1.ResourceSlice)
		return s != nil && s.Spec.NodeName != nil && *s.Spec.NodeName == r.node
	}
	switch {
	case r.Operation == Create && !of(r.Object):
		return r.refuse("can only create ResourceSlice with the same NodeName as the requesting node")
	case r.Operation == Delete && !of(r.Old):
		return r.refuse("can only delete ResourceSlice with the same NodeName as the requesting node")
	}
	return nil
}
