package jsonplan_test

import (
	"bytes"
	"encoding/json"
	"math/rand"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/randfill"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/all"
	"github.com/skiff-project/skiff/apiserver/wire/jsonplan"
)

// filler makes random objects with what is written in peculiar ways.
func filler(seed int64) *randfill.Filler {
	return randfill.NewWithSeed(seed).NilChance(0.4).NumElements(0, 3).MaxDepth(9).Funcs(
		func(s *string, c randfill.Continue) {
			*s = []string{"", "a", "b", "c", "<&>", "é\"\\", "\u2028\x7f", "\t\n\b\x01", "a\xffb", "😀"}[c.Intn(10)]
		},
		func(q *resource.Quantity, c randfill.Continue) {
			*q = resource.MustParse([]string{"0", "1", "1000m", "1Ki", "1024", "-2", "0.1", "123456789012345678901234567890"}[c.Intn(8)])
			if c.Intn(3) == 0 {
				q.Add(resource.MustParse("3")) // forgets its text
			}
		},
		func(t *metav1.Time, c randfill.Continue) {
			*t = []metav1.Time{{}, {Time: time.Unix(1_700_000_000, int64(c.Intn(1e9))).In(time.FixedZone("x", 3600))}, metav1.Unix(0, 0), metav1.Unix(1_700_000_000, 5)}[c.Intn(4)]
		},
		func(t *metav1.MicroTime, c randfill.Continue) {
			*t = []metav1.MicroTime{{}, {Time: time.Unix(1_700_000_000, int64(c.Intn(1e9))).UTC()}}[c.Intn(2)]
		},
		func(v *intstr.IntOrString, c randfill.Continue) {
			*v = []intstr.IntOrString{intstr.FromInt32(1), intstr.FromString("1"), intstr.FromString("<x")}[c.Intn(3)]
		},
		func(r *runtime.RawExtension, c randfill.Continue) {
			*r = []runtime.RawExtension{{}, {Raw: []byte(`{"a": [1, "<", null]}`)}, {Raw: []byte(`{"b":{}}`)}}[c.Intn(3)]
		},
		func(f *metav1.FieldsV1, c randfill.Continue) {
			*f = metav1.FieldsV1{}
			if i := c.Intn(5); i > 0 {
				f.SetRawString([]string{`{"f:a":{}}`, `{"f:a":{".":{},"k:{\"a\":\"b\"}":{".":{},"f:x":{}}},"f:b":{}}`, `{"f:a": {"v:1":{}}}`, `{"f:<":{}}`}[i-1])
			}
		},
	)
}

// each calls f with random objects of every kind that is compiled in, in its served and stored versions.
func each(t *testing.T, seeds int64, f func(t *testing.T, seed int64, v kinds.Version, obj runtime.Object)) {
	for _, kind := range all.All {
		versions := append([]kinds.Version{kind.Stored}, kind.Served...)
		t.Run(kind.GVK.GroupKind().String(), func(t *testing.T) {
			for i, v := range versions {
				if v.New == nil || i > 0 && v.GVK == kind.Stored.GVK {
					continue
				}
				for seed := range seeds {
					obj := v.New()
					if _, custom := obj.(*unstructured.Unstructured); custom {
						continue
					}
					filler(seed).Fill(obj)
					obj.GetObjectKind().SetGroupVersionKind(v.GVK)
					f(t, seed, v, obj)
				}
			}
		})
	}
}

// TestAppendIsEncodingJSON holds encoding against the library.
func TestAppendIsEncodingJSON(t *testing.T) {
	each(t, 60, func(t *testing.T, _ int64, _ kinds.Version, obj runtime.Object) {
		want, err := json.Marshal(obj)
		got, ok := jsonplan.Append(nil, obj)
		if err != nil {
			if ok {
				t.Fatalf("the library refuses: %v", err)
			}
			return
		}
		if !ok {
			t.Fatalf("not encoded: %s", want)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Fatal(diff)
		}
	})
}

