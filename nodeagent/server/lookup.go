package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/gorilla/mux"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// refusal is an error with the status code that it is told by.
type refusal struct {
	code    int
	message string
}

func (r *refusal) Error() string { return r.message }

func notFound(format string, args ...any) error {
	return &refusal{http.StatusNotFound, fmt.Sprintf(format, args...)}
}

func badRequest(format string, args ...any) error {
	return &refusal{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// refuse answers with an error. The API server hands the text on to the user.
func refuse(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	var r *refusal
	var status apierrors.APIStatus
	switch {
	case errors.As(err, &r):
		code = r.code
	case errors.As(err, &status):
		code = int(status.Status().Code)
	case errors.Is(err, runtime.ErrNotFound):
		code = http.StatusNotFound
	}
	http.Error(w, err.Error(), code)
}

// pod that the path names. A static pod is asked for by its mirror's UID or not by UID at all.
func (s *Server) pod(r *http.Request) (*corev1.Pod, error) {
	vars := mux.Vars(r)
	pod, ok := s.config.Pods.Pod(vars["namespace"], vars["pod"])
	if !ok {
		return nil, notFound("pod does not exist")
	}
	if uid := vars["uid"]; uid != "" && uid != string(pod.UID) && pod.Annotations[corev1.MirrorPodAnnotationKey] == "" {
		return nil, notFound("pod does not exist")
	}
	return pod, nil
}

// containersOf lists what the runtime has of a pod's container, the newest first.
func (s *Server) containersOf(ctx context.Context, pod *corev1.Pod, name string) ([]runtime.ContainerStatus, error) {
	all, err := s.config.Runtime.Containers(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(c runtime.ContainerStatus) bool { return c.Pod.UID != string(pod.UID) || c.Name != name })
	slices.SortFunc(all, func(a, b runtime.ContainerStatus) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return all, nil
}

// container that runs, as exec and attach want it.
func (s *Server) container(r *http.Request) (runtime.ContainerStatus, error) {
	pod, err := s.pod(r)
	if err != nil {
		return runtime.ContainerStatus{}, err
	}
	name := mux.Vars(r)["container"]
	all, err := s.containersOf(r.Context(), pod, name)
	if err != nil {
		return runtime.ContainerStatus{}, err
	}
	if len(all) == 0 {
		return runtime.ContainerStatus{}, fmt.Errorf("container not found (%q)", name)
	}
	return all[0], nil
}

// sandbox of a pod that has its network.
func (s *Server) sandbox(ctx context.Context, pod *corev1.Pod) (runtime.Sandbox, error) {
	all, err := s.config.Runtime.Sandboxes(ctx)
	if err != nil {
		return runtime.Sandbox{}, err
	}
	for _, sb := range slices.Backward(all) {
		if sb.Pod.UID == string(pod.UID) && sb.State == runtime.SandboxReady {
			return sb, nil
		}
	}
	return runtime.Sandbox{}, notFound("not running: pod %s/%s has no sandbox", pod.Namespace, pod.Name)
}

func hasContainer(pod *corev1.Pod, name string) bool {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		if slices.ContainsFunc(list, func(c corev1.Container) bool { return c.Name == name }) {
			return true
		}
	}
	return slices.ContainsFunc(pod.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return c.Name == name })
}

func containerStatus(pod *corev1.Pod, name string) (corev1.ContainerStatus, bool) {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses} {
		for _, st := range list {
			if st.Name == name {
				return st, true
			}
		}
	}
	return corev1.ContainerStatus{}, false
}
