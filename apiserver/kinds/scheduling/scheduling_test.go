package scheduling

import (
	"testing"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/kindtest"
)

func TestPriorityClasses(t *testing.T) {
	kindtest.Run(t, PriorityClass, "high", []kindtest.Case{
		{Name: "the highest", Object: `value: 1000000000`},
		{Name: "higher", Object: `value: 1000000001`, Want: []string{"maximum allowed value of a user defined priority is 1000000000"}},
		{Name: "another value", Object: `value: 2`, Old: `value: 1`, Want: []string{"value: Forbidden: may not be changed in an update."}},
		{Name: "another description", Object: `{value: 1, description: d}`, Old: `value: 1`},
	})
	kindtest.Run(t, PriorityClass, "system-node-critical", []kindtest.Case{
		{Name: "the system's own", Object: `value: 2000001000`},
		{Name: "with a value of one's own", Object: `value: 5`, Want: []string{"value of system-node-critical PriorityClass must be 2000001000"}},
	})
	kindtest.Run(t, PriorityClass, "system-mine", []kindtest.Case{{Name: "a name like the system's", Object: `value: 5`, Want: []string{"is not a known system priority class"}}})
}
