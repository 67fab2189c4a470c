package all_test

import (
	"reflect"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/randfill"

	"github.com/skiff-project/skiff/apiserver/kinds/all"
)

// TestDefaultsLeaveAloneWhatIsThere: an update of a status shares the spec with the object that was there, which others read
// while defaults are filled into the new one. Those write nothing that is there already, not even the same again. It is
// the race detector that sees it if they do.
func TestDefaultsLeaveAloneWhatIsThere(t *testing.T) {
	for _, kind := range all.All {
		t.Run(kind.GVK.GroupKind().String(), func(t *testing.T) {
			for seed := range int64(30) {
				old := kind.New()
				if _, custom := old.(*unstructured.Unstructured); custom {
					return
				}
				randfill.NewWithSeed(seed).NilChance(0.3).NumElements(1, 2).MaxDepth(9).Funcs(
					func(q *resource.Quantity, _ randfill.Continue) { *q = resource.MustParse("1") },
					func(r *runtime.RawExtension, _ randfill.Continue) { *r = runtime.RawExtension{Raw: []byte(`{}`)} },
				).Fill(old)
				kind.Default(old)
				updated := reflect.New(reflect.TypeOf(old).Elem())
				updated.Elem().Set(reflect.ValueOf(old).Elem())
				var readers sync.WaitGroup
				readers.Go(func() { old.DeepCopyObject() })
				kind.Default(updated.Interface().(runtime.Object))
				readers.Wait()
			}
		})
	}
}
