package wire_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/randfill"

	"github.com/skiff-project/skiff/apiserver/kinds/all"
	"github.com/skiff-project/skiff/apiserver/watchcache"
	"github.com/skiff-project/skiff/apiserver/wire"
)

// fillAny makes random objects with everything in them that does not survive storage: empty lists, fractions of seconds,
// other time zones.
func fillAny(seed int64) *randfill.Filler {
	return randfill.NewWithSeed(seed).NilChance(0.4).NumElements(0, 3).MaxDepth(9).Funcs(
		func(s *string, c randfill.Continue) { *s = []string{"", "a", "b", "<&>", "é\"\\"}[c.Intn(5)] },
		func(q *resource.Quantity, c randfill.Continue) {
			*q = resource.MustParse([]string{"0", "1", "1000m", "1Ki", "1024", "2", "0.1"}[c.Intn(7)])
		},
		func(t *metav1.Time, c randfill.Continue) {
			switch c.Intn(4) {
			case 0:
				*t = metav1.Time{}
			case 1:
				*t = metav1.Time{Time: time.Unix(1_700_000_000, int64(c.Intn(1e9))).In(time.FixedZone("x", 3600))}
			case 2:
				*t = metav1.Unix(0, 0)
			default:
				*t = metav1.Unix(1_700_000_000, 5)
			}
		},
		func(t *metav1.MicroTime, c randfill.Continue) {
			*t = metav1.MicroTime{}
			if c.Intn(3) > 0 {
				*t = metav1.MicroTime{Time: time.Unix(1_700_000_000, int64(c.Intn(1e9))).UTC()}
			}
		},
		func(v *intstr.IntOrString, c randfill.Continue) {
			*v = []intstr.IntOrString{intstr.FromInt32(1), intstr.FromString("1"), intstr.FromString("x")}[c.Intn(3)]
		},
		func(r *runtime.RawExtension, c randfill.Continue) { *r = runtime.RawExtension{Raw: []byte(`{"a":1}`)} },
		func(f *metav1.FieldsV1, c randfill.Continue) { *f = *metav1.NewFieldsV1(`{"f:a":{}}`) },
	)
}

// TestSettledIsDecoded: what Settle makes of a written object must be what comes back from storage, for random objects of
// every kind.
func TestSettledIsDecoded(t *testing.T) {
	settled := 0
	for _, kind := range all.All {
		if kind.Virtual {
			continue
		}
		t.Run(kind.GVK.GroupKind().String(), func(t *testing.T) {
			codec := wire.NewCodec(kind)
			for seed := range int64(60) {
				obj := kind.New()
				fillAny(seed).Fill(obj)
				obj.GetObjectKind().SetGroupVersionKind(kind.GVK)
				kind.Default(obj)
				written := obj.DeepCopyObject()
				value, err := codec.EncodeStored(written)
				if err != nil {
					continue // such an object is refused
				}
				want, err := codec.Decode(value, 7)
				if err != nil {
					t.Fatal(err)
				}
				if !codec.Settle(written, 7) {
					continue
				}
				settled++
				if a, b := asJSON(t, want), asJSON(t, written); !bytes.Equal(a, b) {
					t.Fatalf("seed %d: JSON differs: %s", seed, cmp.Diff(string(a), string(b)))
				}
				if !apiequality.Semantic.DeepEqual(want, written) {
					t.Fatalf("seed %d: %s", seed, cmp.Diff(want, written))
				}
				if m, _ := meta.Accessor(written); m.GetResourceVersion() != "7" {
					t.Fatalf("resourceVersion %s", m.GetResourceVersion())
				}
			}
		})
	}
	if settled < 1000 {
		t.Errorf("%d objects were settled: nearly all are decoded", settled)
	}
}

func asJSON(t *testing.T, obj runtime.Object) []byte {
	b, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestSplicedIsEncoded: the protobuf of a random object of every kind is its stored value with a resourceVersion put in.
func TestSplicedIsEncoded(t *testing.T) {
	spliced := 0
	for _, kind := range all.All {
		if kind.Virtual {
			continue
		}
		t.Run(kind.GVK.GroupKind().String(), func(t *testing.T) {
			codec := wire.NewCodec(kind)
			form := watchcache.Form{Version: kind.Stored.GVK.GroupVersion(), Media: watchcache.Protobuf}
			for seed := range int64(20) {
				obj := kind.New()
				fillAny(seed).Fill(obj)
				obj.GetObjectKind().SetGroupVersionKind(kind.GVK)
				value, err := codec.EncodeStored(obj)
				if err != nil {
					continue
				}
				at := codec.SpliceAt(value)
				if at == 0 || !codec.Splices(form) {
					continue
				}
				spliced++
				// Stored as it is here, without the defaults that reading adds.
				m, _ := meta.Accessor(obj)
				for _, revision := range []int64{7, 1_234_567_890_123} {
					m.SetResourceVersion(fmt.Sprint(revision))
					want, err := codec.Encode(obj, form)
					if err != nil {
						t.Fatal(err)
					}
					if got := codec.Spliced(value, at, revision); !bytes.Equal(got, want) {
						t.Fatalf("seed %d: %q\nis not\n%q", seed, got, want)
					}
				}
			}
		})
	}
	if spliced < 500 {
		t.Errorf("%d objects were spliced: nearly all are encoded", spliced)
	}
}