// TestUnmarshalIsStrictDecoding holds decoding against the library: what encoding leaves, and what is spoiled.
func TestUnmarshalIsStrictDecoding(t *testing.T) {
	taken := 0
	each(t, 60, func(t *testing.T, seed int64, v kinds.Version, obj runtime.Object) {
		body, err := json.Marshal(obj)
		if err != nil {
			return
		}
		random := rand.New(rand.NewSource(seed))
		for i := range 12 {
			data := body
			switch {
			case i == 1:
				var loose any
				_ = json.Unmarshal(body, &loose)
				data, _ = json.MarshalIndent(sprinkle(loose, random), "", "\t")
			case i > 1:
				data = spoil(body, random)
			}
			if same(t, data, v.New) {
				taken++
			} else if i == 0 && !bytes.Contains(body, []byte("null")) {
				t.Fatalf("not decoded: %s", data)
			}
		}
	})
	t.Logf("%d bodies decoded", taken)
}

// same says that a body was decoded, and fails the test if it was otherwise than by the library.
func same(t *testing.T, data []byte, empty func() runtime.Object) bool {
	t.Helper()
	got, want := empty(), empty()
	if !jsonplan.Unmarshal(data, got) {
		return false
	}
	found, err := kjson.UnmarshalStrict(data, want)
	if err != nil || len(found) > 0 {
		t.Fatalf("the library finds %v %v in %s", err, found, data)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s: %s", data, cmp.Diff(want, got))
	}
	return true
}

// sprinkle puts nulls in the place of some values.
func sprinkle(v any, random *rand.Rand) any {
	if random.Intn(12) == 0 {
		return nil
	}
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = sprinkle(v[k], random)
		}
	case []any:
		for i := range v {
			v[i] = sprinkle(v[i], random)
		}
	}
	return v
}

// spoil changes a body a little.
func spoil(body []byte, random *rand.Rand) []byte {
	if len(body) == 0 {
		return body
	}
	i := random.Intn(len(body))
	out := append([]byte{}, body[:i]...)
	switch random.Intn(4) {
	case 0:
		return append(out, body[min(i+1, len(body)):]...)
	case 1:
		return out
	case 2:
		out = append(out, `{}[],:"\0 1n`[random.Intn(12)])
		return append(out, body[i:]...)
	}
	out = append(out, `{}[],:"\0 1n`[random.Intn(12)])
	return append(out, body[i+1:]...)
}

// TestMergeIsTheLibraries holds both kinds of merge patch against the libraries, for random patches on random objects.
func TestMergeIsTheLibraries(t *testing.T) {
	var taken, all [2]int
	each(t, 120, func(t *testing.T, seed int64, v kinds.Version, obj runtime.Object) {
		// As it comes out of JSON: the libraries take it through that.
		data, err := json.Marshal(obj)
		old, other := v.New(), v.New()
		if err != nil || json.Unmarshal(data, old) != nil {
			return
		}
		filler(seed + 1000).Fill(other)
		loose := map[string]any{}
		data, err = json.Marshal(other)
		if err != nil || kjson.UnmarshalCaseSensitivePreserveInts(data, &loose) != nil {
			return
		}
		random := rand.New(rand.NewSource(seed))
		delete(loose, "kind")
		delete(loose, "apiVersion")
		patch, _ := json.Marshal(sprinkle(thin(loose, random), random))
		for i, strategic := range []bool{false, true} {
			all[i]++
			got := old.DeepCopyObject()
			if !jsonplan.Merge(got, patch, strategic) {
				continue
			}
			taken[i]++
			want, err := library(old, patch, strategic, v.New())
			if err != nil {
				t.Fatalf("the library refuses: %v: %s on %s", err, patch, show(old))
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("strategic %v: %s on %s: %s", strategic, patch, show(old), cmp.Diff(want, got))
			}
		}
	})
	t.Logf("%v of %v patches applied", taken, all)
	if taken[0] < all[0]/4 || taken[1] < all[1]/5 {
		t.Error("too few")
	}
}

// thin leaves some fields out.
func thin(v any, random *rand.Rand) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			if random.Intn(3) == 0 {
				delete(v, k)
			} else {
				v[k] = thin(v[k], random)
			}
		}
	case []any:
		for i := range v {
			v[i] = thin(v[i], random)
		}
	}
	return v
}

