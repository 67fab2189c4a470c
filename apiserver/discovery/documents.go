package discovery

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// priority orders groups as upstream does: built-in ones in the order of their introduction, all others behind them by
// name. kubectl resolves short names in this order.
var priority = func() map[string]int {
	out := map[string]int{}
	for i, g := range strings.Fields(`apiregistration.k8s.io apps events.k8s.io authentication.k8s.io authorization.k8s.io autoscaling
		batch certificates.k8s.io networking.k8s.io policy rbac.authorization.k8s.io storage.k8s.io admissionregistration.k8s.io
		apiextensions.k8s.io scheduling.k8s.io coordination.k8s.io node.k8s.io discovery.k8s.io resource.k8s.io
		flowcontrol.apiserver.k8s.io storagemigration.k8s.io`) {
		out[g] = i
	}
	return out
}()

// Group is one API group as clients see it.
type Group struct {
	Name string
	// Versions, the preferred one first.
	Versions []GroupVersion
}

// GroupVersion is one version of a group with its resources, sorted by name.
type GroupVersion struct {
	Version   string
	Resources []Resource
	// Stale says that what serves this version does not answer: the resources are those of the last time.
	Stale bool
}

// Resource is a kind in one of its versions.
type Resource struct {
	Kind    *kinds.Kind
	Version *kinds.Version
}

// groups sorts kinds into groups and versions, the core group left out of the first and returned apart.
func groups(table []*kinds.Kind) []Group {
	byName := map[string]map[string][]Resource{}
	for _, k := range table {
		if k.Internal {
			continue
		}
		for i := range k.Served {
			gv := k.Served[i].GVK.GroupVersion()
			if byName[gv.Group] == nil {
				byName[gv.Group] = map[string][]Resource{}
			}
			byName[gv.Group][gv.Version] = append(byName[gv.Group][gv.Version], Resource{k, &k.Served[i]})
		}
	}
	var out []Group
	for name, versions := range byName {
		g := Group{Name: name}
		for v, resources := range versions {
			slices.SortFunc(resources, func(a, b Resource) int { return cmp.Compare(a.Kind.Resource, b.Kind.Resource) })
			g.Versions = append(g.Versions, GroupVersion{Version: v, Resources: resources})
		}
		slices.SortFunc(g.Versions, func(a, b GroupVersion) int { return version.CompareKubeAwareVersionStrings(b.Version, a.Version) })
		out = append(out, g)
	}
	slices.SortFunc(out, compareGroups)
	return out
}

func compareGroups(a, b Group) int {
	rank := func(name string) int {
		if name == "" {
			return -1
		}
		if r, ok := priority[name]; ok {
			return r
		}
		return len(priority)
	}
	return cmp.Or(cmp.Compare(rank(a.Name), rank(b.Name)), cmp.Compare(a.Name, b.Name))
}

// aggregated is the whole of /api or /apis in one document.
func aggregated(gs []Group) *apidiscoveryv2.APIGroupDiscoveryList {
	out := &apidiscoveryv2.APIGroupDiscoveryList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupDiscoveryList", APIVersion: "apidiscovery.k8s.io/v2"}}
	for _, g := range gs {
		item := apidiscoveryv2.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: g.Name}}
		for _, v := range g.Versions {
			version := apidiscoveryv2.APIVersionDiscovery{Version: v.Version, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent}
			if v.Stale {
				version.Freshness = apidiscoveryv2.DiscoveryFreshnessStale
			}
			for _, r := range v.Resources {
				version.Resources = append(version.Resources, r.aggregated())
			}
			item.Versions = append(item.Versions, version)
		}
		out.Items = append(out.Items, item)
	}
	return out
}

