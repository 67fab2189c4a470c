package equal_test

import (
	"math/rand"
	"reflect"
	"testing"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/randfill"

	"github.com/skiff-project/skiff/apiserver/equal"
	"github.com/skiff-project/skiff/apiserver/kinds/all"
)

func filler(seed int64) *randfill.Filler {
	return randfill.NewWithSeed(seed).NilChance(0.4).NumElements(0, 2).MaxDepth(9).Funcs(
		func(s *string, c randfill.Continue) { *s = []string{"", "a", "b"}[c.Intn(3)] },
		func(q *resource.Quantity, c randfill.Continue) {
			*q = resource.MustParse([]string{"0", "1", "1000m", "1Ki", "1024"}[c.Intn(5)])
		},
		func(t *metav1.Time, c randfill.Continue) {
			*t = []metav1.Time{{}, metav1.Unix(1_700_000_000, 0), {Time: metav1.Unix(1_700_000_000, 0).UTC()}, metav1.Now()}[c.Intn(4)]
		},
		func(r *runtime.RawExtension, c randfill.Continue) { *r = runtime.RawExtension{Raw: []byte(`{"a":1}`)} },
	)
}

// TestEqualIsTheLibrarys holds the walk against the library, on random objects of every kind and copies of them in which a
// little is changed.
func TestEqualIsTheLibrarys(t *testing.T) {
	changed, equals := 0, 0
	for _, kind := range all.All {
		t.Run(kind.GVK.GroupKind().String(), func(t *testing.T) {
			for seed := range int64(40) {
				obj := kind.New()
				if _, custom := obj.(*unstructured.Unstructured); custom {
					return
				}
				filler(seed).Fill(obj)
				if !equal.Pointers(reflect.ValueOf(obj), reflect.ValueOf(obj.DeepCopyObject())) {
					t.Fatalf("seed %d: a copy is not equal", seed)
				}
				random := rand.New(rand.NewSource(seed))
				for range 30 {
					other := obj.DeepCopyObject()
					mutate(reflect.ValueOf(other).Elem(), random, seed)
					got, want := equal.Pointers(reflect.ValueOf(obj), reflect.ValueOf(other)), apiequality.Semantic.DeepEqual(obj, other)
					if got != want {
						t.Fatalf("seed %d: equal is %v, not %v:\n%+v\n%+v", seed, got, want, obj, other)
					}
					if changed++; want {
						equals++
					}
				}
			}
		})
	}
	t.Logf("%d changed objects, of which %d are equal", changed, equals)
}

// mutate fills some value below v anew.
func mutate(v reflect.Value, random *rand.Rand, seed int64) {
	for v.Kind() == reflect.Struct && v.NumField() > 0 && random.Intn(6) > 0 {
		next := v.Field(random.Intn(v.NumField()))
		for next.Kind() == reflect.Pointer && !next.IsNil() || next.Kind() == reflect.Slice && next.Len() > 0 {
			if next.Kind() == reflect.Pointer {
				next = next.Elem()
			} else {
				next = next.Index(random.Intn(next.Len()))
			}
		}
		if !next.CanSet() {
			return
		}
		v = next
	}
	if v.CanAddr() && v.CanInterface() && v.Kind() != reflect.Interface {
		filler(seed + random.Int63n(1000)).Fill(v.Addr().Interface())
	}
}
