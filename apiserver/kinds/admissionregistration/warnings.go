package admissionregistration

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// virtual resources are never shown to webhooks: whoever could change the answer to "may this user?" would be everybody.
var virtual = sets.New(
	schema.GroupResource{Group: "authentication.k8s.io", Resource: "selfsubjectreviews"},
	schema.GroupResource{Group: "authentication.k8s.io", Resource: "tokenreviews"},
	schema.GroupResource{Group: "authorization.k8s.io", Resource: "localsubjectaccessreviews"},
	schema.GroupResource{Group: "authorization.k8s.io", Resource: "selfsubjectaccessreviews"},
	schema.GroupResource{Group: "authorization.k8s.io", Resource: "selfsubjectrulesreviews"},
	schema.GroupResource{Group: "authorization.k8s.io", Resource: "subjectaccessreviews"},
)

// hookWarnings says which rules name a virtual resource. Who writes "*" means what there is.
func hookWarnings(name string, isNew bool, list []hook) []string {
	out := staticWarning(name, isNew)
	for i := range list {
		for j, r := range list[i].Rules {
			if slices.Contains(r.APIGroups, "*") || slices.Contains(r.Resources, "*") {
				continue
			}
			said := sets.New[schema.GroupResource]()
			for _, group := range r.APIGroups {
				for _, resource := range r.Resources {
					gr := schema.GroupResource{Group: group, Resource: resource}
					if virtual.Has(gr) && !said.Has(gr) {
						said.Insert(gr)
						out = append(out, fmt.Sprintf("%s: %s is excluded from admission webhooks; this rule will have no effect", field.NewPath("webhooks").Index(i).Child("rules").Index(j), gr))
					}
				}
			}
		}
	}
	return out
}
