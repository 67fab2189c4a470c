package apiextensions

import (
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/fill"
)

// CustomResourceDefinition adds a kind to the API.
var CustomResourceDefinition = kinds.Define(kinds.Row[*apiextensionsv1.CustomResourceDefinition]{
	Resource: "customresourcedefinitions", ShortNames: []string{"crd", "crds"}, Categories: []string{"api-extensions"},
	EtcdPrefix: "apiextensions.k8s.io/customresourcedefinitions", StoredJSON: true, StoredAs: &stored, NoUnconditionalUpdate: true,
	RepeatErrors: true, StatusResetsMeta: true, StatusResets: []string{"metadata", "spec"},
	Name: kinds.AnyName, AnyFinalizer: true,
	Default:  defaultDefinition,
	Validate: validateNew, ValidateUpdate: validateUpdate, ValidateStatus: validateStatus, Warnings: warnings,
	HasFinalizers: heldBack, PrepareDelete: prepareDeletion, Precondition: "precondition failed",
	PrepareCreate: func(_ *kinds.Request, d *apiextensionsv1.CustomResourceDefinition) { rememberStorage(d) },
	PrepareUpdate: func(_ *kinds.Request, d, _ *apiextensionsv1.CustomResourceDefinition) { rememberStorage(d) },
	Columns: []kinds.Column[*apiextensionsv1.CustomResourceDefinition]{
		kinds.NameColumn[*apiextensionsv1.CustomResourceDefinition](),
		{Name: "Scope", Description: "Cluster/Namespaced",
			Cell: func(d *apiextensionsv1.CustomResourceDefinition) any { return string(d.Spec.Scope) }},
		{Name: "Versions", Description: "Served versions", Cell: servedVersions},
		kinds.CreatedAtColumn[*apiextensionsv1.CustomResourceDefinition](),
		{Name: "Group", Priority: 1, Description: "API group",
			Cell: func(d *apiextensionsv1.CustomResourceDefinition) any { return d.Spec.Group }},
		{Name: "Kind", Priority: 1, Description: "CustomResource kind",
			Cell: func(d *apiextensionsv1.CustomResourceDefinition) any { return d.Spec.Names.Kind }},
		{Name: "ShortNames", Priority: 1, Description: "Short names",
			Cell: func(d *apiextensionsv1.CustomResourceDefinition) any {
				return strings.Join(d.Spec.Names.ShortNames, ",")
			}},
		{Name: "Established", Type: "boolean", Priority: 1, Description: "Established status",
			Cell: func(d *apiextensionsv1.CustomResourceDefinition) any { return established(d) }},
	},
})

func servedVersions(d *apiextensionsv1.CustomResourceDefinition) any {
	var names []string
	for _, v := range d.Spec.Versions {
		switch {
		case v.Served && v.Storage:
			names = append(names, v.Name+"(storage)")
		case v.Served:
			names = append(names, v.Name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}

func established(d *apiextensionsv1.CustomResourceDefinition) bool {
	return slices.ContainsFunc(d.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
	})
}

func defaultDefinition(d *apiextensionsv1.CustomResourceDefinition) {
	names := &d.Spec.Names
	fill.Empty(&names.Singular, strings.ToLower(names.Kind))
	if names.Kind != "" {
		fill.Empty(&names.ListKind, names.Kind+"List")
	}
	fill.Nil(&d.Spec.Conversion, apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.NoneConverter})
	if w := d.Spec.Conversion.Webhook; w != nil && w.ClientConfig != nil && w.ClientConfig.Service != nil {
		fill.Nil(&w.ClientConfig.Service.Port, 443)
	}
	if len(d.Status.StoredVersions) == 0 {
		rememberStorage(d)
	}
}

// rememberStorage adds the version that objects are stored in to those in which some may be.
func rememberStorage(d *apiextensionsv1.CustomResourceDefinition) {
	for _, v := range d.Spec.Versions {
		if !v.Storage {
			continue
		}
		if !slices.Contains(d.Status.StoredVersions, v.Name) {
			d.Status.StoredVersions = append(slices.Clone(d.Status.StoredVersions), v.Name)
		}
		return
	}
}
