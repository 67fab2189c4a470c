package apiserver

import (
	"context"
	"encoding/json"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	flowcontrolapply "k8s.io/client-go/applyconfigurations/flowcontrol/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/registry"
	"github.com/skiff-project/skiff/apiserver/server/fairness"
)

// itself is who the server is when it applies something as a client would.
var itself = kinds.UserInfo{Name: "system:apiserver", Groups: []string{"system:masters", "system:authenticated"}}

// applyCondition writes conditions of flow schemas by server-side apply, so that they are owned apart from what others
// put into the status.
func applyCondition(reg *registry.Registry) fairness.WriteStatus {
	resource := schema.GroupResource{Group: flowcontrolv1.GroupName, Resource: "flowschemas"}
	return func(ctx context.Context, seen *flowcontrolv1.FlowSchema, c flowcontrolv1.FlowSchemaCondition) error {
		res := reg.Resource(resource)
		if res == nil {
			return nil
		}
		body, err := json.Marshal(flowcontrolapply.FlowSchema(seen.Name).WithUID(seen.UID).WithResourceVersion(seen.ResourceVersion).
			WithStatus(flowcontrolapply.FlowSchemaStatus().WithConditions(flowcontrolapply.FlowSchemaCondition().WithType(c.Type).
				WithStatus(c.Status).WithReason(c.Reason).WithMessage(c.Message).WithLastTransitionTime(c.LastTransitionTime))))
		if err != nil {
			return err
		}
		force := true
		user := itself
		w := &registry.Write{Subresource: "status", Name: seen.Name, User: &user, Manager: fairness.Manager,
			Options: &metav1.PatchOptions{FieldManager: fairness.Manager, Force: &force}}
		_, err = res.Patch(ctx, w, &registry.Patch{Type: types.ApplyYAMLPatchType, Body: body, Force: true, Validation: metav1.FieldValidationIgnore})
		return err
	}
}
