package networking

import (
	"fmt"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// ServiceCIDR is a range that Services get their addresses from.
var ServiceCIDR = kinds.Define(kinds.Row[*networkingv1.ServiceCIDR]{
	Resource: "servicecidrs", Generation: kinds.GenerationNever, StatusResetsMeta: true, StatusResets: []string{"spec", "metadata"},
	Validate: validateServiceCIDR, ValidateUpdate: validateServiceCIDRUpdate,
	Columns: []kinds.Column[*networkingv1.ServiceCIDR]{
		kinds.NameColumn[*networkingv1.ServiceCIDR](),
		{Name: "CIDRs", Description: kinds.Doc(networkingv1.ServiceCIDRSpec{}, "cidrs"),
			Cell: func(c *networkingv1.ServiceCIDR) any { return strings.Join(c.Spec.CIDRs, ",") }},
		kinds.AgeColumn[*networkingv1.ServiceCIDR](),
	},
})

// IPAddress is one address in use; its name is the address.
var IPAddress = withAge(kinds.Define(kinds.Row[*networkingv1.IPAddress]{
	Resource: "ipaddresses", ShortNames: []string{"ip"}, Name: addressName,
	Validate: validateIPAddress, ValidateUpdate: validateIPAddressUpdate,
	Columns: []kinds.Column[*networkingv1.IPAddress]{
		kinds.NameColumn[*networkingv1.IPAddress](),
		{Name: "ParentRef", Description: kinds.Doc(networkingv1.IPAddressSpec{}, "parentRef"),
			Cell: func(a *networkingv1.IPAddress) any { return parentText(a.Spec.ParentRef) }},
	},
}))

// withAge adds the age as a cell that has no heading: upstream's rows have it, its columns do not.
func withAge(k *kinds.Kind) *kinds.Kind {
	cells := k.Cells
	k.Cells = func(o runtime.Object) []any {
		return append(cells(o), kinds.Age(o.(*networkingv1.IPAddress).CreationTimestamp))
	}
	return k
}

// parentText joins what the reference names, leaving out what it does not.
func parentText(ref *networkingv1.ParentReference) string {
	if ref == nil {
		return "<none>"
	}
	text := ref.Resource
	if ref.Group != "" {
		text = fmt.Sprintf("%s.%s", ref.Resource, ref.Group)
	}
	if ref.Namespace != "" {
		text += "/" + ref.Namespace
	}
	return text + "/" + ref.Name
}
