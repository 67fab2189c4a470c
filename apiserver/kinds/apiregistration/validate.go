package apiregistration

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

var (
	specPath = field.NewPath("spec")
	metaPath = field.NewPath("metadata")
)

// Upstream's highest priorities.
const (
	highestGroup   = 20000
	highestVersion = 1000
)

// named wants the name to be made of what is served.
func named(l *check.List, s *apiregistrationv1.APIService) {
	must := s.Spec.Version + "." + s.Spec.Group
	rule := func(at *field.Path, name string) {
		if name == "" {
			return
		}
		messages := content.IsPathSegmentName(name)
		if len(messages) == 0 && name != must {
			messages = []string{fmt.Sprintf("must be `spec.version+\".\"+spec.group`: %q", must)}
		}
		l.Messages(at, name, messages)
	}
	rule(metaPath.Child("generateName"), s.GenerateName)
	rule(metaPath.Child("name"), s.Name)
}

func validate(_ *kinds.Request, s *apiregistrationv1.APIService) field.ErrorList {
	var l check.List
	named(&l, s)
	spec := &s.Spec
	if group := specPath.Child("group"); spec.Group != "" {
		l.Subdomain(group, spec.Group)
	} else if spec.Version != "v1" {
		l.Add(field.Required(group, "only v1 may have an empty group and it better be legacy kube"))
	}
	l.Rule(specPath.Child("version"), spec.Version, validation.IsDNS1035Label)
	if p := spec.GroupPriorityMinimum; p <= 0 || p > highestGroup {
		l.Add(field.Invalid(specPath.Child("groupPriorityMinimum"), p, "must be positive and less than 20000"))
	}
	if p := spec.VersionPriority; p <= 0 || p > highestVersion {
		l.Add(field.Invalid(specPath.Child("versionPriority"), p, "must be positive and less than 1000"))
	}
	bundle, insecure := specPath.Child("caBundle"), specPath.Child("insecureSkipTLSVerify")
	if spec.Service == nil {
		if n := len(spec.CABundle); n != 0 {
			l.Add(field.Invalid(bundle, fmt.Sprintf("%d bytes", n), "local APIServices may not have a caBundle"))
		}
		if spec.InsecureSkipTLSVerify {
			l.Add(field.Invalid(insecure, true, "local APIServices may not have insecureSkipTLSVerify"))
		}
		return l.ErrorList
	}
	service(&l, spec.Service)
	if spec.InsecureSkipTLSVerify && len(spec.CABundle) > 0 {
		l.Add(field.Invalid(insecure, true, "may not be true if caBundle is present"))
	}
	return l.ErrorList
}

func service(l *check.List, r *apiregistrationv1.ServiceReference) {
	at := specPath.Child("service")
	l.Require(at.Child("namespace"), r.Namespace)
	l.Require(at.Child("name"), r.Name)
	port := int32(0)
	if r.Port != nil {
		port = *r.Port
	}
	if errs := validation.IsValidPortNum(int(port)); errs != nil {
		l.Add(field.Invalid(at.Child("port"), port, "port is not valid: "+strings.Join(errs, ", ")))
	}
}

func validateStatus(_ *kinds.Request, s, _ *apiregistrationv1.APIService) field.ErrorList {
	var l check.List
	for i, c := range s.Status.Conditions {
		check.OneOf(&l, field.NewPath("status", "conditions").Index(i).Child("status"), c.Status,
			apiregistrationv1.ConditionTrue, apiregistrationv1.ConditionFalse, apiregistrationv1.ConditionUnknown)
	}
	return l.ErrorList
}
