package kinds

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

// NameRule says what is wrong with a name. prefix is true for a metadata.generateName.
type NameRule = apivalidation.ValidateNameFunc

// The usual name rules. A row without a rule has Subdomain.
var (
	Subdomain   NameRule = unlessPlain(check.PlainSubdomain, apivalidation.NameIsDNSSubdomain)
	Label       NameRule = unlessPlain(check.PlainLabel, apivalidation.NameIsDNSLabel)
	Label1035   NameRule = apivalidation.NameIsDNS1035Label
	PathSegment NameRule = path.ValidatePathSegmentName
	// AnyName is for kinds whose names are looked at by their own validation.
	AnyName NameRule = func(string, bool) []string { return nil }
)

// unlessPlain asks a rule only about names that are not plainly right. A prefix may end in a dash.
func unlessPlain(plain func(string) bool, rule NameRule) NameRule {
	return func(name string, prefix bool) []string {
		if plain(name) || prefix && plain(strings.TrimSuffix(name, "-")) {
			return nil
		}
		return rule(name, prefix)
	}
}

var metaPath = field.NewPath("metadata")

// ValidateMeta is upstream's check of the metadata of a new object.
func ValidateMeta(obj metav1.Object, scope Scope, name NameRule) field.ErrorList {
	if name == nil {
		name = Subdomain
	}
	if check.PlainMeta(obj, bool(scope)) && obj.GetName() != "" && len(name(obj.GetName(), false)) == 0 &&
		(obj.GetGenerateName() == "" || len(name(obj.GetGenerateName(), true)) == 0) {
		return nil
	}
	return apivalidation.ValidateObjectMetaAccessor(obj, bool(scope), name, metaPath)
}

// validateCommonUpdate is what upstream's write path checks before a kind's own validation of an update; that checks
// metadata again, so that a mistake in it is reported as often as by upstream.
func validateCommonUpdate(obj, old metav1.Object, scope Scope) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaAccessor(obj, bool(scope), path.ValidatePathSegmentName, metaPath)
	return append(errs, apivalidation.ValidateObjectMetaAccessorUpdate(obj, old, metaPath)...)
}

// ValidateMetaUpdate is what upstream checks of the metadata of every update, through whichever door: the write path's
// own part and then the kind's.
func ValidateMetaUpdate(obj, old metav1.Object, scope Scope) field.ErrorList {
	if check.PlainMeta(obj, bool(scope)) && check.PlainMetaUpdate(obj, old) && obj.GetName() != "" &&
		len(path.ValidatePathSegmentName(obj.GetName(), false)) == 0 && len(path.ValidatePathSegmentName(obj.GetGenerateName(), true)) == 0 {
		return nil
	}
	errs := validateCommonUpdate(obj, old, scope)
	return append(errs, apivalidation.ValidateObjectMetaAccessorUpdate(obj, old, metaPath)...)
}

// QualifiedNameErrors reports what keeps value from being a qualified name ("example.com/name").
func QualifiedNameErrors(value string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range validation.IsQualifiedName(value) {
		errs = append(errs, field.Invalid(at, value, msg))
	}
	return errs
}

// ValidateFinalizers wants names with a domain, so that everybody can see whose they are; Kubernetes' own have none.
func ValidateFinalizers(obj metav1.Object) field.ErrorList {
	var errs field.ErrorList
	for i, name := range obj.GetFinalizers() {
		switch name {
		case string(corev1.FinalizerKubernetes), metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents:
			continue
		}
		if !strings.Contains(name, "/") {
			errs = append(errs, field.Invalid(metaPath.Child("finalizers").Index(i), name, "name is neither a standard finalizer name nor is it fully qualified"))
		}
	}
	return errs
}
