package extensions

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/util/jsonpath"
)

// selectable is a field that a version lets clients select by.
type selectable struct {
	// name is the client's ("spec.color"), key that under which the cache keeps the value: versions may mean different
	// things by the same name.
	name, key string
	path      *jsonpath.JSONPath
}

func selectables(v *apiextensionsv1.CustomResourceDefinitionVersion) []selectable {
	var out []selectable
	for _, f := range v.SelectableFields {
		path := jsonpath.New("selectableField").AllowMissingKeys(true)
		if path.Parse("{"+f.JSONPath+"}") != nil {
			continue // refused when the definition was written
		}
		name := strings.TrimPrefix(f.JSONPath, ".")
		out = append(out, selectable{name: name, key: v.Name + "/" + name, path: path})
	}
	return out
}

// value is the field's in an object of the version; empty where it has none.
func (s *selectable) value(u *unstructured.Unstructured) string {
	found, err := s.path.FindResults(u.Object)
	if err != nil || len(found) != 1 || len(found[0]) != 1 {
		return ""
	}
	if value := found[0][0].Interface(); value != nil {
		return fmt.Sprint(value)
	}
	return ""
}

// aliases lead from the names of a version to the cache's keys. It is never nil: nothing else can be selected by.
func (v *version) aliases() map[string]string {
	out := map[string]string{}
	for _, f := range v.fields {
		out[f.name] = f.key
	}
	return out
}

// Fields are needed by those who follow etcd, for whom a conversion webhook is not waited for long, nor often in vain.
const (
	fieldPatience = 2 * time.Second
	fieldSilence  = 10 * time.Second
)

var errUnheard = errors.New("the webhook has not answered lately")

// seen is an object in a version, for its fields.
func (r *row) seen(v *version, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	if u.GetAPIVersion() == v.gvk.GroupVersion().String() {
		return u, nil
	}
	if time.Since(time.Unix(0, r.unheard.Load())) < fieldSilence {
		return nil, errUnheard
	}
	ctx, cancel := context.WithTimeout(context.Background(), fieldPatience)
	defer cancel()
	out, err := r.inSoon(ctx, v, u)
	if err != nil {
		r.unheard.Store(time.Now().UnixNano())
	}
	return out, err
}

// fieldSet are the selectable fields of an object, seen in each version that has any. They are empty in a version into
// which the object cannot be converted now.
func (r *row) fieldSet(stored *unstructured.Unstructured) fields.Set {
	out := fields.Set{}
	for _, v := range r.versions {
		if len(v.fields) == 0 || !v.spec.Served {
			continue
		}
		u, err := r.seen(v, stored)
		for i := range v.fields {
			if err == nil {
				out[v.fields[i].key] = v.fields[i].value(u)
			} else {
				out[v.fields[i].key] = ""
			}
		}
	}
	return out
}
