package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/e2e/lab"
)

// nodes is the number of nodes, as objects, that pods are spread over.
const nodes = 1000

// scheduling measures how long some thousand new pods take to have nodes, their creation included.
func (b *bench) scheduling(ctx context.Context) error {
	pods := b.schedule
	l, err := b.start(ctx, lab.Parts{API: b.side, Scheduler: b.side})
	if err != nil {
		return err
	}
	defer b.stop(l)
	load, err := newLoad(ctx, l)
	if err != nil {
		return err
	}
	defer load.close()
	if err := load.createNodes(ctx); err != nil {
		return err
	}
	for _, kind := range []struct {
		name, what string
		shape      func(i int, p *corev1.Pod)
	}{
		{"plain", fmt.Sprintf("schedule %d pods on %d nodes", pods, nodes), func(int, *corev1.Pod) {}},
		{"spread", "the same, spread over zones", spreadOut},
		{"anti", "the same, apart from their like", apart},
	} {
		if err := load.namespaced(ctx, kind.name); err != nil {
			return err
		}
		path := "/api/v1/namespaces/" + kind.name + "/pods"
		made, err := bodies(pods, func(i int) any {
			p := smallPod(fmt.Sprintf("%s-%04d", kind.name, i), kind.name)
			kind.shape(i, p)
			return p
		})
		if err != nil {
			return err
		}
		if kind.name == "plain" {
			// The first pod waits for the scheduler to have read everything and to lead.
			if err := b.first(ctx, load); err != nil {
				return err
			}
		}
		revision, err := load.revision(ctx, path)
		if err != nil {
			return err
		}
		bound := load.count(ctx, path+"?fieldSelector=spec.nodeName%21%3D", revision, added, pods)
		var took time.Duration
		cpu, err := used(l, lab.Scheduler, func() error {
			start := time.Now()
			if _, err := spread(ctx, pods, writers, func(ctx context.Context, i int) error { return load.post(ctx, path, made[i]) }); err != nil {
				return err
			}
			err := bound.wait(ctx)
			took = time.Since(start)
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", kind.what, err)
		}
		b.report(kind.what, "/s", more, float64(pods)/took.Seconds())
		b.report(kind.what+": processor time of the scheduler", "us a pod", less, float64(cpu.Microseconds())/float64(pods))
	}
	return nil
}

func (b *bench) first(ctx context.Context, load *load) error {
	if err := load.namespaced(ctx, "first"); err != nil {
		return err
	}
	const path = "/api/v1/namespaces/first/pods"
	revision, err := load.revision(ctx, path)
	if err != nil {
		return err
	}
	bound := load.count(ctx, path+"?fieldSelector=spec.nodeName%21%3D", revision, added, 1)
	made, err := bodies(1, func(int) any { return smallPod("first", "first") })
	if err != nil {
		return err
	}
	if err := load.post(ctx, path, made[0]); err != nil {
		return err
	}
	if err := bound.wait(ctx); err != nil {
		return fmt.Errorf("the first pod was not scheduled: %w", err)
	}
	return nil
}

func smallPod(name, app string) *corev1.Pod {
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "main", Image: "registry.example.com/web:v1",
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi"),
			}},
		}}},
	}
}

func spreadOut(_ int, p *corev1.Pod) {
	p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
		MaxSkew: 1, TopologyKey: corev1.LabelTopologyZone, WhenUnsatisfiable: corev1.DoNotSchedule,
		LabelSelector: &metav1.LabelSelector{MatchLabels: p.Labels},
	}}
}

// apart keeps each of ten groups of pods from sharing nodes among themselves.
func apart(i int, p *corev1.Pod) {
	p.Labels["group"] = fmt.Sprint(i % 10)
	p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
		TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"group": p.Labels["group"]}},
	}}}}
}

// createNodes makes nodes that are objects only: Ready, in ten zones, of 32 processors each.
func (l *load) createNodes(ctx context.Context) error {
	made, err := bodies(nodes, func(i int) any { return node(fmt.Sprintf("node-%d", i), fmt.Sprintf("zone-%d", i%10)) })
	if err != nil {
		return err
	}
	_, err = spread(ctx, nodes, writers, func(ctx context.Context, i int) error {
		if err := l.post(ctx, "/api/v1/nodes", made[i]); err != nil {
			return err
		}
		// Admission taints a new node; what would take that away, once the node is ready, does not run here.
		return l.patch(ctx, fmt.Sprintf("/api/v1/nodes/node-%d", i), mergeType, []byte(`{"spec":{"taints":null}}`))
	})
	return err
}

func node(name, zone string) *corev1.Node {
	room := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("32"), corev1.ResourceMemory: resource.MustParse("128Gi"),
		corev1.ResourcePods: resource.MustParse("110"), corev1.ResourceEphemeralStorage: resource.MustParse("100Gi"),
	}
	return &corev1.Node{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			corev1.LabelHostname: name, corev1.LabelTopologyZone: zone, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
		}},
		Status: corev1.NodeStatus{Capacity: room, Allocatable: room, Conditions: []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady",
		}}},
	}
}
