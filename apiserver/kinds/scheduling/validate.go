package scheduling

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

// highestUser is the highest priority that is not the system's own.
const highestUser = int32(1000000000)

// systemPrefix begins the names of the system's own classes.
const systemPrefix = "system-"

// systemValues are the values of the system's own classes.
var systemValues = map[string]int32{"system-cluster-critical": 2 * highestUser, "system-node-critical": 2*highestUser + 1000}

var (
	valuePath      = field.NewPath("value")
	preemptionPath = field.NewPath("preemptionPolicy")
)

func validate(_ *kinds.Request, c *schedulingv1.PriorityClass) field.ErrorList {
	var l check.List
	if strings.HasPrefix(c.Name, systemPrefix) {
		if why := notTheSystems(c); why != "" {
			l.Add(field.Forbidden(field.NewPath("metadata", "name"), "priority class names with 'system-' prefix are reserved for system use only. error: "+why))
		}
	} else if c.Value > highestUser {
		l.Add(field.Forbidden(valuePath, fmt.Sprintf("maximum allowed value of a user defined priority is %v", highestUser)))
	}
	if p := c.PreemptionPolicy; p != nil {
		check.RequiredOneOf(&l, preemptionPath, *p, corev1.PreemptLowerPriority, corev1.PreemptNever)
	}
	return l.ErrorList
}

// notTheSystems says why a class is not the one that the system has under this name.
func notTheSystems(c *schedulingv1.PriorityClass) string {
	value, known := systemValues[c.Name]
	switch {
	case !known:
		return c.Name + " is not a known system priority class"
	case value != c.Value:
		return fmt.Sprintf("value of %v PriorityClass must be %v", c.Name, value)
	case c.GlobalDefault:
		return fmt.Sprintf("globalDefault of %v PriorityClass must be %v", c.Name, false)
	}
	return ""
}

func validateUpdate(_ *kinds.Request, c, old *schedulingv1.PriorityClass) field.ErrorList {
	var l check.List
	if c.Value != old.Value {
		l.Add(field.Forbidden(valuePath, "may not be changed in an update."))
	}
	l.Immutable(preemptionPath, c.PreemptionPolicy, old.PreemptionPolicy)
	return l.ErrorList
}
