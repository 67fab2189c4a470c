package controllermanager

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	tokencleaning "github.com/skiff-project/skiff/controller-manager/bootstraptokens/cleaning"
	tokensigning "github.com/skiff-project/skiff/controller-manager/bootstraptokens/signing"
	"github.com/skiff-project/skiff/controller-manager/certificates/approving"
	"github.com/skiff-project/skiff/controller-manager/certificates/cleaning"
	"github.com/skiff-project/skiff/controller-manager/certificates/signing"
	"github.com/skiff-project/skiff/controller-manager/clusterroleaggregation"
	"github.com/skiff-project/skiff/controller-manager/control"
	"github.com/skiff-project/skiff/controller-manager/cronjob"
	"github.com/skiff-project/skiff/controller-manager/daemonset"
	"github.com/skiff-project/skiff/controller-manager/deployment"
	"github.com/skiff-project/skiff/controller-manager/disruption"
	"github.com/skiff-project/skiff/controller-manager/endpoints"
	"github.com/skiff-project/skiff/controller-manager/endpointslice"
	"github.com/skiff-project/skiff/controller-manager/endpointslicemirroring"
	"github.com/skiff-project/skiff/controller-manager/ephemeralvolume"
	"github.com/skiff-project/skiff/controller-manager/garbagecollector"
	"github.com/skiff-project/skiff/controller-manager/job"
	"github.com/skiff-project/skiff/controller-manager/namespace"
	"github.com/skiff-project/skiff/controller-manager/nodeipam"
	"github.com/skiff-project/skiff/controller-manager/nodelifecycle"
	"github.com/skiff-project/skiff/controller-manager/podgc"
	"github.com/skiff-project/skiff/controller-manager/pvbinder"
	"github.com/skiff-project/skiff/controller-manager/pvcprotection"
	"github.com/skiff-project/skiff/controller-manager/pvprotection"
	"github.com/skiff-project/skiff/controller-manager/replicaset"
	"github.com/skiff-project/skiff/controller-manager/replication"
	"github.com/skiff-project/skiff/controller-manager/resourcequota"
	"github.com/skiff-project/skiff/controller-manager/rootca"
	"github.com/skiff-project/skiff/controller-manager/serviceaccount"
	"github.com/skiff-project/skiff/controller-manager/serviceaccounttokens"
	"github.com/skiff-project/skiff/controller-manager/servicecidrs"
	"github.com/skiff-project/skiff/controller-manager/statefulset"
	"github.com/skiff-project/skiff/controller-manager/storageversionmigrator"
	"github.com/skiff-project/skiff/controller-manager/tainteviction"
	"github.com/skiff-project/skiff/controller-manager/ttl"
	"github.com/skiff-project/skiff/controller-manager/ttlafterfinished"
	"github.com/skiff-project/skiff/controller-manager/vacprotection"
	"github.com/skiff-project/skiff/pkg/certs"
)

// controller is what this package needs of one.
type controller interface {
	Run(ctx context.Context) error
}

// entry is one controller of the list. The names are upstream's, for --controllers.
type entry struct {
	name string
	new  func(env control.Env, c Config) (controller, error)
}

// errNotConfigured says that a controller lacks something that it cannot work without, such as the key to sign with.
var errNotConfigured = errors.New("not configured")

// all controllers, in the order in which they start: first what a new cluster waits for.
var all = []entry{
	plain("serviceaccount-controller", serviceaccount.New),
	{"root-ca-certificate-publisher-controller", newRootCA},
	plain("deployment-controller", deployment.New),
	plain("replicaset-controller", replicaset.New),
	plain("replicationcontroller-controller", replication.New),
	plain("daemonset-controller", daemonset.New),
	plain("statefulset-controller", statefulset.New),
	plain("job-controller", job.New),
	plain("cronjob-controller", cronjob.New),
	plain("disruption-controller", disruption.New),
	{"resourcequota-controller", newResourceQuota},
	plain("endpoints-controller", endpoints.New),
	plain("endpointslice-controller", endpointslice.New),
	plain("endpointslice-mirroring-controller", endpointslicemirroring.New),
	{"node-ipam-controller", newNodeIPAM},
	{"node-lifecycle-controller", newNodeLifecycle},
	plain("taint-eviction-controller", tainteviction.New),
	plain("certificatesigningrequest-approving-controller", approving.New),
	{"certificatesigningrequest-signing-controller", newSigning},
	plain("certificatesigningrequest-cleaner-controller", cleaning.New),
	{"pod-garbage-collector-controller", newPodGC},
	plain("clusterrole-aggregation-controller", clusterroleaggregation.New),
	plain("ttl-after-finished-controller", ttlafterfinished.New),
	plain("bootstrap-signer-controller", tokensigning.New),
	plain("token-cleaner-controller", tokencleaning.New),
	plain("service-cidr-controller", servicecidrs.New),
	plain("persistentvolume-binder-controller", pvbinder.New),
	plain("ephemeral-volume-controller", ephemeralvolume.New),
	{"serviceaccount-token-controller", newServiceAccountTokens},
	plain("ttl-controller", ttl.New),
	plain("storage-version-migrator-controller", storageversionmigrator.New),
	plain("persistentvolumeclaim-protection-controller", pvcprotection.New),
	plain("persistentvolume-protection-controller", pvprotection.New),
	plain("volumeattributesclass-protection-controller", vacprotection.New),
	plain("namespace-controller", namespace.New),
	{"garbage-collector-controller", newGarbageCollector},
}

