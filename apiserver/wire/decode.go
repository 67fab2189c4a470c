package wire

import (
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	serializerjson "k8s.io/apimachinery/pkg/runtime/serializer/json"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/wire/jsonplan"
)

// Body is a request's body on its way to becoming an object.
type Body struct {
	Data   []byte
	Format Format
	// Strict asks for a list of unknown and duplicate fields.
	Strict bool
}

// Target is what a body is decoded into.
type Target struct {
	// GVK is what the body is taken for where it does not say.
	GVK schema.GroupVersionKind
	// New makes an empty object of GVK.
	New func() runtime.Object
	// Internal is the name of upstream's internal type in messages ("core.Pod").
	Internal string
	// Finish is kinds.Version's.
	Finish func(obj runtime.Object, strict bool) (unknown []error, err error)
}

// TargetOf is the target for bodies of a kind in one of its versions.
func TargetOf(v *kinds.Version) Target {
	return Target{GVK: v.GVK, New: v.New, Internal: internalName(v.GVK), Finish: v.Finish}
}

// Decode reads an object. The object has its apiVersion and kind set. strict lists what strict decoding found; it is no
// error. gvk is what the body said it was, completed by the target's. Errors are 400s with upstream's wording.
//
// A body of the right kind in another version of the same group is returned as that version's type: whether that is
// allowed, and how to convert it, is for the caller to say.
func Decode(b Body, t Target) (obj runtime.Object, gvk schema.GroupVersionKind, strict []error, err error) {
	obj, gvk, strict, err = decode(b, t)
	if err == nil {
		return obj, gvk, strict, nil
	}
	if gvk.Kind != "" {
		return nil, gvk, nil, apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", gvk.Kind, gvk.Version, t.GVK.Kind, err))
	}
	return nil, gvk, nil, apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type %s): %v (%s)", t.GVK.Kind, err, summary(b.Data)))
}

// StrictError refuses a body for what strict decoding found in it.
func StrictError(gvk schema.GroupVersionKind, kind string, found []error) error {
	return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", gvk.Kind, gvk.Version, kind, runtime.NewStrictDecodingError(found)))
}

func decode(b Body, t Target) (runtime.Object, schema.GroupVersionKind, []error, error) {
	if b.Format == Protobuf {
		obj, gvk, err := decodeProtobuf(b.Data, t)
		return obj, gvk, nil, err
	}
	var strict []error
	data := b.Data
	if b.Format == YAML {
		altered, err := yaml.YAMLToJSON(data)
		if err != nil {
			return nil, schema.GroupVersionKind{}, nil, err
		}
		if b.Strict {
			if _, err := yaml.YAMLToJSONStrict(b.Data); err != nil {
				strict = append(strict, err)
			}
		}
		data = altered
	}
	obj, gvk, more, err := decodeJSON(data, t, b.Strict)
	return obj, gvk, append(strict, more...), err
}

// decodeJSON reads the object in one pass where the body is what it should be. Only if it says that it is something
// else, or cannot be read, is it looked at again for what it is.
func decodeJSON(data []byte, t Target, strict bool) (runtime.Object, schema.GroupVersionKind, []error, error) {
	obj := t.New()
	if u, custom := obj.(*unstructured.Unstructured); custom {
		return decodeCustom(data, u, t, strict)
	}
	found, decodeErr := unmarshal(data, obj, strict)
	if decodeErr == nil {
		gvk := obj.GetObjectKind().GroupVersionKind()
		if gvk == t.GVK {
			return obj, gvk, found, nil
		}
	}
	said, err := serializerjson.DefaultMetaFactory.Interpret(data)
	if err != nil {
		return nil, schema.GroupVersionKind{}, nil, err
	}
	gvk := complete(*said, t.GVK)
	if gvk == t.GVK {
		if decodeErr != nil {
			return nil, gvk, nil, decodeErr
		}
		obj.GetObjectKind().SetGroupVersionKind(gvk)
		return obj, gvk, found, nil
	}
	other, err := sibling(gvk, t)
	if err != nil {
		return nil, gvk, nil, err
	}
	found, err = unmarshal(data, other, strict)
	if err != nil {
		return nil, gvk, nil, err
	}
	if other.GetObjectKind().SetGroupVersionKind(gvk); !convertible(gvk, other, t) {
		return nil, gvk, nil, notConvertible(gvk, t)
	}
	return other, gvk, found, nil
}

// decodeCustom reads a custom resource. Upstream does not complete what such a body leaves out about itself; whether it
// is of the right version and kind is looked at later.
func decodeCustom(data []byte, obj *unstructured.Unstructured, t Target, strict bool) (runtime.Object, schema.GroupVersionKind, []error, error) {
	said, err := serializerjson.DefaultMetaFactory.Interpret(data)
	if err != nil {
		return nil, schema.GroupVersionKind{}, nil, err
	}
	found, err := unmarshal(data, obj, strict)
	if err != nil {
		return nil, complete(*said, t.GVK), nil, err
	}
	gvk := obj.GroupVersionKind()
	if gvk.Kind == "" {
		return nil, gvk, nil, runtime.NewMissingKindErr(string(data))
	}
	if t.Finish != nil {
		unknown, err := t.Finish(obj, strict)
		if err != nil {
			return nil, gvk, nil, err
		}
		found = append(found, unknown...)
	}
	return obj, gvk, found, nil
}

