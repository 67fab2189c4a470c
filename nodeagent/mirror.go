package nodeagent

import (
	"context"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/skiff-project/skiff/nodeagent/staticpods"
	"github.com/skiff-project/skiff/nodeagent/status"
)

// mirrors shows static pods in the API: for each a pod object that nobody runs, made and removed by the agent, which
// carries the static pod's status. For all other pods it hands statuses on to the writer.
type mirrors struct {
	ctx    context.Context
	client kubernetes.Interface
	writer *status.Writer
	node   string
	log    *slog.Logger

	mu     sync.Mutex
	static map[types.UID]*mirror // by the static pod's UID
	// unclaimed are mirrors whose static pod is not known (yet), by namespace and name.
	unclaimed map[string]*corev1.Pod
}

// patience is how long a mirror may be without its static pod: when the agent starts, the API may be heard of first.
const patience = 10 * time.Second

type mirror struct {
	pod    *corev1.Pod // static
	shown  *corev1.Pod // its mirror, nil while there is none
	status *corev1.PodStatus
	gone   bool
	busy   bool
}

func newMirrors(ctx context.Context, c kubernetes.Interface, w *status.Writer, node string, log *slog.Logger) *mirrors {
	return &mirrors{ctx: ctx, client: c, writer: w, node: node, log: log, static: map[types.UID]*mirror{}, unclaimed: map[string]*corev1.Pod{}}
}

func isMirror(p *corev1.Pod) bool { _, ok := p.Annotations[corev1.MirrorPodAnnotationKey]; return ok }

// add makes a static pod known.
func (m *mirrors) add(pod *corev1.Pod) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.static[pod.UID] == nil {
		key := pod.Namespace + "/" + pod.Name
		m.static[pod.UID] = &mirror{pod: pod, shown: m.unclaimed[key]}
		delete(m.unclaimed, key)
	}
	m.ensure(m.static[pod.UID])
}

// remove ends the interest in a static pod; its mirror goes with it.
func (m *mirrors) remove(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.static[uid]; s != nil {
		s.gone = true
		m.ensure(s)
		delete(m.static, uid)
	}
}

// seen hears of a mirror in the API.
func (m *mirrors) seen(shown *corev1.Pod, gone bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.static {
		if s.pod.Namespace != shown.Namespace || s.pod.Name != shown.Name {
			continue
		}
		switch {
		case gone && s.shown != nil && s.shown.UID == shown.UID:
			m.writer.Forget(shown.UID)
			s.shown = nil
		case !gone:
			s.shown = shown
			m.writer.Know(shown)
			if s.status != nil {
				m.writer.Set(shown, *s.status)
			}
		}
		m.ensure(s)
		return
	}
	key := shown.Namespace + "/" + shown.Name
	if gone {
		delete(m.unclaimed, key)
		return
	}
	m.unclaimed[key] = shown
	time.AfterFunc(patience, func() {
		m.mu.Lock()
		orphan := m.unclaimed[key] == shown
		m.mu.Unlock()
		if orphan {
			m.delete(shown)
		}
	})
}

// ensure brings the mirror into being, or replaces one that shows another version of the pod. Called with mu held.
func (m *mirrors) ensure(s *mirror) {
	if s.busy {
		return
	}
	shown := s.shown
	stale := shown != nil && (shown.DeletionTimestamp != nil || shown.Annotations[corev1.MirrorPodAnnotationKey] != s.pod.Annotations[staticpods.HashAnnotation])
	switch {
	case shown != nil && (s.gone || stale):
		go m.delete(shown)
	case shown == nil && !s.gone:
		s.busy = true
		go m.create(s)
	}
}

func (m *mirrors) delete(shown *corev1.Pod) {
	uid := shown.UID
	err := m.client.CoreV1().Pods(shown.Namespace).Delete(m.ctx, shown.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64), Preconditions: &metav1.Preconditions{UID: &uid}})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && m.ctx.Err() == nil {
		m.log.Warn("mirror pod not deleted", "pod", shown.Namespace+"/"+shown.Name, "err", err)
	}
}

func (m *mirrors) create(s *mirror) {
	pause := 200 * time.Millisecond
	for m.ctx.Err() == nil {
		made, err := m.tryCreate(s.pod)
		m.mu.Lock()
		if err == nil || apierrors.IsAlreadyExists(err) || s.gone {
			s.busy = false
			if err == nil && s.shown == nil {
				s.shown = made
				if s.status != nil {
					m.writer.Set(made, *s.status)
				}
			}
			m.mu.Unlock()
			return
		}
		m.mu.Unlock()
		m.log.Debug("mirror pod not created, trying again", "pod", s.pod.Namespace+"/"+s.pod.Name, "err", err)
		select {
		case <-m.ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, 10*time.Second)
	}
}

func (m *mirrors) tryCreate(pod *corev1.Pod) (*corev1.Pod, error) {
	node, err := m.client.CoreV1().Nodes().Get(m.ctx, m.node, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	shown := pod.DeepCopy()
	shown.UID, shown.Status = "", corev1.PodStatus{}
	shown.Annotations[corev1.MirrorPodAnnotationKey] = pod.Annotations[staticpods.HashAnnotation]
	yes := true
	shown.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID, Controller: &yes}}
	return m.client.CoreV1().Pods(pod.Namespace).Create(m.ctx, shown, metav1.CreateOptions{})
}

// Set implements what pod workers need of a status writer.
func (m *mirrors) Set(pod *corev1.Pod, s corev1.PodStatus) {
	m.mu.Lock()
	defer m.mu.Unlock()
	mine := m.static[pod.UID]
	if mine == nil {
		m.writer.Set(pod, s)
		return
	}
	mine.status = &s
	if mine.shown != nil {
		s.ObservedGeneration = mine.shown.Generation
		for i := range s.Conditions {
			s.Conditions[i].ObservedGeneration = mine.shown.Generation
		}
		m.writer.Set(mine.shown, s)
	}
}

// Get is the status wished for last.
func (m *mirrors) Get(uid types.UID) (corev1.PodStatus, bool) {
	m.mu.Lock()
	mine := m.static[uid]
	m.mu.Unlock()
	if mine == nil {
		return m.writer.Get(uid)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if mine.status == nil {
		return corev1.PodStatus{}, false
	}
	return *mine.status, true
}

// Finish removes a pod's object; a mirror lives on while its file does.
func (m *mirrors) Finish(uid types.UID) {
	m.mu.Lock()
	mine := m.static[uid]
	m.mu.Unlock()
	if mine == nil {
		m.writer.Finish(uid)
	}
}

// Forget ends the interest in a pod.
func (m *mirrors) Forget(uid types.UID) {
	m.mu.Lock()
	mine := m.static[uid]
	m.mu.Unlock()
	if mine == nil {
		m.writer.Forget(uid)
	}
}
