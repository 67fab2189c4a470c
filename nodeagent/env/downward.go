package env

import (
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Field is the value of a downward API field of pod. hostIPs and podIPs are those known now, which may be newer than
// the pod's status.
func Field(pod *corev1.Pod, path string, hostIPs, podIPs []string) (string, error) {
	if open := strings.Index(path, "['"); open > 0 && strings.HasSuffix(path, "']") {
		return subscripted(pod, path[:open], path[open+2:len(path)-2], path)
	}
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "metadata.labels":
		return formatMap(pod.Labels), nil
	case "metadata.annotations":
		return formatMap(pod.Annotations), nil
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP":
		return first(hostIPs), nil
	case "status.hostIPs":
		return strings.Join(hostIPs, ","), nil
	case "status.podIP":
		return first(podIPs), nil
	case "status.podIPs":
		return strings.Join(podIPs, ","), nil
	}
	return "", fmt.Errorf("unsupported fieldPath: %v", path)
}

func subscripted(pod *corev1.Pod, field, key, path string) (string, error) {
	values, name := pod.Labels, key
	switch field {
	case "metadata.labels":
	case "metadata.annotations":
		values, name = pod.Annotations, strings.ToLower(key)
	default:
		return "", fmt.Errorf("fieldPath %q does not support subscript", path)
	}
	if errs := validation.IsQualifiedName(name); len(errs) != 0 {
		return "", fmt.Errorf("invalid key subscript in %s: %s", path, strings.Join(errs, ";"))
	}
	return values[key], nil
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// formatMap is the form in which labels and annotations appear in files: sorted lines of key="quoted value".
func formatMap(m map[string]string) string {
	lines := make([]string, 0, len(m))
	for k, v := range m {
		lines = append(lines, k+"="+strconv.Quote(v))
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

// Resource is the value of a container's request or limit in units of the selector's divisor. A limit, and a request, that
// is not set is what the node can give.
func Resource(pod *corev1.Pod, own *corev1.Container, sel *corev1.ResourceFieldSelector, allocatable corev1.ResourceList) (string, error) {
	container := own
	if sel.ContainerName != "" {
		if container = containerNamed(pod, sel.ContainerName); container == nil {
			return "", fmt.Errorf("container %s not found", sel.ContainerName)
		}
	}
	if container == nil {
		return "", fmt.Errorf("container %s not found", sel.ContainerName)
	}
	divisor := sel.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	kind, name, _ := strings.Cut(sel.Resource, ".")
	rname := corev1.ResourceName(name)
	hugepages := strings.HasPrefix(name, corev1.ResourceHugePagesPrefix)
	switch rname {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
	default:
		if !hugepages {
			return "", fmt.Errorf("unsupported container resource : %v", sel.Resource)
		}
	}
	var value resource.Quantity
	switch kind {
	case "limits":
		value = container.Resources.Limits[rname]
		if _, set := container.Resources.Limits[rname]; (!set || value.IsZero()) && !hugepages {
			value = podLimitOr(pod, rname, allocatable)
		}
	case "requests":
		value = container.Resources.Requests[rname]
	default:
		return "", fmt.Errorf("unsupported container resource : %v", sel.Resource)
	}
	return inUnits(rname, value, divisor), nil
}

// podLimitOr is what bounds a container without a limit of its own: the pod's limit, or the node.
func podLimitOr(pod *corev1.Pod, name corev1.ResourceName, allocatable corev1.ResourceList) resource.Quantity {
	if pod.Spec.Resources != nil {
		if v, ok := pod.Spec.Resources.Limits[name]; ok {
			return v
		}
	}
	return allocatable[name]
}

func inUnits(name corev1.ResourceName, value, divisor resource.Quantity) string {
	var n float64
	if name == corev1.ResourceCPU {
		n = float64(value.MilliValue()) / float64(divisor.MilliValue())
	} else {
		n = float64(value.Value()) / float64(divisor.Value())
	}
	return strconv.FormatInt(int64(math.Ceil(n)), 10)
}

func containerNamed(pod *corev1.Pod, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}
