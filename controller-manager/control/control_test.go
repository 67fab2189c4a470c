package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
)

// The wanted values are upstream's, printed by its own ComputeHash.
func TestTemplateHashIsUpstreams(t *testing.T) {
	const text = `{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"nginx","image":"nginx:1","resources":{"requests":{"cpu":"100m"}},` +
		`"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}],"restartPolicy":"Always",` +
		`"terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","securityContext":{},"schedulerName":"default-scheduler"}}`
	var template corev1.PodTemplateSpec
	if err := json.Unmarshal([]byte(text), &template); err != nil {
		t.Fatal(err)
	}
	if got := TemplateHash(&template, nil); got != "6d4dd55cd6" {
		t.Errorf("hash %s", got)
	}
	if got := TemplateHash(&template, ptr.To[int32](1)); got != "57659d97d7" {
		t.Errorf("hash after a collision %s", got)
	}
}

func TestGrow(t *testing.T) {
	tests := []struct {
		name        string
		count       int
		failAt      int // this call and all later ones fail
		done, calls int
	}{
		{name: "all succeed", count: 100, failAt: 1000, done: 100, calls: 100},
		{name: "the first fails: nothing more is tried", count: 100, failAt: 0, done: 0, calls: 1},
		{name: "a failing batch is finished, the next not begun", count: 100, failAt: 3, done: 3, calls: 7},
		{name: "nothing to do", count: 0, failAt: 0, done: 0, calls: 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var calls atomic.Int32
			done, err := Grow(t.Context(), tt.count, func(_ context.Context, i int) error {
				calls.Add(1)
				if i >= tt.failAt {
					return errors.New("refused")
				}
				return nil
			})
			if done != tt.done || int(calls.Load()) != tt.calls || (err == nil) != (done == tt.count) {
				t.Errorf("%d done in %d calls (%v), want %d in %d", done, calls.Load(), err, tt.done, tt.calls)
			}
		})
	}
}

// storeAt is a cache that has come to a version.
type storeAt struct {
	cache.Store
	version string
}

func (s *storeAt) LastStoreSyncResourceVersion() string { return s.version }

func TestWrites(t *testing.T) {
	store := &storeAt{version: "99"}
	var w Writes
	if err := w.Behind("k"); err != nil {
		t.Fatalf("nothing written, yet behind: %v", err)
	}
	w.Wrote("k", store, &metav1.ObjectMeta{ResourceVersion: "101"})
	w.Wrote("k", store, &metav1.ObjectMeta{ResourceVersion: "100"})
	if err := w.Behind("k"); err == nil {
		t.Error("the cache has not seen 101")
	}
	if err := w.Behind("other"); err != nil {
		t.Errorf("another key waits: %v", err)
	}
	store.version = "100"
	if err := w.Behind("k"); err == nil {
		t.Error("the earlier of two writes is not enough")
	}
	store.version = "102"
	if err := w.Behind("k"); err != nil {
		t.Errorf("the cache has seen it: %v", err)
	}
	w.Deleted("k", "uid")
	if !w.Gone("k", "uid") || w.Gone("k", "another") {
		t.Error("deleted objects are remembered, others not")
	}
	w.Retain("k", func(types.UID) bool { return false })
	if w.Gone("k", "uid") || len(w.keys) != 0 {
		t.Error("what the cache no longer has is forgotten")
	}
}

func TestClaim(t *testing.T) {
	owner := &corev1.ReplicationController{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "rc", UID: "owner"}}
	kind := corev1.SchemeGroupVersion.WithKind("ReplicationController")
	pod := func(name string, label string, controller types.UID) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name), Labels: map[string]string{"app": label}}}
		if controller != "" {
			p.OwnerReferences = []metav1.OwnerReference{{UID: controller, Controller: ptr.To(true)}}
		}
		return p
	}
	dying := pod("dying", "web", "")
	dying.DeletionTimestamp = ptr.To(metav1.Now())
	tests := []struct {
		name     string
		pod      *corev1.Pod
		live     types.UID
		deleting bool
		owned    bool
		patched  bool
		fails    bool
	}{
		{name: "own and selected stays", pod: pod("a", "web", "owner"), owned: true},
		{name: "own and no longer selected is released", pod: pod("a", "other", "owner"), patched: true},
		{name: "somebody else's is left alone", pod: pod("a", "web", "stranger")},
		{name: "an orphan that is selected is adopted", pod: pod("a", "web", ""), live: "owner", owned: true, patched: true},
		{name: "an orphan of another selector is left alone", pod: pod("a", "other", ""), live: "owner"},
		{name: "an orphan that is going is left alone", pod: dying, live: "owner"},
		{name: "an owner that was made anew does not inherit", pod: pod("a", "web", ""), live: "successor", fails: true},
		{name: "an owner that is going adopts nothing", pod: pod("a", "web", ""), live: "owner", deleting: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := owner.DeepCopy()
			if tt.deleting {
				o.DeletionTimestamp = ptr.To(metav1.Now())
			}
			patched := false
			owned, err := Claim[*corev1.Pod]{
				Owner: o, Kind: kind, Selector: labels.SelectorFromSet(labels.Set{"app": "web"}),
				Live: func(context.Context) (metav1.Object, error) {
					return &corev1.ReplicationController{ObjectMeta: metav1.ObjectMeta{UID: tt.live}}, nil
				},
				Patch: func(context.Context, *corev1.Pod, []byte) error { patched = true; return nil },
			}.From(t.Context(), []*corev1.Pod{tt.pod})
			if (len(owned) == 1) != tt.owned || patched != tt.patched || (err != nil) != tt.fails {
				t.Errorf("owned %d, patched %v, error %v", len(owned), patched, err)
			}
		})
	}
}

