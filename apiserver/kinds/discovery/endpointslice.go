package discovery

import (
	"fmt"
	"strconv"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/show"
)

// EndpointSlice is a part of the addresses behind a Service.
var EndpointSlice = kinds.Define(kinds.Row[*discoveryv1.EndpointSlice]{
	Resource: "endpointslices", Scope: kinds.Namespaced, Generation: kinds.GenerationOwn,
	Default: defaultEndpointSlice,
	PrepareCreate: func(_ *kinds.Request, s *discoveryv1.EndpointSlice) {
		s.Generation = 1
		dropTopology(s, nil)
	},
	PrepareUpdate: func(_ *kinds.Request, s, old *discoveryv1.EndpointSlice) {
		// Labels count: they say which Service the slice is a part of.
		if !apiequality.Semantic.DeepEqual(content(s), content(old)) {
			s.Generation = old.Generation + 1
		}
		dropTopology(s, old)
	},
	Validate: validateNew, ValidateUpdate: validateUpdate, Warnings: warnings,
	Columns: []kinds.Column[*discoveryv1.EndpointSlice]{
		kinds.NameColumn[*discoveryv1.EndpointSlice](),
		{Name: "AddressType", Description: kinds.Doc(discoveryv1.EndpointSlice{}, "addressType"),
			Cell: func(s *discoveryv1.EndpointSlice) any { return string(s.AddressType) }},
		{Name: "Ports", Description: kinds.Doc(discoveryv1.EndpointSlice{}, "ports"),
			Cell: func(s *discoveryv1.EndpointSlice) any { return portsText(s.Ports) }},
		{Name: "Endpoints", Description: kinds.Doc(discoveryv1.EndpointSlice{}, "endpoints"),
			Cell: func(s *discoveryv1.EndpointSlice) any { return endpointsText(s.Endpoints) }},
		kinds.AgeColumn[*discoveryv1.EndpointSlice](),
	},
})

// content is all of a slice that its readers follow.
func content(s *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	c := *s
	c.TypeMeta, c.ObjectMeta = metav1.TypeMeta{}, metav1.ObjectMeta{Labels: s.Labels}
	return &c
}

// shown is how many ports or addresses a cell names before it counts the rest.
const shown = 3

func portsText(ports []discoveryv1.EndpointPort) string {
	var texts []string
	for _, p := range ports {
		switch {
		case len(texts) == shown:
		case p.Port != nil:
			texts = append(texts, strconv.Itoa(int(*p.Port)))
		default:
			texts = append(texts, show.Text(p.Name, "*"))
		}
	}
	return withRest(texts, len(ports))
}

func endpointsText(endpoints []discoveryv1.Endpoint) string {
	var texts []string
	total := 0
	for _, e := range endpoints {
		total += len(e.Addresses)
		for _, a := range e.Addresses {
			if len(texts) < shown {
				texts = append(texts, a)
			}
		}
	}
	return withRest(texts, total)
}

func withRest(texts []string, total int) string {
	text := strings.Join(texts, ",")
	if text == "" {
		text = "<unset>"
	}
	if total > len(texts) {
		text += fmt.Sprintf(" + %d more...", total-len(texts))
	}
	return text
}
