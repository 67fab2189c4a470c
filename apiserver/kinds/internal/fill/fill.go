// Package fill sets what a client left out.
package fill

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Empty sets *p if it has its zero value.
func Empty[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

// Nil points *p at value if it points nowhere.
func Nil[T any](p **T, value T) {
	if *p == nil {
		*p = &value
	}
}

// Quantities rounds quantities up to thousandths, the finest that is stored. The list is written to only if that changes
// something: others may be reading it.
func Quantities(list corev1.ResourceList) {
	for name, q := range list {
		before := q
		if exact := q.RoundUp(resource.Milli); q != before && (!exact || q.String() != before.String()) {
			list[name] = q
		}
	}
}
