package server

import (
	"net/http"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	if s.config.Health != nil {
		if err := s.config.Health(r.Context()); err != nil {
			http.Error(w, "healthz check failed: "+err.Error(), http.StatusInternalServerError)
			return
		}
	}
	w.Write([]byte("ok"))
}

func (s *Server) pods(w http.ResponseWriter, _ *http.Request) {
	list := &corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: []corev1.Pod{}}
	for _, p := range s.config.Pods.Pods() {
		list.Items = append(list.Items, *p)
	}
	slices.SortFunc(list.Items, func(a, b corev1.Pod) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	writeJSON(w, list)
}

// runningPods is what the runtime has, whatever the API server thinks.
func (s *Server) runningPods(w http.ResponseWriter, r *http.Request) {
	all, err := s.config.Runtime.Containers(r.Context())
	if err != nil {
		refuse(w, err)
		return
	}
	byUID := map[string]*corev1.Pod{}
	var order []string
	for _, c := range all {
		if c.State != runtime.Running {
			continue
		}
		p := byUID[c.Pod.UID]
		if p == nil {
			p = &corev1.Pod{}
			p.Namespace, p.Name, p.UID = c.Pod.Namespace, c.Pod.Name, types.UID(c.Pod.UID)
			byUID[c.Pod.UID] = p
			order = append(order, c.Pod.UID)
		}
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: c.Name, Image: c.Image})
	}
	list := &corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: []corev1.Pod{}}
	for _, uid := range order {
		list.Items = append(list.Items, *byUID[uid])
	}
	writeJSON(w, list)
}

func (s *Server) configz(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, s.config.Configz)
}
