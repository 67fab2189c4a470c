package apiextensions

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/transport"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

var (
	specPath   = field.NewPath("spec")
	statusPath = field.NewPath("status")
	metaPath   = field.NewPath("metadata")
)

// definition is upstream's internal type: its validation looks at that, and its paths and values show in messages. What
// all versions have alike stands at the top there ("spec.validation").
type definition = apiextensions.CustomResourceDefinition

func internal(d *apiextensionsv1.CustomResourceDefinition) (*definition, error) {
	out := &definition{}
	// Conversion shares memory with what it converts.
	return out, conversions.Convert(d.DeepCopy(), out, nil)
}

func validateNew(_ *kinds.Request, d *apiextensionsv1.CustomResourceDefinition) field.ErrorList {
	v := newRules()
	in, err := internal(d)
	if err != nil {
		v.Add(field.InternalError(nil, err))
		return v.ErrorList
	}
	name := func(name string, prefix bool) []string {
		messages := apivalidation.NameIsDNSSubdomain(name, prefix)
		if name != in.Spec.Names.Plural+"."+in.Spec.Group {
			messages = append(messages, `must be spec.names.plural+"."+spec.group`)
		}
		return messages
	}
	if in.GenerateName != "" {
		v.Messages(metaPath.Child("generateName"), in.GenerateName, name(in.GenerateName, true))
	}
	if in.Name != "" {
		v.Name(metaPath.Child("name"), in.Name, name)
	}
	v.definition(in, nil)
	return v.ErrorList
}

func validateUpdate(_ *kinds.Request, d, old *apiextensionsv1.CustomResourceDefinition) field.ErrorList {
	v := newRules()
	in, err := internal(d)
	before, oldErr := internal(old)
	if err != nil || oldErr != nil {
		v.Add(field.InternalError(nil, fmt.Errorf("%w%w", err, oldErr)))
		return v.ErrorList
	}
	v.lenient(in, before)
	v.definition(in, before)
	if established := apiextensions.IsCRDConditionTrue(before, apiextensions.Established); established {
		v.Immutable(specPath.Child("scope"), in.Spec.Scope, before.Spec.Scope)
		v.Immutable(specPath.Child("names", "kind"), in.Spec.Names.Kind, before.Spec.Names.Kind)
	}
	v.Immutable(specPath.Child("group"), in.Spec.Group, before.Spec.Group)
	v.Immutable(specPath.Child("names", "plural"), in.Spec.Names.Plural, before.Spec.Names.Plural)
	return v.ErrorList
}

func validateStatus(_ *kinds.Request, d, _ *apiextensionsv1.CustomResourceDefinition) field.ErrorList {
	v := newRules()
	in, err := internal(d)
	if err != nil {
		v.Add(field.InternalError(nil, err))
		return v.ErrorList
	}
	v.names(&in.Status.AcceptedNames, statusPath.Child("acceptedNames"))
	return v.ErrorList
}

func (v *rules) definition(d, old *definition) {
	v.spec(&d.Spec)
	v.names(&d.Status.AcceptedNames, statusPath.Child("acceptedNames"))
	v.stored(d)
	v.approval(d, old)
	wasKeeping := old != nil && old.Spec.PreserveUnknownFields != nil && *old.Spec.PreserveUnknownFields
	if p := d.Spec.PreserveUnknownFields; p != nil && *p && !wasKeeping {
		v.Add(field.Invalid(specPath.Child("preserveUnknownFields"), *p, "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"))
	}
}

// stored: what may be in etcd in some version must stay readable.
func (v *rules) stored(d *definition) {
	at, list := statusPath.Child("storedVersions"), d.Status.StoredVersions
	if len(list) == 0 {
		v.Add(field.Invalid(at, list, "must have at least one stored version"))
		return
	}
	there := map[string]bool{}
	for _, version := range d.Spec.Versions {
		there[version.Name] = true
		if version.Storage && !slices.Contains(list, version.Name) {
			v.Add(field.Invalid(at, list, "must have the storage version "+version.Name))
		}
	}
	for i, name := range list {
		if !there[name] && !slices.Contains(list[i+1:], name) {
			v.Add(field.Invalid(at.Index(i), name, fmt.Sprintf("missing from spec.versions; %[1]s was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in %[1]s and removes %[1]s from status.storedVersions", name)))
		}
	}
}

