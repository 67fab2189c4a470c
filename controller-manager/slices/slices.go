package slices

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"
)

// Full is how many endpoints a slice holds.
const Full = 100

// Group is the endpoints that go into slices of one kind: those of one address family that have the same ports.
type Group struct {
	Type      discoveryv1.AddressType
	Ports     []discoveryv1.EndpointPort
	Endpoints []discoveryv1.Endpoint
}

// Template answers an empty slice with the metadata that all slices of the owner have.
type Template func() *discoveryv1.EndpointSlice

// Changes is what has to be written.
type Changes struct {
	Create, Update, Delete []*discoveryv1.EndpointSlice
}

// None says that all is as it should be.
func (c Changes) None() bool { return len(c.Create)+len(c.Update)+len(c.Delete) == 0 }

// Plan compares the slices that exist with the groups that are wanted.
func Plan(existing []*discoveryv1.EndpointSlice, groups []Group, template Template, full int) Changes {
	var changes Changes
	byID := map[string][]*discoveryv1.EndpointSlice{}
	for _, slice := range existing {
		id := groupID(slice.AddressType, slice.Ports)
		byID[id] = append(byID[id], slice)
	}
	for _, group := range groups {
		id := groupID(group.Type, group.Ports)
		planGroup(&changes, byID[id], group, template, full)
		delete(byID, id)
	}
	// What is left has ports that no group has any more. Its objects are put to use for slices that are to be made.
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		changes.Delete = append(changes.Delete, byID[id]...)
	}
	reuse(&changes)
	return changes
}

// reuse turns pairs of a deletion and a creation into updates, where the address type allows it: it cannot be changed.
func reuse(changes *Changes) {
	var create []*discoveryv1.EndpointSlice
	for _, slice := range changes.Create {
		i := slices.IndexFunc(changes.Delete, func(d *discoveryv1.EndpointSlice) bool { return d.AddressType == slice.AddressType })
		if i < 0 {
			create = append(create, slice)
			continue
		}
		old := changes.Delete[i].DeepCopy()
		changes.Delete = slices.Delete(changes.Delete, i, i+1)
		old.Labels, old.Annotations, old.OwnerReferences = slice.Labels, slice.Annotations, slice.OwnerReferences
		old.Ports, old.Endpoints = slice.Ports, slice.Endpoints
		changes.Update = append(changes.Update, old)
	}
	changes.Create = create
}

func planGroup(changes *Changes, existing []*discoveryv1.EndpointSlice, group Group, template Template, full int) {
	slices.SortFunc(existing, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	missing := make(map[string]discoveryv1.Endpoint, len(group.Endpoints))
	for _, e := range group.Endpoints {
		missing[endpointID(e)] = e
	}
	type kept struct {
		slice   *discoveryv1.EndpointSlice
		left    []discoveryv1.Endpoint
		changed bool
	}
	var keep []*kept
	for _, slice := range existing {
		k := &kept{slice: slice}
		for _, e := range slice.Endpoints {
			wanted, ok := missing[endpointID(e)]
			if !ok {
				k.changed = true // gone, or in another slice already
				continue
			}
			delete(missing, endpointID(e))
			if !equality.Semantic.DeepEqual(e, wanted) {
				k.changed = true
			}
			k.left = append(k.left, wanted)
		}
		keep = append(keep, k)
	}
	var add []discoveryv1.Endpoint
	for _, id := range slices.Sorted(maps.Keys(missing)) {
		add = append(add, missing[id])
	}
	// First into slices that change anyway, fullest first; then into new ones, but for a rest that fits into an old one.
	fill := func(k *kept) {
		if room := min(full-len(k.left), len(add)); room > 0 {
			k.left, add, k.changed = append(k.left, add[:room]...), add[room:], true
		}
	}
	byFill := slices.Clone(keep)
	slices.SortStableFunc(byFill, func(a, b *kept) int { return cmp.Compare(len(b.left), len(a.left)) })
	for _, k := range byFill {
		if k.changed && len(k.left) > 0 {
			fill(k)
		}
	}
	var fresh [][]discoveryv1.Endpoint
	for len(add) >= full {
		fresh, add = append(fresh, add[:full]), add[full:]
	}
	if len(add) > 0 {
		for _, k := range byFill {
			if full-len(k.left) >= len(add) {
				fill(k)
				break
			}
		}
	}
	if len(add) > 0 {
		fresh = append(fresh, add)
	}

	total := len(group.Endpoints)
	placeholder := total == 0 // one empty slice says that the controller has looked and found nothing
	for _, k := range keep {
		if len(k.left) == 0 && !placeholder {
			changes.Delete = append(changes.Delete, k.slice)
			continue
		}
		placeholder = false
		updated := template()
		if k.changed || !sameMeta(k.slice, updated) {
			slice := k.slice.DeepCopy()
			slice.Labels, slice.OwnerReferences = updated.Labels, updated.OwnerReferences
			slice.Annotations = mergeAnnotations(slice.Annotations, updated.Annotations)
			slice.Endpoints = k.left
			changes.Update = append(changes.Update, slice)
		}
	}
	if placeholder {
		fresh = append(fresh, nil)
	}
	for _, endpoints := range fresh {
		slice := template()
		slice.AddressType, slice.Ports, slice.Endpoints = group.Type, group.Ports, endpoints
		if slice.Endpoints == nil {
			slice.Endpoints = []discoveryv1.Endpoint{}
		}
		changes.Create = append(changes.Create, slice)
	}
}

// sameMeta ignores the trigger time, which only says when the rest changed.
func sameMeta(has, wanted *discoveryv1.EndpointSlice) bool {
	if !maps.Equal(has.Labels, wanted.Labels) || !equality.Semantic.DeepEqual(has.OwnerReferences, wanted.OwnerReferences) {
		return false
	}
	for k, v := range wanted.Annotations {
		if k != corev1.EndpointsLastChangeTriggerTime && has.Annotations[k] != v {
			return false
		}
	}
	return true
}

func mergeAnnotations(has, wanted map[string]string) map[string]string {
	merged := maps.Clone(has)
	if merged == nil {
		merged = map[string]string{}
	}
	maps.Copy(merged, wanted)
	return merged
}

// endpointID is what makes two states of an endpoint the same one.
func endpointID(e discoveryv1.Endpoint) string {
	id := strings.Join(e.Addresses, ",") + "|" + ptr.Deref(e.Hostname, "")
	if e.TargetRef != nil {
		id += "|" + e.TargetRef.Kind + "|" + string(e.TargetRef.UID)
	}
	return id
}

func groupID(kind discoveryv1.AddressType, ports []discoveryv1.EndpointPort) string {
	ids := make([]string, 0, len(ports))
	for _, p := range ports {
		ids = append(ids, PortID(p))
	}
	slices.Sort(ids)
	return string(kind) + "|" + strings.Join(ids, ";")
}

// PortID is equal for equal ports.
func PortID(p discoveryv1.EndpointPort) string {
	return fmt.Sprintf("%s/%s/%d/%s", ptr.Deref(p.Name, ""), ptr.Deref(p.Protocol, ""), ptr.Deref(p.Port, -1), ptr.Deref(p.AppProtocol, ""))
}

// GroupKey is equal for groups that share slices.
func GroupKey(kind discoveryv1.AddressType, ports []discoveryv1.EndpointPort) string {
	return groupID(kind, ports)
}

// NamePrefix is what the names of an owner's slices begin with.
func NamePrefix(owner string) string {
	prefix := owner + "-"
	if len(validation.IsDNS1123Subdomain(owner)) != 0 || len(prefix) > 247 {
		return owner
	}
	return prefix
}
