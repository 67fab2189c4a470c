package storagemigration

import (
	"strings"

	migrationv1 "k8s.io/api/storagemigration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

var (
	resourcePath = field.NewPath("spec", "resource")
	versionPath  = field.NewPath("status", "resourceVersion")
	statesPath   = field.NewPath("status", "conditions")
)

func validate(_ *kinds.Request, m *migrationv1.StorageVersionMigration) field.ErrorList {
	var l check.List
	joined := func(name, text string, rule func(string) []string) {
		if errs := rule(text); len(errs) > 0 {
			l.Add(field.Invalid(resourcePath.Child(name), text, strings.Join(errs, ",")))
		}
	}
	if r := m.Spec.Resource.Resource; r == "" {
		l.Add(field.Required(resourcePath.Child("resource"), "resource is required to be set"))
	} else {
		joined("resource", r, validation.IsDNS1035Label)
	}
	if g := m.Spec.Resource.Group; g != "" {
		joined("group", g, validation.IsDNS1123Subdomain)
	}
	return l.ErrorList
}

func validateUpdate(_ *kinds.Request, m, old *migrationv1.StorageVersionMigration) field.ErrorList {
	var l check.List
	l.Immutable(field.NewPath("spec"), m.Spec, old.Spec)
	return l.ErrorList
}

// validateStatus: a migration ends once, and what it has recorded stays.
func validateStatus(_ *kinds.Request, m, old *migrationv1.StorageVersionMigration) field.ErrorList {
	var l check.List
	version, states := m.Status.ResourceVersion, m.Status.Conditions
	if version != "" {
		if _, err := resourceversion.CompareResourceVersion(version, version); err != nil {
			l.Add(field.Invalid(versionPath, version, err.Error()))
		}
	}
	l.All(metavalidation.ValidateConditions(states, statesPath))
	if v := old.Status.ResourceVersion; v != "" && v != version {
		l.Add(field.Invalid(versionPath, version, "field is immutable"))
	}
	has := func(m *migrationv1.StorageVersionMigration, t migrationv1.MigrationConditionType) bool {
		return meta.IsStatusConditionTrue(m.Status.Conditions, string(t))
	}
	if has(m, migrationv1.MigrationSucceeded) && has(m, migrationv1.MigrationFailed) {
		l.Add(field.Invalid(statesPath, states, "Both success and failed conditions cannot be true at the same time"))
	}
	if has(old, migrationv1.MigrationSucceeded) && !has(m, migrationv1.MigrationSucceeded) {
		l.Add(field.Invalid(statesPath, states, "Success condition cannot be set to false once it is true"))
	}
	if has(old, migrationv1.MigrationFailed) && !has(m, migrationv1.MigrationFailed) {
		l.Add(field.Invalid(statesPath, states, "Failed condition cannot be set to false once it is true"))
	}
	return l.ErrorList
}