// approval: groups of the Kubernetes community want a link to who has approved the kind.
func (v *rules) approval(d, old *definition) {
	if !apihelpers.IsProtectedCommunityGroup(d.Spec.Group) {
		return
	}
	at := metaPath.Child("annotations").Key(apiextensionsv1.KubeAPIApprovedAnnotation)
	state, why := apihelpers.GetAPIApprovalState(d.Annotations)
	if old != nil {
		if before, _ := apihelpers.GetAPIApprovalState(old.Annotations); before == state {
			return
		}
	}
	switch state {
	case apihelpers.APIApproved, apihelpers.APIApprovalBypassed:
	case apihelpers.APIApprovalMissing:
		v.Add(field.Required(at, why))
	default:
		v.Add(field.Invalid(at, d.Annotations[apiextensionsv1.KubeAPIApprovedAnnotation], why))
	}
}

// joined complains with all messages in one error.
func (v *rules) joined(at *field.Path, value, before string, messages []string) {
	if len(messages) > 0 {
		v.Add(field.Invalid(at, value, before+strings.Join(messages, ",")))
	}
}

func (v *rules) spec(s *apiextensions.CustomResourceDefinitionSpec) {
	if group := specPath.Child("group"); v.Require(group, s.Group) {
		errs := validation.IsDNS1123Subdomain(s.Group)
		v.joined(group, s.Group, "", errs)
		if len(errs) == 0 && !strings.Contains(s.Group, ".") {
			v.Add(field.Invalid(group, s.Group, "should be a domain with at least one dot"))
		}
	}
	check.RequiredOneOf(&v.List, specPath.Child("scope"), s.Scope, apiextensions.ClusterScoped, apiextensions.NamespaceScoped)
	prunes := s.PreserveUnknownFields == nil || !*s.PreserveUnknownFields
	v.structural = v.structural || prunes || schemaIn(s, extended)
	v.schemas(s, prunes)
	if schemaIn(s, hasDefault) {
		v.structural = true
		// A pointer that is nil counts as keeping here, unlike everywhere else; v1 always converts to false.
		if s.PreserveUnknownFields == nil || *s.PreserveUnknownFields {
			v.Add(field.Invalid(specPath.Child("preserveUnknownFields"), true, "must be false in order to use defaults in the schema"))
		}
	}
	v.versions(s)
	names := specPath.Child("names")
	for _, n := range []struct{ name, value string }{{"plural", s.Names.Plural}, {"singular", s.Names.Singular}, {"kind", s.Names.Kind}, {"listKind", s.Names.ListKind}} {
		v.Require(names.Child(n.name), n.value)
	}
	v.names(&s.Names, names)
	status := slices.ContainsFunc(s.Versions, func(version apiextensions.CustomResourceDefinitionVersion) bool {
		return hasStatus(version.Subresources)
	})
	v.validation(s.Validation, hasStatus(s.Subresources) || status, v.unchanged.Has(s.Version), specPath.Child("validation"))
	v.subresources(s.Subresources, specPath.Child("subresources"))
	v.columns(s.AdditionalPrinterColumns, specPath.Child("additionalPrinterColumns"))
	if at := specPath.Child("selectableFields"); len(s.SelectableFields) > 0 {
		if s.Validation == nil {
			v.Add(field.Invalid(at, "", "may only be set when validations.schema is included"))
		} else {
			v.selectable(s.SelectableFields, s.Validation.OpenAPIV3Schema, specPath, "")
		}
	}
	conversion := specPath.Child("conversion")
	if s.Conversion == nil {
		return
	}
	if s.Conversion.Strategy != apiextensions.NoneConverter && (s.PreserveUnknownFields == nil || *s.PreserveUnknownFields) {
		v.Add(field.Invalid(conversion.Child("strategy"), s.Conversion.Strategy, "must be None if spec.preserveUnknownFields is true"))
	}
	v.conversion(s.Conversion, conversion)
}

// schemas wants a schema for every version.
func (v *rules) schemas(s *apiextensions.CustomResourceDefinitionSpec, prunes bool) {
	if s.Validation != nil && s.Validation.OpenAPIV3Schema != nil || !v.needSchema && !prunes {
		return
	}
	why := ""
	if !v.needSchema {
		why = "because otherwise all fields are pruned"
	}
	for i, version := range s.Versions {
		if (v.needSchema || version.Served) && (version.Schema == nil || version.Schema.OpenAPIV3Schema == nil) {
			v.Add(field.Required(specPath.Child("versions").Index(i).Child("schema", "openAPIV3Schema"), why))
		}
	}
}