func library(old runtime.Object, patch []byte, strategic bool, into runtime.Object) (runtime.Object, error) {
	if !strategic {
		current, err := json.Marshal(old)
		if err != nil {
			return nil, err
		}
		merged, err := jsonpatch.MergePatch(current, patch)
		if err != nil {
			return nil, err
		}
		found, err := kjson.UnmarshalStrict(merged, into)
		if err == nil && len(found) > 0 {
			err = found[0]
		}
		return into, err
	}
	original, err := runtime.DefaultUnstructuredConverter.ToUnstructured(old)
	if err != nil {
		return nil, err
	}
	loose := map[string]any{}
	if _, err := kjson.UnmarshalStrict(patch, &loose); err != nil {
		return nil, err
	}
	merged, err := strategicpatch.StrategicMergeMapPatch(original, loose, into)
	if err != nil {
		return nil, err
	}
	return into, runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(merged, into, true)
}

func show(obj any) string {
	data, _ := json.Marshal(obj)
	return string(data)
}

// TestMergedListsAreInOrder: lists that are merged by key end up in the library's order.
func TestMergedListsAreInOrder(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e", "f"}
	random := rand.New(rand.NewSource(1))
	for range 3000 {
		list := func(most int) (out []corev1.Container) {
			for _, i := range random.Perm(len(names))[:random.Intn(most)] {
				out = append(out, corev1.Container{Name: names[i], Image: string(rune('p' + random.Intn(3)))})
			}
			return out
		}
		old := &corev1.Pod{Spec: corev1.PodSpec{Containers: list(6)}}
		patch, _ := json.Marshal(map[string]any{"spec": map[string]any{"containers": list(5)}})
		got := old.DeepCopy()
		if !jsonplan.Merge(got, patch, true) {
			if string(patch) != `{"spec":{"containers":null}}` {
				t.Fatalf("not applied: %s", patch)
			}
			continue
		}
		want, err := library(old, patch, true, &corev1.Pod{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, runtime.Object(got)); diff != "" {
			t.Fatalf("%s on %s: %s", patch, show(old), diff)
		}
	}
}

// FuzzUnmarshal: no body is decoded otherwise than by the library.
func FuzzUnmarshal(f *testing.F) {
	f.Add([]byte(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","labels":{"a":"b"},"creationTimestamp":null},"spec":{"containers":[{"name":"c","ports":[{"containerPort":80}],"resources":{"limits":{"cpu":1,"memory":"1Gi"}}}]}}`))
	f.Add([]byte(` { "metadata" : { "annotations" : { "\u00e9" : "\ud800" , "" : "x" } , "managedFields" : [ { "fieldsV1" : { "f:a" : { } } } ] } } `))
	f.Fuzz(func(t *testing.T, data []byte) {
		same(t, data, func() runtime.Object { return &corev1.Pod{} })
	})
}

// FuzzMerge: no patch is applied otherwise than by the libraries.
func FuzzMerge(f *testing.F) {
	f.Add([]byte(`{"metadata":{"labels":{"a":null,"c":"d"}},"spec":{"containers":[{"name":"c","image":"i"}]},"status":{"conditions":[{"type":"Ready","status":"True"}]}}`), true)
	f.Add([]byte(`{"metadata":{"labels":{"a":null,"c":"d"},"annotations":{"x":"y"}},"spec":{"nodeSelector":null}}`), false)
	old := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}},
		Spec:   corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Ports: []corev1.ContainerPort{{ContainerPort: 80}}}, {Name: "d"}}},
		Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: "Ready"}}}}
	f.Fuzz(func(t *testing.T, patch []byte, strategic bool) {
		got := old.DeepCopy()
		if !jsonplan.Merge(got, patch, strategic) {
			return
		}
		want, err := library(old, patch, strategic, &corev1.Pod{})
		if err != nil {
			t.Fatalf("the library refuses %s: %v", patch, err)
		}
		if !reflect.DeepEqual(runtime.Object(got), want) {
			t.Fatal(cmp.Diff(want, runtime.Object(got)))
		}
	})
}
