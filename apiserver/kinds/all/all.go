// Package all is the list of all built-in kinds. Nothing registers itself: a kind that is not here is not served.
package all

import (
	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/admissionregistration"
	"github.com/skiff-project/skiff/apiserver/kinds/apiextensions"
	"github.com/skiff-project/skiff/apiserver/kinds/apiregistration"
	"github.com/skiff-project/skiff/apiserver/kinds/apps"
	"github.com/skiff-project/skiff/apiserver/kinds/authentication"
	"github.com/skiff-project/skiff/apiserver/kinds/authorization"
	"github.com/skiff-project/skiff/apiserver/kinds/autoscaling"
	"github.com/skiff-project/skiff/apiserver/kinds/batch"
	"github.com/skiff-project/skiff/apiserver/kinds/certificates"
	"github.com/skiff-project/skiff/apiserver/kinds/coordination"
	"github.com/skiff-project/skiff/apiserver/kinds/core"
	"github.com/skiff-project/skiff/apiserver/kinds/discovery"
	"github.com/skiff-project/skiff/apiserver/kinds/flowcontrol"
	"github.com/skiff-project/skiff/apiserver/kinds/networking"
	"github.com/skiff-project/skiff/apiserver/kinds/node"
	"github.com/skiff-project/skiff/apiserver/kinds/policy"
	"github.com/skiff-project/skiff/apiserver/kinds/rbac"
	"github.com/skiff-project/skiff/apiserver/kinds/resource"
	"github.com/skiff-project/skiff/apiserver/kinds/scheduling"
	"github.com/skiff-project/skiff/apiserver/kinds/storage"
	"github.com/skiff-project/skiff/apiserver/kinds/storagemigration"
)

// All lists every kind once, the groups in the order of upstream's discovery.
var All = []*kinds.Kind{
	core.Binding, core.ComponentStatus, core.ConfigMap, core.Endpoints, core.Event, core.LimitRange, core.Namespace, core.Node,
	core.PersistentVolumeClaim, core.PersistentVolume, core.Pod, core.PodTemplate, core.RangeAllocation, core.ReplicationController,
	core.ResourceQuota, core.Secret, core.ServiceAccount, core.Service,
	apiregistration.APIService,
	apps.ControllerRevision, apps.DaemonSet, apps.Deployment, apps.ReplicaSet, apps.StatefulSet,
	authentication.SelfSubjectReview, authentication.TokenReview,
	authorization.LocalSubjectAccessReview, authorization.SelfSubjectAccessReview, authorization.SelfSubjectRulesReview,
	authorization.SubjectAccessReview,
	autoscaling.HorizontalPodAutoscaler,
	batch.CronJob, batch.Job,
	certificates.CertificateSigningRequest, certificates.ClusterTrustBundle, certificates.PodCertificateRequest,
	networking.IngressClass, networking.Ingress, networking.IPAddress, networking.NetworkPolicy, networking.ServiceCIDR,
	policy.PodDisruptionBudget,
	rbac.ClusterRoleBinding, rbac.ClusterRole, rbac.RoleBinding, rbac.Role,
	storage.CSIDriver, storage.CSINode, storage.CSIStorageCapacity, storage.StorageClass, storage.VolumeAttachment,
	storage.VolumeAttributesClass,
	admissionregistration.MutatingAdmissionPolicy, admissionregistration.MutatingAdmissionPolicyBinding,
	admissionregistration.MutatingWebhookConfiguration, admissionregistration.ValidatingAdmissionPolicy,
	admissionregistration.ValidatingAdmissionPolicyBinding, admissionregistration.ValidatingWebhookConfiguration,
	apiextensions.CustomResourceDefinition,
	scheduling.PriorityClass,
	coordination.Lease,
	node.RuntimeClass,
	discovery.EndpointSlice,
	resource.DeviceClass, resource.DeviceTaintRule, resource.ResourceClaim, resource.ResourceClaimTemplate, resource.ResourceSlice,
	flowcontrol.FlowSchema, flowcontrol.PriorityLevelConfiguration,
	storagemigration.StorageVersionMigration,
}
