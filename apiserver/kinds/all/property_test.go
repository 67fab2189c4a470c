package all

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand"
	"runtime/debug"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/randfill"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/wire"
)

// rounds is how many random objects each kind is tried with.
const rounds = 12

// filler makes random objects, the same in every run. What has an own text form gets a value that survives it.
func filler(seed int64) *randfill.Filler {
	words := []string{"", "a", "example.com/x", "1.5", "10.0.0.1", "10.0.0.0/8", "fd00::/8", "*", "a/b", "object.x == 1", "x-y.z", "Bad_Value! /x", "kubernetes.io/x", "ünï", "http", "-", "."}
	return randfill.New().RandSource(rand.NewSource(seed)).NilChance(0.4).NumElements(0, 3).MaxDepth(14).Funcs(
		func(s *string, c randfill.Continue) { *s = words[c.Intn(len(words))] },
		func(t *metav1.Time, c randfill.Continue) { *t = metav1.Unix(c.Int63n(1<<31), 0) },
		func(t *metav1.MicroTime, c randfill.Continue) {
			*t = metav1.NewMicroTime(time.Unix(c.Int63n(1<<31), 1000*c.Int63n(1000000)))
		},
		func(q *resource.Quantity, c randfill.Continue) {
			*q = *resource.NewMilliQuantity(c.Int63n(1<<40)-1000, resource.DecimalSI)
		},
		func(v *intstr.IntOrString, c randfill.Continue) {
			*v = intstr.FromInt32(int32(c.Intn(70000)) - 2)
			if c.Bool() {
				*v = intstr.FromString([]string{"50%", "x", "", "150%"}[c.Intn(4)])
			}
		},
		// Objects inside of others have no kind of their own in protobuf.
		func(m *metav1.TypeMeta, c randfill.Continue) {},
		func(r *runtime.RawExtension, c randfill.Continue) { r.Raw = []byte(`{"a":1}`) },
		func(f *metav1.FieldsV1, c randfill.Continue) { *f = *metav1.NewFieldsV1(`{"f:a":{}}`) },
		func(j *apiextensionsv1.JSON, c randfill.Continue) { j.Raw = []byte(`{"a":1}`) },
		// Schemas have no end; one level below the root shows all that there is.
		func(p *apiextensionsv1.JSONSchemaProps, c randfill.Continue) {
			p.Type = []string{"object", "array", "string", "", "null"}[c.Intn(5)]
			p.Format, p.Nullable, p.XIntOrString = words[c.Intn(len(words))], c.Bool(), c.Bool()
			c.Fill(&p.XListType)
			c.Fill(&p.XListMapKeys)
			c.Fill(&p.XValidations)
			if c.Intn(3) == 0 {
				p.Default = &apiextensionsv1.JSON{Raw: []byte(`"x"`)}
			}
			if c.Intn(3) > 0 {
				p.Properties = map[string]apiextensionsv1.JSONSchemaProps{"a": {Type: "string", Enum: []apiextensionsv1.JSON{{Raw: []byte(`"x"`)}}}, "metadata": {Type: "object"}}
			}
			if c.Bool() {
				p.Items = &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", XMapType: p.XListType}}
			}
		},
		func(s *apiextensionsv1.JSONSchemaPropsOrStringArray, c randfill.Continue) {},
		func(s *apiextensionsv1.JSONSchemaPropsOrBool, c randfill.Continue) { s.Allows = true },
		func(s *apiextensionsv1.JSONSchemaPropsOrArray, c randfill.Continue) {},
	)
}

// each runs a test on random objects of all stored kinds.
func each(t *testing.T, test func(t *testing.T, k *kinds.Kind, fill func() runtime.Object)) {
	for i, k := range All {
		if k.Virtual || k.Internal {
			continue
		}
		t.Run(k.GroupResource().String(), func(t *testing.T) {
			f := filler(int64(i))
			test(t, k, func() runtime.Object {
				random, o := k.New(), k.New()
				f.Fill(random)
				// What clients send has no empty maps where omitting means the same.
				if err := json.Unmarshal(text(t, random), o); err != nil {
					t.Fatal(err)
				}
				o.GetObjectKind().SetGroupVersionKind(k.GVK)
				return o
			})
		})
	}
}

func text(t *testing.T, o runtime.Object) []byte {
	t.Helper()
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatalf("marshal %T: %v", o, err)
	}
	return b
}