func hasStatus(s *apiextensions.CustomResourceSubresources) bool { return s != nil && s.Status != nil }

func (v *rules) versions(s *apiextensions.CustomResourceDefinitionSpec) {
	at := specPath.Child("versions")
	wrong := func(why string) { v.Add(field.Invalid(at, s.Versions, why)) }
	var schemas, subresources, columns, storages int
	names := sets.New[string]()
	for i := range s.Versions {
		version, at := &s.Versions[i], at.Index(i)
		names.Insert(version.Name)
		v.joined(at.Child("name"), version.Name, "", validation.IsDNS1035Label(version.Name))
		if version.Storage {
			storages++
		}
		if version.Schema != nil {
			schemas++
		}
		if version.Subresources != nil {
			subresources++
		}
		if len(version.AdditionalPrinterColumns) > 0 {
			columns++
		}
	}
	for i := range s.Versions {
		sub := s.Subresources
		if subresources > 0 {
			// Of versions with one name the first counts.
			first := slices.IndexFunc(s.Versions, func(o apiextensions.CustomResourceDefinitionVersion) bool { return o.Name == s.Versions[i].Name })
			sub = s.Versions[first].Subresources
		}
		v.version(&s.Versions[i], hasStatus(sub), at.Index(i))
	}
	once := func(top bool, versions int, name, what string) {
		if top && versions > 0 {
			v.Add(field.Forbidden(specPath.Child(name), "top-level and per-version "+what+" are mutually exclusive"))
		}
	}
	once(s.Validation != nil, schemas, "validation", "schemas")
	once(s.Subresources != nil, subresources, "subresources", "subresources")
	once(len(s.AdditionalPrinterColumns) > 0, columns, "additionalPrinterColumns", "additionalPrinterColumns")
	alike := func(set int, what, instead string, equal func(a, b *apiextensions.CustomResourceDefinitionVersion) bool) {
		if set == 0 || set < len(s.Versions) {
			return
		}
		for i := range s.Versions {
			if !equal(&s.Versions[0], &s.Versions[i]) {
				return
			}
		}
		wrong(fmt.Sprintf("per-version %s may not all be set to identical values (top-level %s should be used instead)", what, instead))
	}
	type version = apiextensions.CustomResourceDefinitionVersion
	alike(schemas, "schemas", "validation", func(a, b *version) bool { return apiequality.Semantic.DeepEqual(a.Schema, b.Schema) })
	alike(subresources, "subresources", "subresources", func(a, b *version) bool { return apiequality.Semantic.DeepEqual(a.Subresources, b.Subresources) })
	alike(columns, "additionalPrinterColumns", "additionalPrinterColumns", func(a, b *version) bool {
		return apiequality.Semantic.DeepEqual(a.AdditionalPrinterColumns, b.AdditionalPrinterColumns)
	})
	if names.Len() < len(s.Versions) {
		wrong("must contain unique version names")
	}
	if storages != 1 {
		wrong("must have exactly one version marked as storage version")
	}
	if s.Version != "" {
		v.joined(specPath.Child("version"), s.Version, "", validation.IsDNS1035Label(s.Version))
		if len(s.Versions) > 0 && s.Versions[0].Name != s.Version {
			v.Add(field.Invalid(specPath.Child("version"), s.Version, "must match the first version in spec.versions"))
		}
	}
}

func (v *rules) version(version *apiextensions.CustomResourceDefinitionVersion, status bool, at *field.Path) {
	for _, m := range badDeprecation(version.Deprecated, version.DeprecationWarning) {
		v.Add(field.Invalid(at.Child("deprecationWarning"), version.DeprecationWarning, m))
	}
	v.validation(version.Schema, status, v.unchanged.Has(version.Name), at.Child("schema"))
	v.subresources(version.Subresources, at.Child("subresources"))
	v.columns(version.AdditionalPrinterColumns, at.Child("additionalPrinterColumns"))
	if len(version.SelectableFields) == 0 {
		return
	}
	if version.Schema == nil || version.Schema.OpenAPIV3Schema == nil {
		v.Add(field.Invalid(at.Child("selectableFields"), "", "may only be set when `version.schema.openAPIV3Schema` is not included"))
		return
	}
	v.selectable(version.SelectableFields, version.Schema.OpenAPIV3Schema, at, version.Name)
}