func newRootCA(env control.Env, c Config) (controller, error) {
	if c.RootCA == "" {
		return nil, fmt.Errorf("%w: --root-ca-file is not set", errNotConfigured)
	}
	authority, err := os.ReadFile(c.RootCA)
	if err != nil {
		return nil, fmt.Errorf("--root-ca-file: %w", err)
	}
	return rootca.New(env, authority), nil
}

func newServiceAccountTokens(env control.Env, c Config) (controller, error) {
	if c.ServiceAccountKey == "" {
		return nil, fmt.Errorf("%w: --service-account-private-key-file is not set", errNotConfigured)
	}
	text, err := os.ReadFile(c.ServiceAccountKey)
	if err != nil {
		return nil, fmt.Errorf("--service-account-private-key-file: %w", err)
	}
	key, err := certs.ParseKey(text)
	if err != nil {
		return nil, fmt.Errorf("--service-account-private-key-file: %w", err)
	}
	config := serviceaccounttokens.Config{Key: key}
	if c.RootCA != "" {
		if config.RootCA, err = os.ReadFile(c.RootCA); err != nil {
			return nil, fmt.Errorf("--root-ca-file: %w", err)
		}
	}
	return serviceaccounttokens.New(env, config), nil
}

func newNodeIPAM(env control.Env, c Config) (controller, error) {
	if !c.AllocateNodeCIDRs {
		return nil, fmt.Errorf("%w: --allocate-node-cidrs is off", errNotConfigured)
	}
	return nodeipam.New(env, nodeipam.Config{
		ClusterCIDRs: c.ClusterCIDR, ServiceCIDRs: c.ServiceCIDR, MaskV4: c.NodeCIDRMaskSize, MaskV6: c.NodeCIDRMaskSizeV6,
	})
}

func newNodeLifecycle(env control.Env, c Config) (controller, error) {
	return nodelifecycle.New(env, nodelifecycle.Config{
		Grace: c.NodeGracePeriod, StartupGrace: c.NodeStartupGracePeriod,
		EvictionRate: c.NodeEvictionRate, SecondRate: c.SecondEvictionRate, Unhealthy: c.UnhealthyZone, Large: c.LargeCluster,
	}), nil
}

func newSigning(env control.Env, c Config) (controller, error) {
	if c.SigningCert == "" || c.SigningKey == "" {
		return nil, fmt.Errorf("%w: --cluster-signing-cert-file or --cluster-signing-key-file is not set", errNotConfigured)
	}
	return signing.New(env, signing.Config{CertFile: c.SigningCert, KeyFile: c.SigningKey, Duration: c.SigningDuration})
}

func newPodGC(env control.Env, c Config) (controller, error) {
	return podgc.New(env, c.TerminatedPods), nil
}

// newResourceQuota lets the quotas hear of all objects that go.
func newResourceQuota(env control.Env, _ Config) (controller, error) {
	c := resourcequota.New(env)
	env.Gone.Listen(c.Gone)
	return c, nil
}

