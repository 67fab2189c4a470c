package scheduler

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"

	"github.com/skiff-project/skiff/scheduler/nodes"
)

// testScheduler is a scheduler whose loop does not run: tests call decide as the loop would.
func testScheduler(t testing.TB, list ...*corev1.Node) *Scheduler {
	t.Helper()
	s, err := New(Config{API: &rest.Config{Host: "https://127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.watch(informers.NewSharedInformerFactory(fake.NewClientset(), 0)); err != nil {
		t.Fatal(err)
	}
	for _, n := range list {
		s.table.SetNode(n)
	}
	return s
}

type nodeOption func(*corev1.Node)

func node(name string, options ...nodeOption) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
	n.Status.Allocatable = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("10"),
	}
	for _, o := range options {
		o(n)
	}
	return n
}

func cordoned(n *corev1.Node) { n.Spec.Unschedulable = true }
func zone(z string) nodeOption {
	return func(n *corev1.Node) { n.Labels[corev1.LabelTopologyZone] = z }
}
func taint(key string, effect corev1.TaintEffect) nodeOption {
	return func(n *corev1.Node) { n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Effect: effect}) }
}

type podOption func(*corev1.Pod)

var podNumber int

func pod(options ...podOption) *corev1.Pod {
	podNumber++
	name := fmt.Sprint("pod-", podNumber)
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)}}
	p.Spec.Containers = []corev1.Container{{Name: "c", Image: "nginx"}}
	p.Spec.SchedulerName = corev1.DefaultSchedulerName
	for _, o := range options {
		o(p)
	}
	return p
}

func cpu(q string) podOption {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(q)}
	}
}
func priority(n int32) podOption { return func(p *corev1.Pod) { p.Spec.Priority = &n } }
func labeled(k, v string) podOption {
	return func(p *corev1.Pod) { p.Labels = map[string]string{k: v} }
}
func hostPort(n int32) podOption {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: n, ContainerPort: n}}
	}
}
func selects(k, v string) podOption {
	return func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{k: v} }
}

func apart(key, value, topology string) podOption {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term(key, value, topology)}}}
	}
}
func together(key, value, topology string) podOption {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term(key, value, topology)}}}
	}
}
func term(key, value, topology string) corev1.PodAffinityTerm {
	return corev1.PodAffinityTerm{LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}, TopologyKey: topology}
}
func spread(topology string, skew int32, labels map[string]string) podOption {
	return func(p *corev1.Pod) {
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
			TopologyKey: topology, MaxSkew: skew, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: &metav1.LabelSelector{MatchLabels: labels},
		}}
	}
}

func on(name string, p *corev1.Pod) *corev1.Pod {
	p.Spec.NodeName = name
	return p
}

