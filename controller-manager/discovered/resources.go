package discovered

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// Resource is one kind of objects in the version that the server prefers.
type Resource struct {
	schema.GroupVersionResource
	Kind       string
	Namespaced bool
	Verbs      metav1.Verbs
}

// GroupKind names the kind in all its versions.
func (r Resource) GroupKind() schema.GroupKind { return schema.GroupKind{Group: r.Group, Kind: r.Kind} }

// Can says that the resource supports all of verbs.
func (r Resource) Can(verbs ...string) bool {
	for _, verb := range verbs {
		if !slices.Contains(r.Verbs, verb) {
			return false
		}
	}
	return true
}

// List asks the server. It may answer a part of the resources together with an error, when the server could not reach
// those of an aggregated API.
func List(client discovery.DiscoveryInterface) ([]Resource, error) {
	lists, err := client.ServerPreferredResources()
	var all []Resource
	for _, list := range lists {
		gv, parseErr := schema.ParseGroupVersion(list.GroupVersion)
		if parseErr != nil {
			if err == nil {
				err = parseErr
			}
			continue
		}
		for _, r := range list.APIResources {
			group, version := gv.Group, gv.Version
			if r.Group != "" {
				group = r.Group
			}
			if r.Version != "" {
				version = r.Version
			}
			all = append(all, Resource{
				GroupVersionResource: schema.GroupVersionResource{Group: group, Version: version, Resource: r.Name},
				Kind:                 r.Kind, Namespaced: r.Namespaced, Verbs: r.Verbs,
			})
		}
	}
	return all, err
}
