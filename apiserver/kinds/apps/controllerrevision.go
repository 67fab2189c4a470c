package apps

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// ControllerRevision is a past state of a StatefulSet or DaemonSet.
var ControllerRevision = kinds.Define(kinds.Row[*appsv1.ControllerRevision]{
	Resource: "controllerrevisions", Scope: kinds.Namespaced,
	Validate: validateNewRevision, ValidateUpdate: validateRevisionUpdate,
	Columns: []kinds.Column[*appsv1.ControllerRevision]{
		kinds.NameColumn[*appsv1.ControllerRevision](),
		{Name: "Controller", Description: "Controller of the object", Cell: func(r *appsv1.ControllerRevision) any { return controllerText(r) }},
		{Name: "Revision", Description: kinds.Doc(appsv1.ControllerRevision{}, "revision"), Cell: func(r *appsv1.ControllerRevision) any { return r.Revision }},
		kinds.AgeColumn[*appsv1.ControllerRevision](),
	},
})

func controllerText(r *appsv1.ControllerRevision) string {
	owner := metav1.GetControllerOf(r)
	if owner == nil {
		return "<none>"
	}
	resource := strings.ToLower(owner.Kind)
	if gv, err := schema.ParseGroupVersion(owner.APIVersion); err == nil && gv.Group != "" {
		resource += "." + gv.Group
	}
	return fmt.Sprintf("%s/%s", resource, owner.Name)
}
