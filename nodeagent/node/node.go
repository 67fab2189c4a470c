package node

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
	"k8s.io/component-helpers/apimachinery/lease"
	"k8s.io/utils/clock"
)

// Config of a Keeper.
type Config struct {
	Name     string
	Client   kubernetes.Interface
	Recorder record.EventRecorder
	Log      *slog.Logger

	Addresses   []string // of the node, primary first
	Hostname    string
	Labels      map[string]string
	Taints      []corev1.Taint
	Register    bool
	Port        int32
	Capacity    corev1.ResourceList
	Reserved    corev1.ResourceList // for the system and the agent, taken off what pods may have
	Info        corev1.NodeSystemInfo
	ProviderID  string
	Unscheduled bool

	// Images lists the images on the node, as node status shows them.
	Images func(ctx context.Context) []corev1.ContainerImage
	// Ready says what keeps the node from running pods; nil when nothing does.
	Ready func(ctx context.Context) error
	// Pressure says which resources are short: MemoryPressure, DiskPressure, PIDPressure.
	Pressure func() map[corev1.NodeConditionType]bool
	// Handlers are the runtime's RuntimeClass handlers.
	Handlers []corev1.NodeRuntimeHandler
	Features []string // declared features
	// Seen is called with every version of the node object that the keeper learns of.
	Seen func(*corev1.Node)
}

const (
	// statusPeriod is how often the node's status is looked at, and reportPeriod how often it is sent although nothing changed.
	statusPeriod = 10 * time.Second
	reportPeriod = 5 * time.Minute

	leaseDuration = 40
	leasePeriod   = 10 * time.Second
	// maxImages in node status: the object is sent to many.
	maxImages = 50
)

// Keeper keeps the Node object.
type Keeper struct {
	cfg  Config
	wake chan struct{}

	mu   sync.Mutex
	last *corev1.Node
}

// New returns a keeper.
func New(cfg Config) *Keeper { return &Keeper{cfg: cfg, wake: make(chan struct{}, 1)} }

// Wake has the status looked at now.
func (k *Keeper) Wake() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Allocatable is what pods may have of the node.
func (k *Keeper) Allocatable() corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, q := range k.cfg.Capacity {
		free := q.DeepCopy()
		if r, ok := k.cfg.Reserved[name]; ok {
			free.Sub(r)
		}
		if free.Sign() < 0 {
			free = *resource.NewQuantity(0, q.Format)
		}
		out[name] = free
	}
	return out
}

// Run registers the node and keeps its status and lease until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	if k.cfg.Register {
		if err := k.register(ctx); err != nil {
			return err
		}
	}
	heartbeat := lease.NewController(clock.RealClock{}, k.cfg.Client, k.cfg.Name, leaseDuration, nil, leasePeriod, k.cfg.Name,
		corev1.NamespaceNodeLease, k.ownLease)
	done := make(chan struct{})
	go func() { defer close(done); heartbeat.Run(ctx) }()
	defer func() { <-done }()
	sent := time.Time{}
	tick := time.NewTicker(statusPeriod)
	defer tick.Stop()
	for {
		now := time.Now()
		changed, err := k.update(ctx, now, now.Sub(sent) >= reportPeriod)
		switch {
		case err != nil && ctx.Err() == nil:
			k.cfg.Log.Warn("node status not written, trying again", "err", err)
		case changed:
			sent = now
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-k.wake:
		}
	}
}

// ownLease has the lease go when the node goes.
func (k *Keeper) ownLease(l *coordinationv1.Lease) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(l.OwnerReferences) == 0 && k.last != nil {
		l.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: k.last.Name, UID: k.last.UID}}
	}
	return nil
}

