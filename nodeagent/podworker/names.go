package podworker

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// Labels and annotations of sandboxes and containers. The first ones are the kubelet's, so that crictl and log collectors know them.
const (
	labelPodName       = "io.kubernetes.pod.name"
	labelPodNamespace  = "io.kubernetes.pod.namespace"
	labelPodUID        = "io.kubernetes.pod.uid"
	labelContainerName = "io.kubernetes.container.name"

	annotationHash           = "io.kubernetes.container.hash"
	annotationRestartCount   = "io.kubernetes.container.restartCount"
	annotationMessagePath    = "io.kubernetes.container.terminationMessagePath"
	annotationMessagePolicy  = "io.kubernetes.container.terminationMessagePolicy"
	annotationGrace          = "io.kubernetes.pod.terminationGracePeriod"
	annotationPreStopHandler = "io.kubernetes.container.preStopHandler"
	annotationPorts          = "io.kubernetes.container.ports"

	annotationMessageFile = "skiff.io/termination-message-file"
	annotationBackoff     = "skiff.io/restart-back-off"
)

func podLabels(pod *corev1.Pod) map[string]string {
	labels := make(map[string]string, len(pod.Labels)+3)
	for k, v := range pod.Labels {
		labels[k] = v
	}
	labels[labelPodName], labels[labelPodNamespace], labels[labelPodUID] = pod.Name, pod.Namespace, string(pod.UID)
	return labels
}

func containerLabels(pod *corev1.Pod, c *corev1.Container) map[string]string {
	return map[string]string{labelPodName: pod.Name, labelPodNamespace: pod.Namespace, labelPodUID: string(pod.UID), labelContainerName: c.Name}
}

func containerAnnotations(pod *corev1.Pod, c *corev1.Container, attempt uint32, messageFile string, delay time.Duration) map[string]string {
	a := map[string]string{
		annotationHash:          hash(c),
		annotationRestartCount:  strconv.Itoa(int(attempt)),
		annotationMessagePath:   c.TerminationMessagePath,
		annotationMessagePolicy: string(c.TerminationMessagePolicy),
		annotationMessageFile:   messageFile,
		annotationBackoff:       delay.String(),
	}
	if g := pod.Spec.TerminationGracePeriodSeconds; g != nil {
		a[annotationGrace] = strconv.FormatInt(*g, 10)
	}
	if c.Lifecycle != nil && c.Lifecycle.PreStop != nil {
		if raw, err := json.Marshal(c.Lifecycle.PreStop); err == nil {
			a[annotationPreStopHandler] = string(raw)
		}
	}
	if len(c.Ports) > 0 {
		if raw, err := json.Marshal(c.Ports); err == nil {
			a[annotationPorts] = string(raw)
		}
	}
	return a
}

// hash stands for what of a container's definition may change in a running pod and makes a new container necessary.
func hash(c *corev1.Container) string {
	h := fnv.New32a()
	fmt.Fprintf(h, "%q %q", c.Name, c.Image)
	return strconv.FormatUint(uint64(h.Sum32()), 16)
}

func definitionChanged(c *corev1.Container, s *runtime.ContainerStatus) bool {
	made, ok := s.Annotations[annotationHash]
	return ok && made != hash(c)
}

// restored is what is left of a pod in its containers, for ending one whose object is gone: enough for hooks and grace.
func restored(pod runtime.Pod, containers []runtime.ContainerStatus) *corev1.Pod {
	p := &corev1.Pod{}
	p.Name, p.Namespace, p.UID = pod.Name, pod.Namespace, types.UID(pod.UID)
	seen := map[string]bool{}
	for _, s := range containers {
		if g, err := strconv.ParseInt(s.Annotations[annotationGrace], 10, 64); err == nil {
			p.Spec.TerminationGracePeriodSeconds = &g
		}
		if seen[s.Name] {
			continue
		}
		seen[s.Name] = true
		c := corev1.Container{Name: s.Name, Image: s.Image, TerminationMessagePath: s.Annotations[annotationMessagePath],
			TerminationMessagePolicy: corev1.TerminationMessagePolicy(s.Annotations[annotationMessagePolicy])}
		if raw := s.Annotations[annotationPreStopHandler]; raw != "" {
			c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{}}
			if json.Unmarshal([]byte(raw), c.Lifecycle.PreStop) != nil {
				c.Lifecycle = nil
			}
		}
		if raw := s.Annotations[annotationPorts]; raw != "" {
			_ = json.Unmarshal([]byte(raw), &c.Ports)
		}
		p.Spec.Containers = append(p.Spec.Containers, c)
	}
	return p
}

// fullName is how messages name a pod: NAME_NAMESPACE(UID).
func fullName(pod *corev1.Pod) string {
	return fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID)
}
