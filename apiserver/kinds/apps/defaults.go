package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/fill"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
)

const (
	historyLimit     = 10
	progressDeadline = 600
)

func defaultDeployment(d *appsv1.Deployment) {
	fill.Nil(&d.Spec.Replicas, 1)
	fill.Empty(&d.Spec.Strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)
	if d.Spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		if d.Spec.Strategy.RollingUpdate == nil {
			d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{}
		}
		quarter := intstr.FromString("25%")
		fill.Nil(&d.Spec.Strategy.RollingUpdate.MaxUnavailable, quarter)
		fill.Nil(&d.Spec.Strategy.RollingUpdate.MaxSurge, quarter)
	}
	fill.Nil(&d.Spec.RevisionHistoryLimit, historyLimit)
	fill.Nil(&d.Spec.ProgressDeadlineSeconds, progressDeadline)
	podspec.Default(&d.Spec.Template.Spec)
}

func defaultReplicaSet(rs *appsv1.ReplicaSet) {
	fill.Nil(&rs.Spec.Replicas, 1)
	podspec.Default(&rs.Spec.Template.Spec)
}

func defaultStatefulSet(s *appsv1.StatefulSet) {
	spec := &s.Spec
	fill.Nil(&spec.Replicas, 1)
	fill.Nil(&spec.RevisionHistoryLimit, historyLimit)
	fill.Empty(&spec.PodManagementPolicy, appsv1.OrderedReadyPodManagement)
	strategy := &spec.UpdateStrategy
	if strategy.Type == "" {
		strategy.Type = appsv1.RollingUpdateStatefulSetStrategyType
		if strategy.RollingUpdate == nil {
			strategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{}
		}
	}
	if strategy.Type == appsv1.RollingUpdateStatefulSetStrategyType && strategy.RollingUpdate != nil {
		fill.Nil(&strategy.RollingUpdate.Partition, 0)
		fill.Nil(&strategy.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
	}
	if spec.PersistentVolumeClaimRetentionPolicy == nil {
		spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{}
	}
	fill.Empty(&spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	fill.Empty(&spec.PersistentVolumeClaimRetentionPolicy.WhenScaled, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	for i := range spec.VolumeClaimTemplates {
		claim := &spec.VolumeClaimTemplates[i]
		// Templates are whole objects, and named as such.
		fill.Empty(&claim.APIVersion, "v1")
		fill.Empty(&claim.Kind, "PersistentVolumeClaim")
		fill.Empty(&claim.Status.Phase, corev1.ClaimPending)
		podspec.DefaultClaimSpec(&claim.Spec)
	}
	podspec.Default(&spec.Template.Spec)
}

func defaultDaemonSet(d *appsv1.DaemonSet) {
	spec := &d.Spec
	fill.Nil(&spec.RevisionHistoryLimit, historyLimit)
	fill.Empty(&spec.UpdateStrategy.Type, appsv1.RollingUpdateDaemonSetStrategyType)
	if spec.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		if spec.UpdateStrategy.RollingUpdate == nil {
			spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{}
		}
		fill.Nil(&spec.UpdateStrategy.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
		fill.Nil(&spec.UpdateStrategy.RollingUpdate.MaxSurge, intstr.FromInt32(0))
	}
	podspec.Default(&spec.Template.Spec)
	if _, there := d.Annotations[templateGeneration]; !there {
		// Upstream keeps the number in a field and shows it here, as soon as an object is read.
		setGeneration(d, 0)
	}
}
