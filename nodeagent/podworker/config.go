package podworker

import (
	"context"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"

	"github.com/skiff-project/skiff/nodeagent/podfiles"
	"github.com/skiff-project/skiff/nodeagent/probes"
	"github.com/skiff-project/skiff/nodeagent/runtime"
	"github.com/skiff-project/skiff/nodeagent/status"
	"github.com/skiff-project/skiff/nodeagent/volumes"
)

// statuses is what a worker needs of status.Writer.
type statuses interface {
	Set(pod *corev1.Pod, s corev1.PodStatus)
	Get(uid types.UID) (corev1.PodStatus, bool)
	Finish(uid types.UID)
	Forget(uid types.UID)
}

// objects is what a worker needs of objects.Cache.
type objects interface {
	ConfigMap(namespace, name string) (*corev1.ConfigMap, error)
	Secret(namespace, name string) (*corev1.Secret, error)
}

// Config is what all workers of a node share.
type Config struct {
	Runtime     runtime.Runtime
	RuntimeName string // the scheme of container ids
	Images      runtime.Images
	Volumes     *volumes.Manager
	Objects     objects
	Status      statuses
	Recorder    record.EventRecorder
	Log         *slog.Logger

	Resolver podfiles.Resolver
	// HostsFile is the node's, for pods on the host network.
	HostsFile string
	// Bundled is closed once the images that came with the node are loaded: before that an image that is missing may only be late.
	Bundled <-chan struct{}
	// Services lists all Services; false while they are not known yet.
	Services    func() ([]*corev1.Service, bool)
	HostIPs     func() []string
	Capacity    func() corev1.ResourceList
	Allocatable func() corev1.ResourceList
	// Handler is the runtime handler of a RuntimeClass.
	Handler func(ctx context.Context, class string) (string, error)
	// Allocate decides on a resize: nil when the node has room for it (and has then set it aside), or the condition that says why not.
	Allocate func(pod *corev1.Pod, allocated map[string]corev1.ResourceRequirements) *corev1.PodCondition
	// ObserveProbe counts a probe's outcome, for metrics; may be nil.
	ObserveProbe func(kind probes.Kind, o probes.Outcome, took time.Duration)
	// ObserveStart tells how long a pod took from its creation until all its containers had started; may be nil.
	ObserveStart func(time.Duration)

	LogRoot     string // /var/log/pods
	LinkRoot    string // /var/log/containers
	SeccompRoot string
	// MaxRestartDelay bounds the back-off of containers that keep failing; 5 minutes when zero.
	MaxRestartDelay time.Duration
	// RecursiveReadOnly says that the kernel can make mounts read-only recursively.
	RecursiveReadOnly bool
	// Released is called once nothing of a pod runs any more and it holds no resources: the object may still be there.
	Released func(uid types.UID)
	// Finished is called by a worker that has ended: nothing of its pod is left.
	Finished func(uid types.UID)
}

func (c *Config) memoryCapacity() int64 {
	q := c.Capacity()[corev1.ResourceMemory]
	return q.Value()
}

func (c *Config) maxDelay() time.Duration {
	if c.MaxRestartDelay == 0 {
		return 5 * time.Minute
	}
	return c.MaxRestartDelay
}

// Found is what the runtime already has of a pod when its worker starts.
type Found struct {
	Sandboxes  []runtime.Sandbox
	Containers []runtime.ContainerStatus
}

var _ statuses = (*status.Writer)(nil)
