package extensions

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/util/cert"

	definitions "github.com/skiff-project/skiff/apiserver/kinds/apiextensions"
)

// judge brings the status of a definition up to date with its spec and with the names that other definitions of its
// group have. It is the work of four of upstream's controllers, and says what they say.
func judge(crd *apiextensionsv1.CustomResourceDefinition, others []*apiextensionsv1.CustomResourceDefinition, now time.Time) {
	judgeNames(crd, others, now)
	if c := structural(crd); c != nil {
		definitions.SetCondition(crd, now, *c)
	} else if apihelpers.FindCRDCondition(crd, apiextensionsv1.NonStructuralSchema) != nil {
		apihelpers.RemoveCRDCondition(crd, apiextensionsv1.NonStructuralSchema)
	}
	if c := approval(crd); c != nil {
		definitions.SetCondition(crd, now, *c)
	}
}

// taken are the names that other definitions of a group have.
type taken struct{ resources, kinds []string }

func takenBy(others []*apiextensionsv1.CustomResourceDefinition) (out taken) {
	for _, o := range others {
		names := &o.Status.AcceptedNames
		out.resources = append(append(out.resources, names.Plural, names.Singular), names.ShortNames...)
		out.kinds = append(out.kinds, names.Kind, names.ListKind)
	}
	return out
}

// judgeNames accepts the names that nobody else has. A name that is refused stays what it was before.
func judgeNames(crd *apiextensionsv1.CustomResourceDefinition, others []*apiextensionsv1.CustomResourceDefinition, now time.Time) {
	used := takenBy(others)
	names := apiextensionsv1.CustomResourceDefinitionCondition{Type: apiextensionsv1.NamesAccepted, Status: apiextensionsv1.ConditionTrue,
		Reason: "NoConflicts", Message: "no conflicts found"}
	refuse := func(reason string, err error) {
		names.Status, names.Reason, names.Message = apiextensionsv1.ConditionFalse, reason, err.Error()
	}
	wanted, accepted := &crd.Spec.Names, &crd.Status.AcceptedNames
	claim := func(reason, name string, have *string, used []string) {
		if err := free(name, *have, used); err != nil {
			refuse(reason, err)
		} else {
			*have = name
		}
	}
	claim("PluralConflict", wanted.Plural, &accepted.Plural, used.resources)
	claim("SingularConflict", wanted.Singular, &accepted.Singular, used.resources)
	if !reflect.DeepEqual(wanted.ShortNames, accepted.ShortNames) {
		var errs []error
		for _, name := range wanted.ShortNames {
			if !slices.Contains(accepted.ShortNames, name) {
				errs = append(errs, free(name, "", used.resources))
			}
		}
		if err := utilerrors.NewAggregate(errs); err != nil {
			refuse("ShortNamesConflict", err)
		} else {
			accepted.ShortNames = slices.Clone(wanted.ShortNames)
		}
	}
	claim("KindConflict", wanted.Kind, &accepted.Kind, used.kinds)
	claim("ListKindConflict", wanted.ListKind, &accepted.ListKind, used.kinds)
	accepted.Categories = slices.Clone(wanted.Categories)
	definitions.SetCondition(crd, now, names)
	establish(crd, names.Status == apiextensionsv1.ConditionTrue, now)
}

func free(name, have string, used []string) error {
	if name != have && slices.Contains(used, name) {
		return fmt.Errorf("%q is already in use", name)
	}
	return nil
}

// establish says whether the kind is served. What is established once stays so: its objects must be reached.
func establish(crd *apiextensionsv1.CustomResourceDefinition, accepted bool, now time.Time) {
	if apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.Established) {
		return
	}
	c := apiextensionsv1.CustomResourceDefinitionCondition{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionFalse,
		Reason: "NotAccepted", Message: "not all names are accepted"}
	switch {
	case !accepted:
	case badBundle(crd) != nil:
		c.Reason, c.Message = "InvalidCABundle", "The conversion webhook CABundle is invalid"
	default:
		c.Status, c.Reason, c.Message = apiextensionsv1.ConditionTrue, "InitialNamesAccepted", "the initial names have been accepted"
	}
	definitions.SetCondition(crd, now, c)
}

func badBundle(crd *apiextensionsv1.CustomResourceDefinition) error {
	c := crd.Spec.Conversion
	if c == nil || c.Webhook == nil || c.Webhook.ClientConfig == nil || len(c.Webhook.ClientConfig.CABundle) == 0 {
		return nil
	}
	certs, err := cert.ParseCertsPEM(c.Webhook.ClientConfig.CABundle)
	if err == nil && len(certs) == 0 {
		err = errors.New("no certificate")
	}
	return err
}

// structural is the condition about schemas that are not structural; nil if all are.
func structural(crd *apiextensionsv1.CustomResourceDefinition) *apiextensionsv1.CustomResourceDefinitionCondition {
	c := &apiextensionsv1.CustomResourceDefinitionCondition{Type: apiextensionsv1.NonStructuralSchema, Status: apiextensionsv1.ConditionUnknown}
	var errs field.ErrorList
	if crd.Spec.PreserveUnknownFields {
		errs = append(errs, field.Invalid(field.NewPath("spec", "preserveUnknownFields"), true, "must be false"))
	}
	for i := range crd.Spec.Versions {
		v := &crd.Spec.Versions[i]
		if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
			continue
		}
		props := &apiextensions.CustomResourceValidation{}
		if apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(v.Schema.DeepCopy(), props, nil) != nil {
			continue
		}
		s, err := structuralschema.NewStructural(props.OpenAPIV3Schema)
		if err != nil {
			c.Reason = "StructuralError"
			c.Message = fmt.Sprintf("failed to check validation schema for version %s: %v", v.Name, err)
			return c
		}
		errs = append(errs, structuralschema.ValidateStructural(field.NewPath("spec", "versions").Index(i).Child("schema", "openAPIV3Schema"), s)...)
	}
	if len(errs) == 0 {
		return nil
	}
	c.Status, c.Reason, c.Message = apiextensionsv1.ConditionTrue, "Violations", errs.ToAggregate().Error()
	return c
}

// approval is the condition about groups that belong to Kubernetes; nil for all others.
func approval(crd *apiextensionsv1.CustomResourceDefinition) *apiextensionsv1.CustomResourceDefinitionCondition {
	if !apihelpers.IsProtectedCommunityGroup(crd.Spec.Group) {
		return nil
	}
	state, message := apihelpers.GetAPIApprovalState(crd.Annotations)
	c := &apiextensionsv1.CustomResourceDefinitionCondition{Type: apiextensionsv1.KubernetesAPIApprovalPolicyConformant,
		Status: apiextensionsv1.ConditionFalse, Message: message}
	switch state {
	case apihelpers.APIApprovalInvalid:
		c.Reason = "InvalidAnnotation"
	case apihelpers.APIApprovalMissing:
		c.Reason = "MissingAnnotation"
	case apihelpers.APIApproved:
		c.Status, c.Reason = apiextensionsv1.ConditionTrue, "ApprovedAnnotation"
	case apihelpers.APIApprovalBypassed:
		c.Reason = "UnapprovedAnnotation"
	default:
		c.Status, c.Reason = apiextensionsv1.ConditionUnknown, "UnknownAnnotation"
	}
	return c
}