// newGarbageCollector hands over the informers that other controllers have anyway.
func newGarbageCollector(env control.Env, _ Config) (controller, error) {
	core, apps := env.Informers.Core().V1(), env.Informers.Apps().V1()
	return garbagecollector.New(env, map[schema.GroupVersionResource]garbagecollector.Shared{
		corev1.SchemeGroupVersion.WithResource("pods"):                               {Kind: "Pod", Informer: core.Pods().Informer()},
		corev1.SchemeGroupVersion.WithResource("services"):                           {Kind: "Service", Informer: core.Services().Informer()},
		corev1.SchemeGroupVersion.WithResource("endpoints"):                          {Kind: "Endpoints", Informer: core.Endpoints().Informer()},
		corev1.SchemeGroupVersion.WithResource("namespaces"):                         {Kind: "Namespace", Informer: core.Namespaces().Informer()},
		corev1.SchemeGroupVersion.WithResource("nodes"):                              {Kind: "Node", Informer: core.Nodes().Informer()},
		corev1.SchemeGroupVersion.WithResource("serviceaccounts"):                    {Kind: "ServiceAccount", Informer: core.ServiceAccounts().Informer()},
		certificatesv1.SchemeGroupVersion.WithResource("certificatesigningrequests"): {Kind: "CertificateSigningRequest", Informer: env.Informers.Certificates().V1().CertificateSigningRequests().Informer()},
		corev1.SchemeGroupVersion.WithResource("replicationcontrollers"):             {Kind: "ReplicationController", Informer: core.ReplicationControllers().Informer()},
		corev1.SchemeGroupVersion.WithResource("persistentvolumeclaims"):             {Kind: "PersistentVolumeClaim", Informer: core.PersistentVolumeClaims().Informer()},
		corev1.SchemeGroupVersion.WithResource("persistentvolumes"):                  {Kind: "PersistentVolume", Informer: core.PersistentVolumes().Informer()},
		storagev1.SchemeGroupVersion.WithResource("storageclasses"):                  {Kind: "StorageClass", Informer: env.Informers.Storage().V1().StorageClasses().Informer()},
		storagev1.SchemeGroupVersion.WithResource("volumeattributesclasses"):         {Kind: "VolumeAttributesClass", Informer: env.Informers.Storage().V1().VolumeAttributesClasses().Informer()},
		batchv1.SchemeGroupVersion.WithResource("jobs"):                              {Kind: "Job", Informer: env.Informers.Batch().V1().Jobs().Informer()},
		rbacv1.SchemeGroupVersion.WithResource("clusterroles"):                       {Kind: "ClusterRole", Informer: env.Informers.Rbac().V1().ClusterRoles().Informer()},
		networkingv1.SchemeGroupVersion.WithResource("servicecidrs"):                 {Kind: "ServiceCIDR", Informer: env.Informers.Networking().V1().ServiceCIDRs().Informer()},
		networkingv1.SchemeGroupVersion.WithResource("ipaddresses"):                  {Kind: "IPAddress", Informer: env.Informers.Networking().V1().IPAddresses().Informer()},
		appsv1.SchemeGroupVersion.WithResource("deployments"):                        {Kind: "Deployment", Informer: apps.Deployments().Informer()},
		appsv1.SchemeGroupVersion.WithResource("replicasets"):                        {Kind: "ReplicaSet", Informer: apps.ReplicaSets().Informer()},
		appsv1.SchemeGroupVersion.WithResource("daemonsets"):                         {Kind: "DaemonSet", Informer: apps.DaemonSets().Informer()},
		appsv1.SchemeGroupVersion.WithResource("statefulsets"):                       {Kind: "StatefulSet", Informer: apps.StatefulSets().Informer()},
		appsv1.SchemeGroupVersion.WithResource("controllerrevisions"):                {Kind: "ControllerRevision", Informer: apps.ControllerRevisions().Informer()},
		corev1.SchemeGroupVersion.WithResource("resourcequotas"):                     {Kind: "ResourceQuota", Informer: core.ResourceQuotas().Informer()},
		batchv1.SchemeGroupVersion.WithResource("cronjobs"):                          {Kind: "CronJob", Informer: env.Informers.Batch().V1().CronJobs().Informer()},
		policyv1.SchemeGroupVersion.WithResource("poddisruptionbudgets"):             {Kind: "PodDisruptionBudget", Informer: env.Informers.Policy().V1().PodDisruptionBudgets().Informer()},
		discoveryv1.SchemeGroupVersion.WithResource("endpointslices"):                {Kind: "EndpointSlice", Informer: env.Informers.Discovery().V1().EndpointSlices().Informer()},
	}, env.Gone.Tell), nil
}

// plain is an entry for a controller that needs no configuration.
func plain[C controller](name string, new func(control.Env) C) entry {
	return entry{name, func(env control.Env, _ Config) (controller, error) { return new(env), nil }}
}

// selected reads --controllers.
func selected(list []string, all []entry) (map[string]bool, error) {
	known := func(name string) bool { return slices.ContainsFunc(all, func(e entry) bool { return e.name == name }) }
	on := map[string]bool{}
	if slices.Contains(list, "*") {
		for _, e := range all {
			on[e.name] = true
		}
	}
	for _, item := range list {
		name := strings.TrimPrefix(item, "-")
		switch {
		case item == "*":
		case !known(name):
			return nil, fmt.Errorf("--controllers: there is no controller %q", name)
		default:
			on[name] = name == item
		}
	}
	return on, nil
}
