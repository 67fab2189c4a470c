// Package kindtest tries a kind's rules on objects written as YAML, as clients write them.
package kindtest

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// Case is an object, alone or as the update of another, and what is said about it.
type Case struct {
	Name string
	// Object and Old are bodies without apiVersion, kind and name. Old is empty for a new object.
	Object, Old string
	// Door is the subresource of an update; empty is the object itself.
	Door string
	// Want are parts of the errors, one each; none means that the object is fine.
	Want []string
}

// Run tries the cases on a kind, through defaults and preparation. name names the objects.
func Run(t *testing.T, k *kinds.Kind, name string, cases []Case) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			errs := try(t, k, name, c)
			have := make([]string, len(errs))
			for i, e := range errs {
				have[i] = e.Error()
			}
			ok := len(have) == len(c.Want)
			for _, want := range c.Want {
				found := false
				for _, text := range have {
					found = found || strings.Contains(text, want)
				}
				ok = ok && found
			}
			if !ok {
				t.Errorf("have %d errors:\n%s\nwant:\n%s", len(have), strings.Join(have, "\n"), strings.Join(c.Want, "\n"))
			}
		})
	}
}

func try(t *testing.T, k *kinds.Kind, name string, c Case) field.ErrorList {
	t.Helper()
	req := &kinds.Request{Verb: "create", Subresource: c.Door, Name: name, Now: time.Unix(1e9, 0), User: kinds.UserInfo{Name: "jane"}}
	o := Read(t, k, name, c.Object)
	if c.Old == "" {
		k.PrepareCreate(req, o)
		return k.Validate(req, o)
	}
	req.Verb = "update"
	old := Read(t, k, name, c.Old)
	if c.Door != "" {
		door := k.Subresources[c.Door].Update
		door.Prepare(req, o, old)
		return door.Validate(req, o, old)
	}
	k.PrepareUpdate(req, o, old)
	return k.ValidateUpdate(req, o, old)
}

// Read makes an object of a body, with defaults.
func Read(t *testing.T, k *kinds.Kind, name, body string) runtime.Object {
	t.Helper()
	o := k.New()
	if err := yaml.UnmarshalStrict([]byte(body), o); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	m := o.(metav1.Object)
	m.SetName(name)
	m.SetResourceVersion("1")
	if k.Scope == kinds.Namespaced {
		m.SetNamespace("n")
	}
	k.Default(o)
	return o
}
