package apps

import (
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

func validateNewRevision(_ *kinds.Request, r *appsv1.ControllerRevision) field.ErrorList {
	var l check.List
	l.NotNegative(field.NewPath("revision"), r.Revision)
	at := field.NewPath("data")
	var v any
	if r.Data.Raw == nil {
		l.Add(field.Required(at, "data is mandatory"))
	} else if err := json.Unmarshal(r.Data.Raw, &v); err != nil {
		l.Add(field.Invalid(at, "<value omitted>", fmt.Sprintf("error parsing data: %v", err.Error())))
	} else if v == nil {
		l.Add(field.Required(at, "data is mandatory"))
	} else if _, ok := v.(map[string]any); !ok {
		l.Add(field.Required(at, "data must be a valid JSON object"))
	}
	return l.ErrorList
}

// validateRevisionUpdate: history does not change.
func validateRevisionUpdate(_ *kinds.Request, r, old *appsv1.ControllerRevision) field.ErrorList {
	var l check.List
	l.All(kinds.ValidateMeta(r, kinds.Namespaced, kinds.Subdomain))
	l.NotNegative(field.NewPath("revision"), r.Revision)
	l.Immutable(field.NewPath("data"), r.Data, old.Data)
	return l.ErrorList
}
