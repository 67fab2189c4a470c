package apiregistration

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/fill"
)

// APIService says who serves a group's version.
var APIService = kinds.Define(kinds.Row[*apiregistrationv1.APIService]{
	Resource: "apiservices", Name: kinds.AnyName, AnyFinalizer: true, EtcdPrefix: "apiregistration.k8s.io/apiservices", StoredJSON: true, Categories: []string{"api-extensions"},
	Generation: kinds.GenerationNever, NoUnconditionalUpdate: true, RepeatErrors: true, StatusResetsMeta: true, StatusResets: []string{"spec", "metadata"},
	Default: func(s *apiregistrationv1.APIService) {
		if s.Spec.Service != nil {
			fill.Nil(&s.Spec.Service.Port, 443)
		}
	},
	PrepareCreate: availableIfLocal, Validate: validate, Revalidate: true, ValidateStatus: validateStatus,
	Columns: []kinds.Column[*apiregistrationv1.APIService]{
		kinds.NameColumn[*apiregistrationv1.APIService](),
		{Name: "Service", Description: "The reference to the service that hosts this API endpoint.",
			Cell: func(s *apiregistrationv1.APIService) any {
				if s.Spec.Service == nil {
					return "Local"
				}
				return s.Spec.Service.Namespace + "/" + s.Spec.Service.Name
			}},
		{Name: "Available", Description: "Whether this service is available.", Cell: available},
		kinds.AgeColumn[*apiregistrationv1.APIService](),
	},
})

// availableIfLocal: what this server serves itself needs no probe.
func availableIfLocal(req *kinds.Request, s *apiregistrationv1.APIService) {
	if s.Spec.Service != nil {
		return
	}
	s.Status.Conditions = []apiregistrationv1.APIServiceCondition{{
		Type: apiregistrationv1.Available, Status: apiregistrationv1.ConditionTrue, Reason: "Local",
		Message: "Local APIServices are always available", LastTransitionTime: metav1.Time{Time: req.Now.Truncate(time.Second)},
	}}
}

// available shows the reason where the answer is not yes.
func available(s *apiregistrationv1.APIService) any {
	for _, c := range s.Status.Conditions {
		switch {
		case c.Type != apiregistrationv1.Available:
		case c.Status == apiregistrationv1.ConditionTrue || c.Reason == "":
			return string(c.Status)
		default:
			return fmt.Sprintf("%s (%s)", c.Status, c.Reason)
		}
	}
	return string(apiregistrationv1.ConditionUnknown)
}