func TestCheapestFirst(t *testing.T) {
	now := time.Unix(100_000, 0)
	pod := func(name, node string, phase corev1.PodPhase, readyFor time.Duration) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(now.Add(-readyFor - time.Second))}}
		p.Spec.NodeName, p.Status.Phase = node, phase
		if readyFor > 0 {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-readyFor))}}
		}
		return p
	}
	cheap := pod("cheap", "n", corev1.PodRunning, 5*time.Hour)
	cheap.Annotations = map[string]string{corev1.PodDeletionCost: "-10"}
	restarted := pod("restarted", "n", corev1.PodRunning, 0)
	restarted.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 7}}
	pods := []*corev1.Pod{
		pod("old", "n", corev1.PodRunning, 10*time.Hour),
		pod("young", "n", corev1.PodRunning, time.Minute),
		cheap,
		pod("crowded", "full", corev1.PodRunning, 10*time.Hour),
		pod("steady", "n", corev1.PodRunning, 0),
		restarted,
		pod("pending", "n", corev1.PodPending, 0),
		pod("unbound", "", corev1.PodPending, 0),
	}
	CheapestFirst(pods, func(node string) int {
		if node == "full" {
			return 3
		}
		return 1
	}, now)
	var got []string
	for _, p := range pods {
		got = append(got, p.Name)
	}
	want := []string{"unbound", "pending", "restarted", "steady", "cheap", "crowded", "young", "old"}
	if !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}

func TestAvailable(t *testing.T) {
	now := time.Unix(1000, 0)
	ready := func(since time.Duration) *corev1.Pod {
		return &corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-since))}}}}
	}
	tests := []struct {
		name      string
		pod       *corev1.Pod
		seconds   int32
		available bool
		in        time.Duration
	}{
		{name: "not ready", pod: &corev1.Pod{}},
		{name: "ready, no minimum", pod: ready(0), available: true},
		{name: "ready for long enough", pod: ready(10 * time.Second), seconds: 10, available: true},
		{name: "not yet", pod: ready(4 * time.Second), seconds: 10, in: 6 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if available, in := Available(tt.pod, tt.seconds, now); available != tt.available || in != tt.in {
				t.Errorf("%v in %s", available, in)
			}
		})
	}
}

// A loop never reconciles a key twice at a time, retries what failed, and comes back when asked.
func TestLoop(t *testing.T) {
	var running, most, tries, again atomic.Int32
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	l := NewLoop(Env{Hubs: &Hubs{}}, "test", 4, func(_ context.Context, key string) error {
		most.Store(max(most.Load(), running.Add(1)))
		defer running.Add(-1)
		switch key {
		case "fails":
			if tries.Add(1) < 3 {
				return fmt.Errorf("try %d", tries.Load())
			}
		case "panics":
			if again.Add(1) == 1 {
				panic("once")
			}
		case "waits":
			if tries.Load() < 3 || again.Load() < 2 {
				return Again(time.Millisecond)
			}
			close(done)
		}
		return nil
	})
	for _, key := range []string{"fails", "panics", "waits"} {
		l.Add(key)
	}
	stopped := make(chan error)
	go func() { stopped <- l.Run(ctx) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatalf("tries %d, again %d", tries.Load(), again.Load())
	}
	cancel()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestOwnerKey(t *testing.T) {
	kind := corev1.SchemeGroupVersion.WithKind("ReplicationController")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ReplicationController", Name: "a", Controller: ptr.To(true)}}}}
	if got := OwnerKey(pod, kind); !slices.Equal(got, []string{"ns/a"}) {
		t.Errorf("OwnerKey: %v", got)
	}
	pod.OwnerReferences[0].APIVersion = "apps/v1"
	if got := OwnerKey(pod, kind); got != nil {
		t.Errorf("a kind of that name in another group: %v", got)
	}
}

func TestIgnoreNotFound(t *testing.T) {
	if err := IgnoreNotFound(apierrors.NewNotFound(corev1.Resource("pods"), "a")); err != nil {
		t.Error(err)
	}
	if err := IgnoreNotFound(errors.New("other")); err == nil {
		t.Error("another error was lost")
	}
}