// register creates the Node, or brings labels of an existing one up to date. It tries until it succeeds: the API server may be
// starting as well.
func (k *Keeper) register(ctx context.Context) error {
	pause := 100 * time.Millisecond
	for {
		err := k.tryRegister(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		k.cfg.Log.Warn("node not registered, trying again", "node", k.cfg.Name, "err", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, 3*time.Second)
	}
}

func (k *Keeper) tryRegister(ctx context.Context) error {
	nodes := k.cfg.Client.CoreV1().Nodes()
	fresh := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: k.cfg.Name, Labels: k.labels(), Annotations: map[string]string{
		"volumes.kubernetes.io/controller-managed-attach-detach": "true"}},
		Spec: corev1.NodeSpec{Taints: k.cfg.Taints, ProviderID: k.cfg.ProviderID, Unschedulable: k.cfg.Unscheduled}}
	k.describe(ctx, fresh, time.Now())
	made, err := nodes.Create(ctx, fresh, metav1.CreateOptions{})
	if err == nil {
		k.cfg.Log.Info("node registered", "node", k.cfg.Name)
		k.remember(made)
		return nil
	}
	if !apierrors.IsAlreadyExists(err) {
		if have, e := nodes.Get(ctx, k.cfg.Name, metav1.GetOptions{}); e == nil {
			return k.adopt(ctx, have)
		}
		return fmt.Errorf("create node: %w", err)
	}
	have, err := nodes.Get(ctx, k.cfg.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("get node: %w", err)
	}
	return k.adopt(ctx, have)
}

func (k *Keeper) adopt(ctx context.Context, have *corev1.Node) error {
	k.remember(have)
	wrong := map[string]string{}
	for name, value := range k.labels() {
		if have.Labels[name] != value {
			wrong[name] = value
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": wrong}})
	if err != nil {
		return err
	}
	node, err := k.cfg.Client.CoreV1().Nodes().Patch(ctx, k.cfg.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("label node: %w", err)
	}
	k.remember(node)
	return nil
}

func (k *Keeper) labels() map[string]string {
	labels := map[string]string{
		corev1.LabelHostname: k.cfg.Hostname, corev1.LabelOSStable: runtime.GOOS, corev1.LabelArchStable: runtime.GOARCH,
		"beta.kubernetes.io/os": runtime.GOOS, "beta.kubernetes.io/arch": runtime.GOARCH,
	}
	maps.Copy(labels, k.cfg.Labels)
	return labels
}

func (k *Keeper) remember(n *corev1.Node) {
	k.mu.Lock()
	k.last = n
	k.mu.Unlock()
	if k.cfg.Seen != nil {
		k.cfg.Seen(n)
	}
}

// Know tells the keeper a version of the object that was seen elsewhere (by the watch on it).
func (k *Keeper) Know(n *corev1.Node) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if n == nil || k.last == nil || k.last.UID != n.UID || older(k.last.ResourceVersion, n.ResourceVersion) {
		k.last = n
	}
}

// older compares resource versions, which are decimal numbers.
func older(a, b string) bool {
	if len(a) != len(b) {
		return len(a) < len(b)
	}
	return a < b
}

// update writes the status if it differs from what is there, or in any case when must is set.
func (k *Keeper) update(ctx context.Context, now time.Time, must bool) (bool, error) {
	k.mu.Lock()
	have := k.last
	k.mu.Unlock()
	nodes := k.cfg.Client.CoreV1().Nodes()
	if have == nil {
		var err error
		if have, err = nodes.Get(ctx, k.cfg.Name, metav1.GetOptions{}); err != nil {
			if apierrors.IsNotFound(err) && k.cfg.Register {
				return true, k.tryRegister(ctx) // somebody deleted it
			}
			return false, fmt.Errorf("get node: %w", err)
		}
	}
	want := have.DeepCopy()
	k.describe(ctx, want, now)
	if !must && sameStatus(have, want) {
		return false, nil
	}
	from, err := json.Marshal(corev1.Node{Status: have.Status})
	if err != nil {
		return false, err
	}
	to, err := json.Marshal(corev1.Node{Status: want.Status})
	if err != nil {
		return false, err
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(from, to, corev1.Node{})
	if err != nil {
		return false, fmt.Errorf("compute node patch: %w", err)
	}
	got, err := nodes.Patch(ctx, k.cfg.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil {
		k.mu.Lock()
		k.last = nil // read it again
		k.mu.Unlock()
		return false, fmt.Errorf("patch node status: %w", err)
	}
	k.tell(have, want)
	k.remember(got)
	return true, nil
}

// sameStatus compares all but the times of heartbeats.
func sameStatus(a, b *corev1.Node) bool {
	strip := func(n *corev1.Node) *corev1.NodeStatus {
		s := n.Status.DeepCopy()
		for i := range s.Conditions {
			s.Conditions[i].LastHeartbeatTime = metav1.Time{}
		}
		slices.SortFunc(s.Conditions, func(x, y corev1.NodeCondition) int { return strings.Compare(string(x.Type), string(y.Type)) })
		return s
	}
	return equality.Semantic.DeepEqual(strip(a), strip(b))
}