// TestEveryKindSurvivesEveryFormat: what a client or etcd is given says the same when it comes back.
func TestEveryKindSurvivesEveryFormat(t *testing.T) {
	each(t, func(t *testing.T, k *kinds.Kind, fill func() runtime.Object) {
		for range rounds {
			for _, v := range append([]kinds.Version{k.Stored}, k.Served...) {
				o, err := fill(), error(nil)
				k.Default(o)
				if v.FromHub != nil {
					if o, err = v.FromHub(o); err != nil {
						t.Fatalf("to %s: %v", v.GVK, err)
					}
				}
				o.GetObjectKind().SetGroupVersionKind(v.GVK)
				formats := []wire.Format{wire.JSON, wire.YAML}
				if _, ok := o.(runtime.ProtobufMarshaller); ok {
					formats = append(formats, wire.Protobuf)
				}
				for _, format := range formats {
					b, err := wire.Encode(o, format)
					if err != nil {
						t.Fatalf("encode %s: %v", v.GVK, err)
					}
					back, _, strict, err := wire.Decode(wire.Body{Data: b, Format: format, Strict: true}, wire.TargetOf(&v))
					if err != nil || len(strict) > 0 {
						t.Fatalf("decode %s in format %d: %v %v\n%s", v.GVK, format, err, strict, text(t, o))
					}
					if v.FromHub == nil {
						k.Default(back) // as after every decoding
					}
					back.GetObjectKind().SetGroupVersionKind(v.GVK)
					if want, have := text(t, o), text(t, back); !bytes.Equal(want, have) && !apiequality.Semantic.DeepEqual(o, back) {
						t.Fatalf("%s in format %d\nwas  %s\nis   %s", v.GVK, format, want, have)
					}
				}
				if v.ToHub != nil {
					if _, err := v.ToHub(o); err != nil {
						t.Fatalf("from %s: %v", v.GVK, err)
					}
				}
			}
		}
	})
}

// TestDefaultsAreFilledInOnce: stored objects are defaulted again whenever they are read.
func TestDefaultsAreFilledInOnce(t *testing.T) {
	each(t, func(t *testing.T, k *kinds.Kind, fill func() runtime.Object) {
		for range rounds {
			o := fill()
			k.Default(o)
			once := text(t, o)
			k.Default(o)
			if twice := text(t, o); !bytes.Equal(once, twice) {
				t.Fatalf("once  %s\ntwice %s", once, twice)
			}
		}
	})
}

// TestNothingAClientSendsPanics: every rule of every kind on nonsense, new, changed and shown.
func TestNothingAClientSendsPanics(t *testing.T) {
	each(t, func(t *testing.T, k *kinds.Kind, fill func() runtime.Object) {
		step := ""
		var o, old runtime.Object
		defer func() {
			if r := recover(); r != nil {
				t.Fatalf("%s: %v\nobject %s\nold %s\n%s", step, r, text(t, o), text(t, old), debug.Stack())
			}
		}()
		req := func(verb, sub string) *kinds.Request {
			return &kinds.Request{Verb: verb, Subresource: sub, Namespace: "n", Name: "a", Now: time.Unix(1e9, 0), User: kinds.UserInfo{Name: "u"}}
		}
		// show writes errors out: their values are the client's too. Warnings are for valid objects only.
		show := func(errs field.ErrorList) bool { return fmt.Sprint(errs) != "[]" }
		for range rounds {
			o, old = fill(), fill()
			step = "default"
			k.Default(o)
			k.Default(old)
			step = "create"
			fresh := o.DeepCopyObject()
			k.PrepareCreate(req("create", ""), fresh)
			if errs := k.Validate(req("create", ""), fresh); !show(errs) {
				k.Warnings(req("create", ""), fresh, nil)
			}
			step = "update"
			changed := o.DeepCopyObject()
			k.PrepareUpdate(req("update", ""), changed, old)
			if errs := k.ValidateUpdate(req("update", ""), changed, old); !show(errs) {
				k.Warnings(req("update", ""), changed, old)
			}
			for name, s := range k.Subresources {
				step = "subresource " + name
				if s.Update != nil {
					through := o.DeepCopyObject()
					s.Update.Prepare(req("update", name), through, old)
					if errs := s.Update.Validate(req("update", name), through, old); !show(errs) && s.Update.Warnings != nil {
						s.Update.Warnings(req("update", name), through, old)
					}
				}
				if s.Scale != nil {
					s.Scale.Get(o)
				}
			}
			step = "show"
			if cells := k.Cells(o); len(cells) < len(k.Columns) {
				t.Errorf("%d cells for %d columns", len(cells), len(k.Columns))
			}
			if k.Fields != nil {
				k.Fields(o)
			}
			if k.RowConditions != nil {
				k.RowConditions(o)
			}
		}
	})
}