func TestDecide(t *testing.T) {
	for _, test := range []struct {
		name   string
		nodes  []*corev1.Node
		placed []*corev1.Pod
		pod    *corev1.Pod
		want   string // a node ...
		why    string // ... or the reason that there is none
	}{
		{name: "no nodes at all", pod: pod(), why: "no nodes available to schedule pods"},
		{name: "cordoned node is skipped", nodes: []*corev1.Node{node("a", cordoned), node("b")}, pod: pod(), want: "b"},
		{name: "all cordoned", nodes: []*corev1.Node{node("a", cordoned)}, pod: pod(), why: "0/1 nodes are available: 1 node(s) were unschedulable."},
		{name: "taint without toleration", nodes: []*corev1.Node{node("a", taint("x", corev1.TaintEffectNoSchedule))}, pod: pod(), why: "0/1 nodes are available: 1 node(s) had untolerated taint(s)."},
		{name: "soft taint only makes a node worse", nodes: []*corev1.Node{node("a", taint("x", corev1.TaintEffectPreferNoSchedule)), node("b")}, pod: pod(), want: "b"},
		{name: "selector that no node has", nodes: []*corev1.Node{node("a")}, pod: pod(selects("disk", "ssd")), why: "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."},
		{name: "the node with more left is better", nodes: []*corev1.Node{node("a"), node("b")}, placed: []*corev1.Pod{on("a", pod(cpu("2")))}, pod: pod(cpu("1")), want: "b"},
		{name: "CPU is used up", nodes: []*corev1.Node{node("a"), node("b")}, placed: []*corev1.Pod{on("a", pod(cpu("3"))), on("b", pod(cpu("3500m")))}, pod: pod(cpu("2")), why: "0/2 nodes are available: 2 Insufficient cpu."},
		{name: "port is taken", nodes: []*corev1.Node{node("a")}, placed: []*corev1.Pod{on("a", pod(hostPort(80)))}, pod: pod(hostPort(80)), why: "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."},
		{name: "other port is free", nodes: []*corev1.Node{node("a")}, placed: []*corev1.Pod{on("a", pod(hostPort(80)))}, pod: pod(hostPort(81)), want: "a"},
		{name: "own anti-affinity", nodes: []*corev1.Node{node("a"), node("b")}, placed: []*corev1.Pod{on("a", pod(labeled("app", "db")))}, pod: pod(apart("app", "db", corev1.LabelHostname)), want: "b"},
		{name: "anti-affinity of those that are there", nodes: []*corev1.Node{node("a")}, placed: []*corev1.Pod{on("a", pod(apart("app", "web", corev1.LabelHostname)))}, pod: pod(labeled("app", "web")), why: "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules."},
		{name: "affinity follows the zone", nodes: []*corev1.Node{node("a", zone("1")), node("b", zone("2"))}, placed: []*corev1.Pod{on("b", pod(labeled("app", "db")))}, pod: pod(together("app", "db", corev1.LabelTopologyZone)), want: "b"},
		{name: "affinity to nobody", nodes: []*corev1.Node{node("a")}, pod: pod(together("app", "db", corev1.LabelHostname)), why: "0/1 nodes are available: 1 node(s) didn't match pod affinity rules."},
		{name: "the first of a group may go anywhere", nodes: []*corev1.Node{node("a")}, pod: pod(labeled("app", "db"), together("app", "db", corev1.LabelHostname)), want: "a"},
		{name: "spread over zones", nodes: []*corev1.Node{node("a", zone("1")), node("b", zone("2"))}, placed: []*corev1.Pod{on("a", pod(labeled("app", "web")))}, pod: pod(labeled("app", "web"), spread(corev1.LabelTopologyZone, 1, map[string]string{"app": "web"})), want: "b"},
		{name: "spread is impossible when the empty zone is closed", nodes: []*corev1.Node{node("a", zone("1")), node("b", zone("2"), cordoned)}, placed: []*corev1.Pod{on("a", pod(labeled("app", "web")))}, pod: pod(labeled("app", "web"), spread(corev1.LabelTopologyZone, 1, map[string]string{"app": "web"})), why: "0/2 nodes are available: 1 node(s) didn't match pod topology spread constraints, 1 node(s) were unschedulable."},
		{name: "claim that does not exist", nodes: []*corev1.Node{node("a")}, pod: pod(func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}
		}), why: `0/1 nodes are available: persistentvolumeclaim "data" not found.`},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := testScheduler(t, test.nodes...)
			for _, p := range test.placed {
				s.table.SetPod(nodes.NewPod(p), p.Spec.NodeName)
			}
			// Twice: the second answer comes from what the class remembers.
			for range 2 {
				n, no := s.decide(nodes.NewPod(test.pod))
				switch {
				case test.want == "" && (no == nil || no.Error() != test.why):
					t.Fatalf("got %v (%v), want refusal %q", n, no, test.why)
				case test.want != "" && (n == nil || n.Name != test.want):
					t.Fatalf("got %v (%v), want node %s", n, no, test.want)
				}
			}
		})
	}
}

// What a class remembers must be what a scheduler that has just started finds out.
func TestClassesRememberTheTruth(t *testing.T) {
	makers := []func() *corev1.Pod{
		func() *corev1.Pod { return pod(cpu("500m"), labeled("app", "a")) },
		func() *corev1.Pod { return pod(labeled("app", "b"), apart("app", "b", corev1.LabelHostname)) },
		func() *corev1.Pod {
			return pod(labeled("app", "c"), spread(corev1.LabelTopologyZone, 1, map[string]string{"app": "c"}))
		},
		func() *corev1.Pod { return pod(labeled("app", "d"), together("app", "a", corev1.LabelTopologyZone)) },
		func() *corev1.Pod { return pod(hostPort(8080)) },
	}
	var list []*corev1.Node
	for i := range 7 {
		list = append(list, node(fmt.Sprint("n", i), zone(fmt.Sprint("z", i%3))))
	}
	s := testScheduler(t, list...)
	var placed []*corev1.Pod
	for step := range 60 {
		if step%9 == 8 && len(placed) > 3 { // somebody leaves
			s.table.RemovePod(placed[3].UID)
			placed = append(placed[:3], placed[4:]...)
		}
		if step == 30 {
			list[2] = node("n2", zone("z0"), taint("x", corev1.TaintEffectNoSchedule))
			s.table.SetNode(list[2])
		}
		p := makers[step%len(makers)]()
		fresh := testScheduler(t, list...)
		for _, q := range placed {
			fresh.table.SetPod(nodes.NewPod(q), q.Spec.NodeName)
		}
		n, no := s.decide(nodes.NewPod(p))
		freshNode, freshNo := fresh.decide(nodes.NewPod(p))
		if (n == nil) != (freshNode == nil) || n == nil && no.Error() != freshNo.Error() {
			t.Fatalf("step %d: remembered %v %v, fresh %v %v", step, n, no, freshNode, freshNo)
		}
		if n == nil {
			continue
		}
		k, freshClass := s.classes.of(nodes.NewPod(p), s.rules), fresh.classes.of(nodes.NewPod(p), fresh.rules)
		for i := range s.table.Rows {
			if a, b := s.fits(k, s.table.Rows[i]), fresh.fits(freshClass, fresh.table.Node(s.table.Rows[i].Name)); (a == nil) != (b == nil) {
				t.Fatalf("step %d: node %s: remembered %v, fresh %v", step, s.table.Rows[i].Name, a, b)
			}
		}
		placed = append(placed, on(n.Name, p))
		s.table.SetPod(nodes.NewPod(p), n.Name)
	}
	if len(placed) < 20 {
		t.Fatalf("only %d pods placed: the test shows little", len(placed))
	}
}