// longestWarning is how long a Warning header's text may be, in bytes.
const longestWarning = 256

func badDeprecation(deprecated bool, warning *string) []string {
	if warning == nil {
		return nil
	}
	if !deprecated {
		return []string{"can only be set for deprecated versions"}
	}
	var out []string
	if len(*warning) > longestWarning {
		out = append(out, "must be <= 256 characters long")
	}
	if *warning == "" {
		out = append(out, "must not be an empty string")
	}
	for i, r := range *warning {
		if !unicode.IsPrint(r) {
			out = append(out, fmt.Sprintf("must only contain printable UTF-8 characters; non-printable character found at index %d", i))
			break
		}
	}
	if !utf8.ValidString(*warning) {
		out = append(out, "must only contain printable UTF-8 characters")
	}
	return out
}

func (v *rules) names(n *apiextensions.CustomResourceDefinitionNames, at *field.Path) {
	const mixed = "may have mixed case, but should otherwise match: "
	label := func(at *field.Path, value, before, text string) {
		if value != "" {
			v.joined(at, value, before, validation.IsDNS1035Label(text))
		}
	}
	label(at.Child("plural"), n.Plural, "", n.Plural)
	label(at.Child("singular"), n.Singular, "", n.Singular)
	label(at.Child("kind"), n.Kind, mixed, strings.ToLower(n.Kind))
	label(at.Child("listKind"), n.ListKind, mixed, strings.ToLower(n.ListKind))
	for i, name := range n.ShortNames {
		v.joined(at.Child("shortNames").Index(i), name, "", validation.IsDNS1035Label(name))
	}
	if n.Kind != "" && n.Kind == n.ListKind {
		v.Add(field.Invalid(at.Child("listKind"), n.ListKind, "kind and listKind may not be the same"))
	}
	for i, name := range n.Categories {
		v.joined(at.Child("categories").Index(i), name, "", validation.IsDNS1035Label(name))
	}
}

var (
	columnTypes   = []string{"boolean", "date", "integer", "number", "string"}
	columnFormats = []string{"byte", "date", "date-time", "double", "float", "int32", "int64", "password"}
)

func (v *rules) columns(list []apiextensions.CustomResourceColumnDefinition, at *field.Path) {
	for i, c := range list {
		at := at.Index(i)
		v.Require(at.Child("name"), c.Name)
		oneOf := "must be one of " + strings.Join(columnTypes, ",")
		if c.Type == "" {
			v.Add(field.Required(at.Child("type"), oneOf))
		} else if !slices.Contains(columnTypes, c.Type) {
			v.Add(field.Invalid(at.Child("type"), c.Type, oneOf))
		}
		if c.Format != "" && !slices.Contains(columnFormats, c.Format) {
			v.Add(field.Invalid(at.Child("format"), c.Format, "must be one of "+strings.Join(columnFormats, ",")))
		}
		if path := at.Child("JSONPath"); v.Require(path, c.JSONPath) {
			v.simplePath(c.JSONPath, path)
		}
	}
}

// simplePath returns whether a path begins as one.
func (v *rules) simplePath(path string, at *field.Path) bool {
	if path[0] != '.' {
		v.Add(field.Invalid(at, path, "must be a simple json path starting with ."))
		return false
	}
	return true
}

func (v *rules) subresources(s *apiextensions.CustomResourceSubresources, at *field.Path) {
	if s == nil || s.Scale == nil {
		return
	}
	below := func(path, name, where string, roots ...string) {
		at := at.Child("scale." + name)
		if v.simplePath(path, at) && !slices.ContainsFunc(roots, func(r string) bool { return strings.HasPrefix(path, r) }) {
			v.Add(field.Invalid(at, path, "should be a json path under "+where))
		}
	}
	if v.Require(at.Child("scale.specReplicasPath"), s.Scale.SpecReplicasPath) {
		below(s.Scale.SpecReplicasPath, "specReplicasPath", ".spec", ".spec.")
	}
	if v.Require(at.Child("scale.statusReplicasPath"), s.Scale.StatusReplicasPath) {
		below(s.Scale.StatusReplicasPath, "statusReplicasPath", ".status", ".status.")
	}
	if p := s.Scale.LabelSelectorPath; p != nil && *p != "" {
		below(*p, "labelSelectorPath", "either .spec or .status", ".spec.", ".status.")
	}
}

