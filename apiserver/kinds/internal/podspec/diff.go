package podspec

import (
	"k8s.io/apimachinery/pkg/util/diff"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/shape"
)

// specDiff shows what a refused update would have changed.
func specDiff(before, now any) string { return diff.Diff(shape.Of(before), shape.Of(now)) }