func TestPreemptionTakesTheLeastImportant(t *testing.T) {
	s := testScheduler(t, node("a"), node("b"))
	for _, p := range []*corev1.Pod{on("a", pod(cpu("3"), priority(5))), on("b", pod(cpu("1"), priority(1))), on("b", pod(cpu("2"), priority(2)))} {
		s.table.SetPod(nodes.NewPod(p), p.Spec.NodeName)
	}
	p := nodes.NewPod(pod(cpu("3"), priority(10)))
	n, no := s.decide(p)
	if n != nil {
		t.Fatalf("placed on %s, want no room", n.Name)
	}
	room, note := s.preempt(p, no)
	if room == nil || room.Node.Name != "b" || len(room.Victims) != 1 || room.Victims[0].Priority != 2 {
		t.Fatalf("got %+v (%s), want the pod of priority 2 on b: without it 3 CPUs are free", room, note)
	}
	if _, node, ok := s.table.Pod(room.Victims[0].UID()); !ok || node != "b" || len(s.table.Node("b").Pods) != 2 {
		t.Fatal("looking for victims has changed the table")
	}
	// The room is kept for p: a pod of lower priority does not get it even when the victim is gone.
	s.nominate(p, "b")
	s.table.RemovePod(room.Victims[0].UID())
	if n, _ := s.decide(nodes.NewPod(pod(cpu("2"), priority(3)))); n != nil {
		t.Fatalf("a less important pod got the room on %s", n.Name)
	}
	if n, no := s.decide(p); n == nil || n.Name != "b" {
		t.Fatalf("got %v (%v), want b", n, no)
	}
}

func TestPreemptionIsRefusedInUpstreamsWords(t *testing.T) {
	s := testScheduler(t, node("a"), node("b", cordoned))
	p := nodes.NewPod(pod(cpu("5")))
	_, no := s.decide(p)
	_, note := s.preempt(p, no)
	want := "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
	if note != want {
		t.Errorf("got %q, want %q", note, want)
	}
	if !strings.HasPrefix(no.Error(), "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable.") {
		t.Errorf("got %q", no.Error())
	}
}

func BenchmarkDecide(b *testing.B) {
	for _, shape := range []struct {
		name string
		make func() *corev1.Pod
	}{
		{"plain", func() *corev1.Pod { return pod(cpu("10m")) }},
		{"spread", func() *corev1.Pod {
			return pod(cpu("10m"), labeled("app", "w"), spread(corev1.LabelTopologyZone, 1, map[string]string{"app": "w"}))
		}},
		{"anti-affinity", func() *corev1.Pod {
			return pod(cpu("10m"), labeled("app", "w"), apart("app", "x", corev1.LabelHostname))
		}},
	} {
		b.Run(shape.name, func(b *testing.B) {
			var list []*corev1.Node
			for i := range 1000 {
				n := node(fmt.Sprint("n", i), zone(fmt.Sprint("z", i%3)))
				n.Status.Allocatable[corev1.ResourcePods] = resource.MustParse("100000")
				n.Status.Allocatable[corev1.ResourceCPU] = resource.MustParse("100000")
				list = append(list, n)
			}
			s := testScheduler(b, list...)
			for b.Loop() {
				p := nodes.NewPod(shape.make())
				n, no := s.decide(p)
				if n == nil {
					b.Fatal(no)
				}
				s.table.SetPod(p, n.Name)
			}
		})
	}
}
