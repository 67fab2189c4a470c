package fairness

import (
	"context"
	"testing"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/apiserver/request"
)

func gate(seats int) *Gate {
	g := New(seats)
	share := int32(100)
	lend := int32(0)
	g.Configure([]*flowcontrolv1.FlowSchema{{ObjectMeta: metav1.ObjectMeta{Name: "all", UID: "fs"}, Spec: flowcontrolv1.FlowSchemaSpec{
		PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: "work"},
		MatchingPrecedence:         10,
		DistinguisherMethod:        &flowcontrolv1.FlowDistinguisherMethod{Type: flowcontrolv1.FlowDistinguisherMethodByUserType},
		Rules: []flowcontrolv1.PolicyRulesWithSubjects{{
			Subjects:      []flowcontrolv1.Subject{{Kind: "User", User: &flowcontrolv1.UserSubject{Name: "*"}}},
			ResourceRules: []flowcontrolv1.ResourcePolicyRule{{Verbs: all, APIGroups: all, Resources: all, Namespaces: all, ClusterScope: true}},
		}}}}},
		[]*flowcontrolv1.PriorityLevelConfiguration{
			{ObjectMeta: metav1.ObjectMeta{Name: "work", UID: "pl"}, Spec: flowcontrolv1.PriorityLevelConfigurationSpec{Type: "Limited",
				Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{NominalConcurrencyShares: &share, LendablePercent: &lend,
					LimitResponse: flowcontrolv1.LimitResponse{Type: "Queue", Queuing: &flowcontrolv1.QueuingConfiguration{Queues: 4, HandSize: 1, QueueLengthLimit: 50}}}}},
			{ObjectMeta: metav1.ObjectMeta{Name: levelCatchAll}, Spec: flowcontrolv1.PriorityLevelConfigurationSpec{Type: "Limited",
				Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{NominalConcurrencyShares: new(int32), LimitResponse: flowcontrolv1.LimitResponse{Type: "Reject"}}}},
		})
	return g
}

func from(user string, groups ...string) Request {
	return Request{User: &request.User{Name: user, Groups: groups}, Info: &request.Info{IsResource: true, Verb: "get", Resource: "pods", Version: "v1"}}
}

// A flood of one user must not delay another's request by more than one of the flood's.
func TestAFloodDelaysNobodyElse(t *testing.T) {
	g := gate(1)
	first, err := g.Enter(context.Background(), from("flood"))
	if err != nil || first.SchemaUID != "fs" || first.LevelUID != "pl" {
		t.Fatal(first, err)
	}
	order := make(chan string, 100)
	enter := func(user string) {
		p, err := g.Enter(context.Background(), from(user))
		if err != nil {
			user += " rejected"
		}
		order <- user
		p.Leave()
	}
	for range 30 {
		go enter("flood")
	}
	waitFor(t, g, 30)
	go enter("node")
	waitFor(t, g, 31)
	first.Leave()
	for i := range 2 {
		if got := <-order; got == "node" {
			return
		} else if i == 1 {
			t.Errorf("node still waits after %d others", i+1)
		}
	}
}

func TestLinesAreBounded(t *testing.T) {
	g := gate(1)
	first, _ := g.Enter(context.Background(), from("a"))
	defer first.Leave()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 50)
	for range 50 {
		go func() { _, err := g.Enter(ctx, from("a")); done <- err }()
	}
	waitFor(t, g, 50)
	if _, err := g.Enter(ctx, from("a")); err != ErrRejected {
		t.Errorf("the 51st in line: %v", err)
	}
	cancel()
	for range 50 {
		if err := <-done; err != ErrRejected {
			t.Errorf("who gives up: %v", err)
		}
	}
	for _, s := range g.Stats() {
		if s.Waiting != 0 || s.Level == "work" && s.Running != 1 {
			t.Errorf("left behind: %+v", s)
		}
	}
}

func TestMastersNeverWait(t *testing.T) {
	g := gate(1)
	first, _ := g.Enter(context.Background(), from("a"))
	defer first.Leave()
	for range 10 {
		if _, err := g.Enter(context.Background(), from("admin", "system:masters")); err != nil {
			t.Fatal(err)
		}
	}
}

func waitFor(t *testing.T, g *Gate, waiting int) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		n := 0
		for _, s := range g.Stats() {
			n += s.Waiting
		}
		if n == waiting {
			return
		}
	}
	t.Fatalf("never %d waiting: %+v", waiting, g.Stats())
}

func BenchmarkEnter(b *testing.B) {
	g := gate(600)
	r := from("a")
	for b.Loop() {
		p, _ := g.Enter(context.Background(), r)
		p.Leave()
	}
}
