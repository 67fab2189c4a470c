package fairness

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Manager is who owns the conditions that are written here.
const Manager = "api-priority-and-fairness-config-consumer-v1"

// WriteStatus applies a condition to the status of a schema as it was seen, and fails with a conflict when it has
// changed since.
type WriteStatus func(ctx context.Context, seen *flowcontrolv1.FlowSchema, condition flowcontrolv1.FlowSchemaCondition) error

const (
	// settle is how long a level may be missing before anybody is told: it is often made together with its schema, and
	// the two arrive in any order.
	settle = 100 * time.Millisecond
	again  = time.Second
)

// dangling is the condition that says whether the level of a schema is there.
func dangling(schema *flowcontrolv1.FlowSchema, found bool) flowcontrolv1.FlowSchemaCondition {
	level := schema.Spec.PriorityLevelConfiguration.Name
	c := flowcontrolv1.FlowSchemaCondition{Type: flowcontrolv1.FlowSchemaConditionDangling, Status: flowcontrolv1.ConditionFalse, Reason: "Found",
		Message: fmt.Sprintf("This FlowSchema references the PriorityLevelConfiguration object named %q and it exists", level)}
	if !found {
		c.Status, c.Reason = flowcontrolv1.ConditionTrue, "NotFound"
		c.Message = fmt.Sprintf("This FlowSchema references the PriorityLevelConfiguration object named %q but there is no such object", level)
	}
	return c
}

// says is whether a schema has the condition, whenever it came to be.
func says(schema *flowcontrolv1.FlowSchema, want flowcontrolv1.FlowSchemaCondition) bool {
	return slices.ContainsFunc(schema.Status.Conditions, func(c flowcontrolv1.FlowSchemaCondition) bool {
		return c.Type == want.Type && c.Status == want.Status && c.Reason == want.Reason && c.Message == want.Message
	})
}

// marker keeps the Dangling condition of all schemas true. One goroutine runs it.
type marker struct {
	write WriteStatus
	// look gives the schemas and levels there are; the schemas are shared. ok is false until both are known.
	look func() (schemas []*flowcontrolv1.FlowSchema, levels map[string]bool, ok bool)
	// written is the revision of each schema that was last written over: its event may still be on its way.
	written map[string]string
}

// run looks whenever it is woken, until ctx ends.
func (m *marker) run(ctx context.Context, wake <-chan struct{}) {
	m.written = map[string]string{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake:
		}
		missing, failed := m.round(ctx, false)
		for missing || failed {
			wait := settle
			if failed {
				wait = again
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			missing, failed = m.round(ctx, true)
		}
	}
}

// round writes the conditions that are not as they should be. Without all it leaves alone schemas whose level is missing
// and says that there are such.
func (m *marker) round(ctx context.Context, all bool) (missing, failed bool) {
	schemas, levels, ok := m.look()
	if !ok {
		return false, false
	}
	slices.SortFunc(schemas, func(a, b *flowcontrolv1.FlowSchema) int { return cmp.Compare(a.Name, b.Name) })
	for name := range m.written {
		if !slices.ContainsFunc(schemas, func(s *flowcontrolv1.FlowSchema) bool { return s.Name == name }) {
			delete(m.written, name)
		}
	}
	for _, schema := range schemas {
		found := levels[schema.Spec.PriorityLevelConfiguration.Name]
		want := dangling(schema, found)
		if says(schema, want) || m.written[schema.Name] == schema.ResourceVersion || schema.DeletionTimestamp != nil {
			continue
		}
		if !found && !all {
			missing = true
			continue
		}
		want.LastTransitionTime = metav1.Now()
		switch err := m.write(ctx, schema, want); {
		case err == nil:
			m.written[schema.Name] = schema.ResourceVersion
		case apierrors.IsNotFound(err), apierrors.IsConflict(err):
			// What happened to it arrives as an event, and wakes the next round.
		case ctx.Err() == nil:
			slog.Warn("condition of a flow schema cannot be written", "schema", schema.Name, "err", err)
			failed = true
		}
	}
	return missing, failed
}