func unmarshal(data []byte, into runtime.Object, strict bool) ([]error, error) {
	if u, ok := into.(*unstructured.Unstructured); ok {
		// The check for apiVersion and kind that Unstructured's own decoding makes is the caller's here.
		u.Object = map[string]any{}
		if strict {
			return kjson.UnmarshalStrict(data, &u.Object)
		}
		return nil, kjson.UnmarshalCaseSensitivePreserveInts(data, &u.Object)
	}
	if value := reflect.ValueOf(into).Elem(); value.IsZero() {
		if jsonplan.Unmarshal(data, into) {
			return nil, nil
		}
		value.SetZero()
	}
	if strict {
		return kjson.UnmarshalStrict(data, into)
	}
	return nil, kjson.UnmarshalCaseSensitivePreserveInts(data, into)
}

// complete fills in what a body did not say about itself.
func complete(gvk, defaults schema.GroupVersionKind) schema.GroupVersionKind {
	if gvk.Kind == "" {
		gvk.Kind = defaults.Kind
	}
	if gvk.Version == "" && gvk.Group == "" {
		gvk.Group, gvk.Version = defaults.Group, defaults.Version
	}
	if gvk.Version == "" && gvk.Group == defaults.Group {
		gvk.Version = defaults.Version
	}
	return gvk
}

// sibling is an empty object of what the body says it is.
func sibling(gvk schema.GroupVersionKind, t Target) (runtime.Object, error) {
	if gvk.Version == "" {
		return nil, runtime.NewMissingVersionErr(gvk.String())
	}
	obj, err := kinds.Scheme.New(gvk)
	if err != nil {
		return nil, notRegistered(gvk)
	}
	return obj, nil
}

// notRegistered is upstream's word for a kind that it does not know; it names the file that its scheme is made in.
func notRegistered(gvk schema.GroupVersionKind) error {
	return fmt.Errorf("no kind %q is registered for version %q in scheme %q", gvk.Kind, gvk.GroupVersion(), "pkg/runtime/scheme.go:111")
}

// convertible: another version of the kind, or the same type under another name (DeleteOptions has one in every group).
func convertible(gvk schema.GroupVersionKind, obj runtime.Object, t Target) bool {
	return gvk.GroupKind() == t.GVK.GroupKind() || reflect.TypeOf(obj) == reflect.TypeOf(t.New())
}

func notConvertible(gvk schema.GroupVersionKind, t Target) error {
	return fmt.Errorf("converting (%s) to (%s): unknown conversion", goName(gvk), t.Internal)
}

// goName is a type as Go prints it: package (the API version) and name.
func goName(gvk schema.GroupVersionKind) string { return gvk.Version + "." + gvk.Kind }

// internalName is upstream's internal type of a kind. Its packages are named after the groups, with a few older names.
func internalName(gvk schema.GroupVersionKind) string {
	pkg, _, _ := strings.Cut(gvk.Group, ".")
	switch gvk.Group {
	case "":
		pkg = "core"
	case "events.k8s.io":
		pkg = "core"
	}
	return pkg + "." + gvk.Kind
}

func decodeProtobuf(data []byte, t Target) (runtime.Object, schema.GroupVersionKind, error) {
	switch {
	case len(data) == 0:
		return nil, schema.GroupVersionKind{}, errors.New("empty data")
	case len(data) == len(magic) && string(data) == string(magic):
		return nil, schema.GroupVersionKind{}, errors.New("empty body")
	}
	typ, raw, err := openEnvelope(data)
	if err != nil {
		return nil, schema.GroupVersionKind{}, err
	}
	gvk := schema.FromAPIVersionAndKind(typ.APIVersion, typ.Kind)
	if gvk.Kind == "" {
		gvk.Kind = t.GVK.Kind
	}
	if gvk.Version == "" {
		gvk.Group, gvk.Version = t.GVK.Group, t.GVK.Version
	}
	obj := t.New()
	if gvk != t.GVK {
		if obj, err = sibling(gvk, t); err != nil {
			return nil, gvk, err
		}
	}
	msg, ok := obj.(protoMessage)
	if !ok {
		return nil, gvk, fmt.Errorf("object %T does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message", obj)
	}
	if err := msg.Unmarshal(raw); err != nil {
		return nil, gvk, err
	}
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	if !convertible(gvk, obj, t) {
		return nil, gvk, notConvertible(gvk, t)
	}
	return obj, gvk, nil
}

// summary shows the beginning of a body that could not be read.
func summary(data []byte) string {
	const limit = 30
	switch {
	case len(data) == 0:
		return "<empty>"
	case data[0] == '{' && len(data) > limit:
		return string(data[:limit]) + " ..."
	case data[0] == '{':
		return string(data)
	case len(data) > limit:
		return hex.EncodeToString(data[:limit]) + " ..."
	}
	return hex.EncodeToString(data)
}

// DecodePatched reads the JSON that a patch left. Its errors have no prefix: the caller shows the whole JSON.
func DecodePatched(data []byte, t Target, strict bool) (runtime.Object, []error, error) {
	obj, _, found, err := decodeJSON(data, t, strict)
	return obj, found, err
}

const (
	yamlErrors     = "yaml: unmarshal errors:\n"
	yamlConversion = "error converting YAML to JSON: " + yamlErrors
)

// StrictWarnings are the texts of Warning headers for what strict decoding found. YAML reports many findings in one.
func StrictWarnings(found []error) []string {
	var out []string
	for _, err := range found {
		text := err.Error()
		lines, isYAML := strings.CutPrefix(text, yamlErrors)
		if !isYAML {
			lines, isYAML = strings.CutPrefix(text, yamlConversion)
		}
		if !isYAML {
			out = append(out, text)
			continue
		}
		for _, line := range strings.Split(lines, "\n") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}
