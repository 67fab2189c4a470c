package routes

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metainternal "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metainternalscheme "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme"
	metainternalvalidation "k8s.io/apimachinery/pkg/apis/meta/internalversion/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/wire"
)

// decodeQuery reads the query into one of the API's option types.
func (c *call) decodeQuery(into runtime.Object) error {
	if c.r.URL.RawQuery == "" {
		return nil
	}
	if err := metainternalscheme.ParameterCodec.DecodeParameters(c.r.URL.Query(), metav1.SchemeGroupVersion, into); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	return nil
}

func invalidOptions(kind string, errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: kind}, "", errs)
}

func (c *call) createOptions() (*metav1.CreateOptions, error) {
	opts := &metav1.CreateOptions{}
	if err := c.decodeQuery(opts); err != nil {
		return nil, err
	}
	opts.SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind("CreateOptions"))
	return opts, invalidOptions("CreateOptions", metavalidation.ValidateCreateOptions(opts))
}

func (c *call) updateOptions() (*metav1.UpdateOptions, error) {
	opts := &metav1.UpdateOptions{}
	if err := c.decodeQuery(opts); err != nil {
		return nil, err
	}
	opts.SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind("UpdateOptions"))
	return opts, invalidOptions("UpdateOptions", metavalidation.ValidateUpdateOptions(opts))
}

// deleteOptions come in the body or, where there is none, in the query.
func (c *call) deleteOptions() (*metav1.DeleteOptions, error) {
	opts := &metav1.DeleteOptions{}
	body, release, err := wire.ReadBody(c.r)
	if err != nil {
		return nil, err
	}
	defer release()
	if len(body) > 0 {
		format, err := wire.InputFormat(c.r, wire.Plain)
		if err != nil {
			return nil, err
		}
		if opts, err = wire.DecodeDeleteOptions(body, format); err != nil {
			return nil, err
		}
	} else if err := c.decodeQuery(opts); err != nil {
		return nil, err
	}
	// Gated off upstream, and meant for values that cannot be decoded.
	opts.IgnoreStoreReadErrorWithClusterBreakingPotential = nil
	opts.SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind("DeleteOptions"))
	return opts, invalidOptions("DeleteOptions", metavalidation.ValidateDeleteOptions(opts))
}

// selection is what a list, watch or deletecollection selects.
type selection struct {
	metainternal.ListOptions
	// namespace and name are what path and field selector leave.
	namespace, name string
}

func (c *call) selection(named bool) (*selection, error) {
	s := &selection{namespace: c.write().Namespace}
	if err := c.decodeQuery(&s.ListOptions); err != nil {
		return nil, err
	}
	metainternal.SetListOptionsDefaults(&s.ListOptions, true)
	if err := invalidOptions("ListOptions", metainternalvalidation.ValidateListOptions(&s.ListOptions, true)); err != nil {
		return nil, err
	}
	if s.FieldSelector != nil {
		known, err := s.FieldSelector.Transform(c.fieldName)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		s.FieldSelector = known
	}
	if named {
		name := c.info.Parts[1]
		if s.FieldSelector != nil && !s.FieldSelector.Empty() {
			if selected, ok := s.FieldSelector.RequiresExactMatch("metadata.name"); !ok || selected != name {
				return nil, apierrors.NewBadRequest("fieldSelector metadata.name doesn't match requested name")
			}
		} else {
			s.FieldSelector = fields.OneTermEqualSelector("metadata.name", name)
		}
	}
	s.narrow()
	return s, nil
}

// narrow finds the one namespace and the one object that a field selector leaves.
func (s *selection) narrow() {
	if s.FieldSelector == nil {
		return
	}
	if s.namespace == "" {
		if namespace, ok := s.FieldSelector.RequiresExactMatch("metadata.namespace"); ok && len(validation.ValidateNamespaceName(namespace, false)) == 0 {
			s.namespace = namespace
		}
	}
	if name, ok := s.FieldSelector.RequiresExactMatch("metadata.name"); ok {
		s.name = name
	}
}

// fieldName turns a client's field selector into the hub's, and refuses what the kind does not know.
func (c *call) fieldName(label, value string) (string, string, error) {
	kind := c.res.Kind
	switch {
	case label == "metadata.name", label == "metadata.namespace" && (len(kind.FieldNames) == 0 && !kind.Custom || bool(kind.Scope)):
		return label, value, nil
	}
	if hub, ok := c.version.FieldAliases[label]; ok {
		return hub, value, nil
	}
	if slices.Contains(kind.FieldNames, label) && !c.renamed(label) {
		return label, value, nil
	}
	if len(kind.FieldNames) == 0 && !c.res.Codec.Text {
		return "", "", fmt.Errorf("%q is not a known field selector: only %q, %q", label, "metadata.name", "metadata.namespace")
	}
	if kind.UnknownField != "" {
		return "", "", fmt.Errorf(kind.UnknownField, label)
	}
	return "", "", fmt.Errorf("field label not supported: %s", label)
}

// renamed says that a version has another name for a field of the hub.
func (c *call) renamed(label string) bool {
	if c.version.GVK == c.res.Kind.GVK {
		return false
	}
	for _, hub := range c.version.FieldAliases {
		if hub == label {
			return true
		}
	}
	return false
}

// validation is the field validation that was asked for; warning is the default.
func validationOf(asked string) string {
	if asked == "" {
		return metav1.FieldValidationWarn
	}
	return asked
}

// manager is the name that managed fields give the client.
func manager(asked string, r *http.Request) string {
	if asked != "" {
		return asked
	}
	name, _, _ := strings.Cut(r.UserAgent(), "/")
	var b strings.Builder
	for _, char := range name {
		if !unicode.IsPrint(char) {
			continue
		}
		if b.Len()+utf8.RuneLen(char) > metavalidation.FieldManagerMaxLength {
			break
		}
		b.WriteRune(char)
	}
	return b.String()
}
