package node

import (
	"testing"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/kindtest"
)

func TestRuntimeClasses(t *testing.T) {
	kindtest.Run(t, RuntimeClass, "kata", []kindtest.Case{
		{Name: "a handler", Object: `handler: runc`},
		{Name: "none", Object: `{}`, Want: []string{"handler: Required value"}},
		{Name: "another", Object: `handler: kata`, Old: `handler: runc`, Want: []string{"handler: Invalid value: null: field is immutable"}},
		{Name: "a toleration twice", Object: `{handler: a, scheduling: {tolerations: [{key: k, operator: Exists, tolerationSeconds: 1, effect: NoExecute}, {key: k, operator: Exists, effect: NoExecute}]}}`,
			Want: []string{"scheduling.tolerations[1]: Duplicate value"}},
		{Name: "an overhead below zero", Object: `{handler: a, overhead: {podFixed: {cpu: "-1"}}}`, Want: []string{"overhead.limits[cpu]"}},
	})
}
