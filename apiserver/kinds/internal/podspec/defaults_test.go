package podspec

import (
	"math/rand"
	"testing"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
)

// TestPullPolicyIsThatOfTheName holds the short look at an image's name against the long one.
func TestPullPolicyIsThatOfTheName(t *testing.T) {
	long := func(image string) corev1.PullPolicy {
		named, err := reference.ParseNormalizedNamed(image)
		if err != nil {
			return corev1.PullIfNotPresent
		}
		if tagged, ok := named.(reference.Tagged); ok && tagged.Tag() == "latest" || reference.IsNameOnly(named) {
			return corev1.PullAlways
		}
		return corev1.PullIfNotPresent
	}
	parts := []string{"a", "b", "/", ":", "@", "latest", "5000", ".", "-", "sha256:", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "A", " ", "é"}
	random := rand.New(rand.NewSource(1))
	for range 100_000 {
		image := ""
		for range random.Intn(9) {
			image += parts[random.Intn(len(parts))]
		}
		if got, want := pullPolicy(image), long(image); got != want {
			t.Fatalf("%q: %s, want %s", image, got, want)
		}
	}
}