func (r Resource) aggregated() apidiscoveryv2.APIResourceDiscovery {
	k := r.Kind
	out := apidiscoveryv2.APIResourceDiscovery{Resource: k.Resource, SingularResource: k.Singular, Verbs: k.Verbs,
		ShortNames: k.ShortNames, Categories: k.Categories, Scope: apidiscoveryv2.ScopeCluster,
		ResponseKind: r.responseKind(schema.GroupVersionKind{Kind: r.Version.GVK.Kind})}
	if k.Scope == kinds.Namespaced {
		out.Scope = apidiscoveryv2.ScopeNamespace
	}
	for _, name := range r.subresources() {
		sub := k.Subresource(r.Version, name)
		gvk := r.foreign(sub)
		out.Subresources = append(out.Subresources, apidiscoveryv2.APISubresourceDiscovery{Subresource: name, Verbs: sub.Verbs,
			ResponseKind: r.responseKind(gvk)})
	}
	return out
}

// responseKind is a kind with group and version where those are not the resource's, and always for custom resources.
func (r Resource) responseKind(gvk schema.GroupVersionKind) *metav1.GroupVersionKind {
	if r.Kind.Custom && gvk.GroupVersion().Empty() {
		gvk.Group, gvk.Version = r.Version.GVK.Group, r.Version.GVK.Version
	}
	return &metav1.GroupVersionKind{Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind}
}

func (r Resource) subresources() []string {
	var out []string
	for name := range r.Kind.SubresourcesOf(r.Version) {
		out = append(out, name)
	}
	slices.Sort(out)
	if r.Kind.Custom {
		slices.Reverse(out) // upstream names the status first, then the scale
	}
	return out
}

// foreign is a subresource's kind, with group and version only where they are not those of the resource.
func (r Resource) foreign(sub *kinds.Subresource) schema.GroupVersionKind {
	gvk := sub.GVK
	switch gvk.GroupVersion() {
	case r.Kind.GVK.GroupVersion(), r.Version.GVK.GroupVersion(), schema.GroupVersion{}:
		return schema.GroupVersionKind{Kind: gvk.Kind}
	}
	return gvk
}

// resourceList is /apis/GROUP/VERSION.
func resourceList(group string, v GroupVersion) *metav1.APIResourceList {
	out := &metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"},
		GroupVersion: schema.GroupVersion{Group: group, Version: v.Version}.String(), APIResources: []metav1.APIResource{}}
	if group == "" {
		out.APIVersion = "" // upstream leaves it out here
	}
	for _, r := range v.Resources {
		k := r.Kind
		res := metav1.APIResource{Name: k.Resource, SingularName: k.Singular, Namespaced: k.Scope == kinds.Namespaced, Kind: r.Version.GVK.Kind,
			Verbs: k.Verbs, ShortNames: k.ShortNames, Categories: k.Categories}
		if !k.Virtual && slices.Contains(k.Verbs, "create") {
			res.StorageVersionHash = storageHash(k.Stored.GVK)
		}
		out.APIResources = append(out.APIResources, res)
		for _, name := range r.subresources() {
			sub := k.Subresource(r.Version, name)
			gvk := r.foreign(sub)
			out.APIResources = append(out.APIResources, metav1.APIResource{Name: k.Resource + "/" + name, Namespaced: res.Namespaced,
				Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind, Verbs: sub.Verbs})
		}
	}
	return out
}

// storageHash tells clients that migrate stored objects when the stored version has changed.
func storageHash(gvk schema.GroupVersionKind) string {
	hash := sha256.Sum256([]byte(gvk.Group + "/" + gvk.Version + "/" + gvk.Kind))
	return base64.StdEncoding.EncodeToString(hash[:8])
}

func apiGroup(g Group) metav1.APIGroup {
	out := metav1.APIGroup{Name: g.Name}
	for _, v := range g.Versions {
		out.Versions = append(out.Versions, metav1.GroupVersionForDiscovery{
			GroupVersion: schema.GroupVersion{Group: g.Name, Version: v.Version}.String(), Version: v.Version})
	}
	out.PreferredVersion = out.Versions[0]
	return out
}
