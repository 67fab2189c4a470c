package podspec

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Containers calls visit for every container of a spec, init and ephemeral ones included, with its path below at.
// Ephemeral containers are shown as the containers that they nearly are.
func Containers(spec *corev1.PodSpec, at *field.Path, visit func(c *corev1.Container, at *field.Path)) {
	for i := range spec.InitContainers {
		visit(&spec.InitContainers[i], index(child(at, "initContainers"), i))
	}
	for i := range spec.Containers {
		visit(&spec.Containers[i], index(child(at, "containers"), i))
	}
	for i := range spec.EphemeralContainers {
		visit((*corev1.Container)(&spec.EphemeralContainers[i].EphemeralContainerCommon), index(child(at, "ephemeralContainers"), i))
	}
}

// restartable says whether an init container is a sidecar: one that runs beside the app.
func restartable(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}
