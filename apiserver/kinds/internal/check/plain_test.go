package check

import (
	"math/rand"
	"strings"
	"testing"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
)

func word(random *rand.Rand) string {
	const letters = "aab0z-._/A\n é"
	var b strings.Builder
	for range random.Intn(8) {
		b.WriteByte(letters[random.Intn(len(letters))])
	}
	if random.Intn(50) == 0 {
		return strings.Repeat("a", 60+random.Intn(8)) + b.String()
	}
	if random.Intn(50) == 0 {
		return strings.Repeat("a", 250+random.Intn(8)) + b.String()
	}
	return b.String()
}

// TestPlainIsWhatTheLibraryTakes holds the short checks of names against the library.
func TestPlainIsWhatTheLibraryTakes(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	for range 200_000 {
		s := word(random)
		for _, c := range []struct {
			name  string
			plain bool
			wrong []string
		}{
			{"label", PlainLabel(s), validation.IsDNS1123Label(s)},
			{"subdomain", PlainSubdomain(s), validation.IsDNS1123Subdomain(s)},
			{"label key", PlainLabelKey(s), validation.IsQualifiedName(s)},
			{"label value", PlainLabelValue(s), validation.IsValidLabelValue(s)},
		} {
			if c.plain != (len(c.wrong) == 0) {
				t.Fatalf("%s %q: plain is %v, the library says %v", c.name, s, c.plain, c.wrong)
			}
		}
		if wrong := validation.IsQualifiedName(strings.ToLower(s)); PlainLabelKey(s) && len(wrong) > 0 {
			t.Fatalf("annotation %q: %v", s, wrong)
		}
	}
}

func metadata(random *rand.Rand) *metav1.ObjectMeta {
	rare := func(n int) bool { return random.Intn(n) == 0 }
	text := func(usual string) string {
		if rare(20) {
			return word(random)
		}
		return usual
	}
	m := &metav1.ObjectMeta{Name: "n", Namespace: text("default"), UID: types.UID(text("u")), ResourceVersion: text("1"), Generation: int64(random.Intn(20) - 1),
		Labels: map[string]string{text("app"): text("Web"), text("example.com/x"): ""}, Annotations: map[string]string{text("example.com/Y"): "anything"},
		CreationTimestamp: metav1.Unix(int64(random.Intn(2)), 0)}
	if rare(40) {
		m.Annotations["big"] = strings.Repeat("x", apivalidation.TotalAnnotationSizeLimitB)
	}
	if rare(20) {
		now := metav1.Now()
		m.DeletionTimestamp = &now
	}
	if rare(20) {
		grace := int64(random.Intn(2))
		m.DeletionGracePeriodSeconds = &grace
	}
	if rare(4) {
		m.OwnerReferences = []metav1.OwnerReference{{APIVersion: text("v1"), Kind: text("Pod"), Name: text("p"), UID: types.UID(text("u"))}}
	}
	if rare(4) {
		m.Finalizers = []string{text("example.com/f")}
	}
	if !rare(4) {
		m.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: text("kubectl"), FieldsType: text("FieldsV1"), Subresource: text("status"),
			Operation: metav1.ManagedFieldsOperationType(text("Update"))}}
	}
	return m
}

// TestPlainMetadataIsWhatTheLibraryTakes holds the short checks of metadata against the library: what they recognize must
// be without fault, and what is without fault they should mostly recognize.
func TestPlainMetadataIsWhatTheLibraryTakes(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	any := func(string, bool) []string { return nil }
	fine, recognized := 0, 0
	for range 50_000 {
		m, old, namespaced := metadata(random), metadata(random), random.Intn(10) > 0
		if random.Intn(3) > 0 {
			*old = *m
		}
		wrong := apivalidation.ValidateObjectMetaAccessor(m, namespaced, any, metaPath)
		plain := PlainMeta(m, namespaced)
		if plain && len(wrong) > 0 {
			t.Fatalf("%+v: %v", m, wrong)
		}
		wrong = append(wrong, apivalidation.ValidateObjectMetaAccessorUpdate(m, old, metaPath)...)
		plain = plain && PlainMetaUpdate(m, old)
		if plain && len(wrong) > 0 {
			t.Fatalf("%+v over %+v: %v", m, old, wrong)
		}
		if len(wrong) == 0 {
			fine++
			if plain {
				recognized++
			}
		}
	}
	if recognized < fine*8/10 {
		t.Errorf("only %d of %d are recognized", recognized, fine)
	}
}