// mostSelectable is upstream's limit for fields in selectors.
const mostSelectable = 8

// selectable checks the fields of a version ("" for all). at is where the list and the schema are.
func (v *rules) selectable(list []apiextensions.SelectableField, schema *apiextensions.JSONSchemaProps, at *field.Path, version string) {
	structural, err := structuralschema.NewStructural(schema)
	if err != nil {
		v.Add(field.Invalid(at.Child("schema.openAPIV3Schema"), "", err.Error()))
	}
	at = at.Child("selectableFields")
	seen := sets.New[string]()
	for i, f := range list {
		at := at.Index(i).Child("jsonPath")
		if !v.Require(at, f.JSONPath) {
			continue
		}
		path, found, err := fieldPath(f.JSONPath, structural, false)
		if err != nil {
			v.Add(field.Invalid(at, f.JSONPath, fmt.Sprintf("is an invalid path: %v", err)))
			continue
		}
		if path.Root().String() == "metadata" {
			v.Add(field.Invalid(at, f.JSONPath, "must not point to fields in metadata"))
		}
		if found == nil || !slices.Contains([]string{"string", "boolean", "integer"}, found.Type) {
			v.Add(field.Invalid(at, f.JSONPath, "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."))
		}
		if seen.Has(path.String()) {
			v.Add(field.Duplicate(at, f.JSONPath))
		}
		seen.Insert(path.String())
	}
	if seen.Len() > mostSelectable && !v.manySelectable[version] {
		v.Add(field.TooMany(at, seen.Len(), mostSelectable))
	}
}

var reviewVersions = []string{"v1", "v1beta1"}

// understood says whether the server can speak to a webhook at all.
func understood(versions []string) bool {
	return slices.ContainsFunc(versions, func(v string) bool { return slices.Contains(reviewVersions, v) })
}

func (v *rules) conversion(c *apiextensions.CustomResourceConversion, at *field.Path) {
	check.RequiredOneOf(&v.List, at.Child("strategy"), c.Strategy, apiextensions.NoneConverter, apiextensions.WebhookConverter)
	client, reviews := at.Child("webhookClientConfig"), at.Child("conversionReviewVersions")
	if c.Strategy != apiextensions.WebhookConverter {
		if c.WebhookClientConfig != nil {
			v.Add(field.Forbidden(client, "should not be set when strategy is not set to Webhook"))
		}
		if len(c.ConversionReviewVersions) > 0 {
			v.Add(field.Forbidden(reviews, "should not be set when strategy is not set to Webhook"))
		}
		return
	}
	if w := c.WebhookClientConfig; w == nil {
		v.Add(field.Required(client, "required when strategy is set to Webhook"))
	} else {
		v.webhook(w, client)
	}
	if len(c.ConversionReviewVersions) == 0 {
		v.Add(field.Required(reviews, ""))
		return
	}
	for i, name := range c.ConversionReviewVersions {
		if slices.Contains(c.ConversionReviewVersions[:i], name) {
			v.Add(field.Invalid(reviews.Index(i), name, "duplicate version"))
			continue
		}
		v.Rule(reviews.Index(i), name, validation.IsDNS1035Label)
	}
	if !v.anyReview && !understood(c.ConversionReviewVersions) {
		v.Add(field.Invalid(reviews, c.ConversionReviewVersions, "must include at least one of "+strings.Join(reviewVersions, ", ")))
	}
}

func (v *rules) webhook(w *apiextensions.WebhookClientConfig, at *field.Path) {
	switch {
	case (w.URL == nil) == (w.Service == nil):
		v.Add(field.Required(at, "exactly one of url or service is required"))
	case w.URL != nil:
		v.WebhookURL(at.Child("url"), *w.URL)
	default:
		// Upstream names the two the wrong way round: a missing name is reported as a missing namespace.
		v.WebhookService(at.Child("service"), w.Service.Name, w.Service.Namespace, w.Service.Path, &w.Service.Port)
	}
	if len(w.CABundle) > 0 && !v.anyBundle {
		if err := badBundle(w.CABundle); err != nil {
			v.Add(field.Invalid(at.Child("caBundle"), w.CABundle, err.Error()))
		}
	}
}

func badBundle(bundle []byte) error {
	_, err := transport.TLSConfigFor(&transport.Config{TLS: transport.TLSConfig{CAData: bundle}})
	return err
}

// background is for the libraries that want a context and do not wait.
var background = context.Background()
