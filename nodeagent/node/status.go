package node

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
)

// words of the conditions that tell of a shortage, as the kubelet says them.
var words = map[corev1.NodeConditionType][2][2]string{
	corev1.NodeMemoryPressure: {
		{"KubeletHasSufficientMemory", "kubelet has sufficient memory available"},
		{"KubeletHasInsufficientMemory", "kubelet has insufficient memory available"},
	},
	corev1.NodeDiskPressure: {
		{"KubeletHasNoDiskPressure", "kubelet has no disk pressure"},
		{"KubeletHasDiskPressure", "kubelet has disk pressure"},
	},
	corev1.NodePIDPressure: {
		{"KubeletHasSufficientPID", "kubelet has sufficient PID available"},
		{"KubeletHasInsufficientPID", "kubelet has insufficient PID available"},
	},
}

// describe fills in what this agent knows of the node; what others keep there stays.
func (k *Keeper) describe(ctx context.Context, n *corev1.Node, now time.Time) {
	s := &n.Status
	s.Addresses = nil
	for _, ip := range k.cfg.Addresses {
		s.Addresses = append(s.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
	}
	s.Addresses = append(s.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: k.cfg.Hostname})
	if s.Capacity == nil {
		s.Capacity = corev1.ResourceList{}
	}
	if s.Allocatable == nil {
		s.Allocatable = corev1.ResourceList{}
	}
	for name, q := range k.cfg.Capacity {
		s.Capacity[name] = q
	}
	allocatable := k.Allocatable()
	for name, q := range allocatable {
		s.Allocatable[name] = q
	}
	for name, q := range s.Capacity { // extended resources that somebody advertised on the node
		if _, own := allocatable[name]; !own {
			s.Allocatable[name] = q
		}
	}
	s.NodeInfo = k.cfg.Info
	s.DaemonEndpoints.KubeletEndpoint.Port = k.cfg.Port
	if k.cfg.Images != nil {
		s.Images = k.cfg.Images(ctx)
		if len(s.Images) > maxImages {
			s.Images = s.Images[:maxImages]
		}
	}
	s.RuntimeHandlers = k.cfg.Handlers
	yes := true
	s.Features = &corev1.NodeFeatures{SupplementalGroupsPolicy: &yes}
	s.DeclaredFeatures = k.cfg.Features
	k.conditions(ctx, s, now)
}

func (k *Keeper) conditions(ctx context.Context, s *corev1.NodeStatus, now time.Time) {
	var short map[corev1.NodeConditionType]bool
	if k.cfg.Pressure != nil {
		short = k.cfg.Pressure()
	}
	for _, t := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		c := corev1.NodeCondition{Type: t, Status: corev1.ConditionFalse, Reason: words[t][0][0], Message: words[t][0][1]}
		if short[t] {
			c.Status, c.Reason, c.Message = corev1.ConditionTrue, words[t][1][0], words[t][1][1]
		}
		set(s, c, now)
	}
	ready := corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "kubelet is posting ready status"}
	if err := k.cfg.Ready(ctx); err != nil {
		ready.Status, ready.Reason, ready.Message = corev1.ConditionFalse, "KubeletNotReady", err.Error()
	}
	set(s, ready, now)
}

func set(s *corev1.NodeStatus, c corev1.NodeCondition, now time.Time) {
	c.LastHeartbeatTime, c.LastTransitionTime = metav1.NewTime(now), metav1.NewTime(now)
	for i := range s.Conditions {
		if s.Conditions[i].Type == c.Type {
			if s.Conditions[i].Status == c.Status {
				c.LastTransitionTime = s.Conditions[i].LastTransitionTime
			}
			s.Conditions[i] = c
			return
		}
	}
	s.Conditions = append(s.Conditions, c)
}

// events that go with a condition's change.
var changes = map[corev1.NodeConditionType][2]string{
	corev1.NodeReady:          {"NodeNotReady", "NodeReady"},
	corev1.NodeMemoryPressure: {"NodeHasSufficientMemory", "NodeHasInsufficientMemory"},
	corev1.NodeDiskPressure:   {"NodeHasNoDiskPressure", "NodeHasDiskPressure"},
	corev1.NodePIDPressure:    {"NodeHasSufficientPID", "NodeHasInsufficientPID"},
}

func (k *Keeper) tell(before, after *corev1.Node) {
	state := func(n *corev1.Node, t corev1.NodeConditionType) corev1.ConditionStatus {
		for _, c := range n.Status.Conditions {
			if c.Type == t {
				return c.Status
			}
		}
		return ""
	}
	for t, reasons := range changes {
		now := state(after, t)
		if now == state(before, t) {
			continue
		}
		reason := reasons[0]
		if now == corev1.ConditionTrue {
			reason = reasons[1]
		}
		Event(k.cfg.Recorder, k.cfg.Name, corev1.EventTypeNormal, reason, "Node "+k.cfg.Name+" status is now: "+reason)
	}
}

// Event tells of the node itself. Like the kubelet it names the node by its name in place of the UID, since it tells of things
// before it knows the UID.
func Event(r record.EventRecorder, name, kind, reason, message string) {
	r.Event(&corev1.ObjectReference{Kind: "Node", Name: name, UID: types.UID(name)}, kind, reason, message)
}
