package shape

import "k8s.io/apimachinery/pkg/util/diff"

// Diff shows what a refused update would have changed.
func Diff(before, now any) string { return diff.Diff(Of(before), Of(now)) }
