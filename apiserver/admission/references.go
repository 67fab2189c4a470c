package admission

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// references are the kinds of objects that a pod refers to.
type references struct {
	secrets, configMaps, tokens, claims, trustBundles, resourceClaims, podCertificates, csi, endpoints bool
}

// first is the plural of one of the kinds referred to, in the order in which upstream looks for them; empty for none.
func (r references) first(pod *corev1.Pod) string {
	for _, c := range []struct {
		is   bool
		name string
	}{
		{pod.Spec.ServiceAccountName != "", "serviceaccounts"}, {r.secrets, "secrets"}, {r.configMaps, "configmaps"},
		{r.resourceClaims, "resourceclaims"}, {r.csi, "csidrivers (via CSI volumes)"}, {r.endpoints, "endpoints (via glusterFS volumes)"},
		{r.claims, "persistentvolumeclaims"}, {r.tokens, "serviceaccounts (via projected volumes)"},
		{r.trustBundles, "clustertrustbundles"}, {r.podCertificates, "podcertificates"},
	} {
		if c.is {
			return c.name
		}
	}
	return ""
}

func refersTo(pod *corev1.Pod) references {
	var r references
	env := func(env []corev1.EnvVar, from []corev1.EnvFromSource) {
		for _, e := range env {
			if s := e.ValueFrom; s != nil {
				r.secrets = r.secrets || s.SecretKeyRef != nil
				r.configMaps = r.configMaps || s.ConfigMapKeyRef != nil
			}
		}
		for _, e := range from {
			r.secrets = r.secrets || e.SecretRef != nil
			r.configMaps = r.configMaps || e.ConfigMapRef != nil
		}
	}
	for i := range pod.Spec.InitContainers {
		env(pod.Spec.InitContainers[i].Env, pod.Spec.InitContainers[i].EnvFrom)
	}
	for i := range pod.Spec.Containers {
		env(pod.Spec.Containers[i].Env, pod.Spec.Containers[i].EnvFrom)
	}
	for i := range pod.Spec.EphemeralContainers {
		env(pod.Spec.EphemeralContainers[i].Env, pod.Spec.EphemeralContainers[i].EnvFrom)
	}
	r.secrets = r.secrets || len(pod.Spec.ImagePullSecrets) > 0
	r.resourceClaims = len(pod.Spec.ResourceClaims) > 0
	for i := range pod.Spec.Volumes {
		r.volume(&pod.Spec.Volumes[i])
	}
	return r
}

func (r *references) volume(v *corev1.Volume) {
	r.secrets = r.secrets || v.Secret != nil || v.AzureFile != nil ||
		v.CSI != nil && v.CSI.NodePublishSecretRef != nil || v.CephFS != nil && v.CephFS.SecretRef != nil ||
		v.Cinder != nil && v.Cinder.SecretRef != nil || v.FlexVolume != nil && v.FlexVolume.SecretRef != nil ||
		v.RBD != nil && v.RBD.SecretRef != nil || v.ScaleIO != nil && v.ScaleIO.SecretRef != nil ||
		v.ISCSI != nil && v.ISCSI.SecretRef != nil || v.StorageOS != nil && v.StorageOS.SecretRef != nil
	r.configMaps = r.configMaps || v.ConfigMap != nil
	r.claims = r.claims || v.PersistentVolumeClaim != nil || v.Ephemeral != nil
	r.csi = r.csi || v.CSI != nil
	r.endpoints = r.endpoints || v.Glusterfs != nil
	if v.Projected == nil {
		return
	}
	any := func(is func(corev1.VolumeProjection) bool) bool { return slices.ContainsFunc(v.Projected.Sources, is) }
	r.secrets = r.secrets || any(func(p corev1.VolumeProjection) bool { return p.Secret != nil })
	r.configMaps = r.configMaps || any(func(p corev1.VolumeProjection) bool { return p.ConfigMap != nil })
	r.tokens = r.tokens || any(func(p corev1.VolumeProjection) bool { return p.ServiceAccountToken != nil })
	r.trustBundles = r.trustBundles || any(func(p corev1.VolumeProjection) bool { return p.ClusterTrustBundle != nil })
	r.podCertificates = r.podCertificates || any(func(p corev1.VolumeProjection) bool { return p.PodCertificate != nil })
}
