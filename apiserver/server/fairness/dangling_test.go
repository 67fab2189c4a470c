package fairness

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeschema "k8s.io/apimachinery/pkg/runtime/schema"
)

func TestDangling(t *testing.T) {
	conflict := apierrors.NewConflict(runtimeschema.GroupResource{Resource: "flowschemas"}, "s", errors.New("changed"))
	for _, c := range []struct {
		name    string
		has     flowcontrolv1.ConditionStatus // what the schema says; "" for nothing
		level   string                        // the level there is; "late" comes 50 ms after the schema
		answers []error                       // what the first writes fail with
		writes  int
		want    flowcontrolv1.ConditionStatus // the last write
	}{
		{name: "new", level: "there", writes: 1, want: flowcontrolv1.ConditionFalse},
		{name: "right already", has: flowcontrolv1.ConditionFalse, level: "there"},
		{name: "the level went", has: flowcontrolv1.ConditionFalse, level: "other", writes: 1, want: flowcontrolv1.ConditionTrue},
		{name: "the level came", has: flowcontrolv1.ConditionTrue, level: "there", writes: 1, want: flowcontrolv1.ConditionFalse},
		{name: "the level comes a little later", level: "late", writes: 1, want: flowcontrolv1.ConditionFalse},
		{name: "somebody else wrote", level: "there", answers: []error{conflict}, writes: 1, want: flowcontrolv1.ConditionFalse},
		{name: "a failure is tried again", level: "there", answers: []error{errors.New("no leader"), errors.New("no leader")}, writes: 3, want: flowcontrolv1.ConditionFalse},
		{name: "levels are not known yet"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &flowcontrolv1.FlowSchema{ObjectMeta: metav1.ObjectMeta{Name: "s", ResourceVersion: "7"}}
				s.Spec.PriorityLevelConfiguration.Name = "there"
				if c.has != "" {
					s.Status.Conditions = []flowcontrolv1.FlowSchemaCondition{dangling(s, c.has == flowcontrolv1.ConditionFalse)}
				}
				start := time.Now()
				var got []flowcontrolv1.FlowSchemaCondition
				m := marker{
					look: func() ([]*flowcontrolv1.FlowSchema, map[string]bool, bool) {
						levels := map[string]bool{"other": true}
						if c.level == "there" || c.level == "late" && time.Since(start) >= 50*time.Millisecond {
							levels["there"] = true
						}
						return []*flowcontrolv1.FlowSchema{s}, levels, c.level != ""
					},
					write: func(_ context.Context, seen *flowcontrolv1.FlowSchema, condition flowcontrolv1.FlowSchemaCondition) error {
						if got = append(got, condition); len(got) <= len(c.answers) {
							return c.answers[len(got)-1]
						}
						return nil
					},
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				wake := make(chan struct{}, 1)
				go m.run(ctx, wake)
				wake <- struct{}{}
				time.Sleep(5 * time.Second)
				if len(got) != c.writes {
					t.Fatalf("%d writes, want %d", len(got), c.writes)
				}
				if c.writes > 0 && got[len(got)-1].Status != c.want {
					t.Errorf("Dangling is %s, want %s", got[len(got)-1].Status, c.want)
				}
				if c.writes > 0 && len(c.answers) != 1 {
					wake <- struct{}{} // another schema's event: what was written is not written again
					if time.Sleep(time.Second); len(got) != c.writes {
						t.Errorf("written again before its own event came")
					}
				}
			})
		})
	}
}
