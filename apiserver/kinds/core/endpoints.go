package core

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// Endpoints are the addresses behind a Service, in one object; EndpointSlices are their successors.
var Endpoints = kinds.Define(kinds.Row[*corev1.Endpoints]{
	Resource: "endpoints", ShortNames: []string{"ep"}, Scope: kinds.Namespaced, EtcdPrefix: "services/endpoints",
	AllowCreateOnUpdate: true, Deprecated: "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
	Default:        defaultEndpoints,
	Validate:       validateNewEndpoints,
	ValidateUpdate: validateEndpointsUpdate,
	Warnings:       endpointsWarnings,
	Columns: []kinds.Column[*corev1.Endpoints]{
		kinds.NameColumn[*corev1.Endpoints](),
		{Name: "Endpoints", Description: kinds.Doc(corev1.Endpoints{}, "subsets"),
			Cell: func(e *corev1.Endpoints) any { return formatEndpoints(e) }},
		kinds.AgeColumn[*corev1.Endpoints](),
	},
})

// formatEndpoints shows the first three addresses with their ports and counts the rest.
func formatEndpoints(e *corev1.Endpoints) string {
	if len(e.Subsets) == 0 {
		return "<none>"
	}
	const most = 3
	var shown []string
	count := 0
	add := func(text string) {
		if len(shown) < most {
			shown = append(shown, text)
		}
		count++
	}
	for _, s := range e.Subsets {
		if len(s.Ports) == 0 {
			for _, a := range s.Addresses {
				add(a.IP)
			}
			continue
		}
		for _, p := range s.Ports {
			for _, a := range s.Addresses {
				add(net.JoinHostPort(a.IP, strconv.Itoa(int(p.Port))))
			}
		}
	}
	text := strings.Join(shown, ",")
	if count > most {
		text += fmt.Sprintf(" + %d more...", count-most)
	}
	return text
}
