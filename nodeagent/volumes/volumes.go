package volumes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Objects gives what volumes are made of, as fresh as this node knows it.
type Objects interface {
	ConfigMap(namespace, name string) (*corev1.ConfigMap, error)
	Secret(namespace, name string) (*corev1.Secret, error)
	// Claim is a bound claim and the volume that it is bound to.
	Claim(ctx context.Context, namespace, name string) (*corev1.PersistentVolumeClaim, *corev1.PersistentVolume, error)
	// Token asks for a service account token.
	Token(ctx context.Context, namespace, account string, request *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error)
	// TrustBundles are those of the cluster.
	TrustBundles(ctx context.Context) ([]*certificatesv1.ClusterTrustBundle, error)
}

// Certificates issues the certificates of podCertificate sources.
type Certificates interface {
	// Certificate returns key and chain as PEM, issued at once or kept from before, and when to ask again.
	Certificate(ctx context.Context, pod *corev1.Pod, volume string, index int, source *corev1.PodCertificateProjection) (key, chain []byte, renew time.Time, err error)
}

// Config of a Manager.
type Config struct {
	Root         string // the agent's data folder
	Objects      Objects
	Certificates Certificates // nil: podCertificate sources are refused
	HostIPs      func() []string
	Allocatable  func() corev1.ResourceList
	// HostRoot is put before hostPath paths; "" but in tests.
	HostRoot string
}

// Manager makes the volumes of all pods.
type Manager struct{ cfg Config }

// New returns a manager.
func New(cfg Config) (*Manager, error) {
	if err := os.MkdirAll(filepath.Join(cfg.Root, "pods"), 0o750); err != nil {
		return nil, fmt.Errorf("make the folder of pods: %w", err)
	}
	return &Manager{cfg: cfg}, nil
}

// PodDir is the folder of a pod.
func (m *Manager) PodDir(uid types.UID) string { return filepath.Join(m.cfg.Root, "pods", string(uid)) }

// VolumeDir is where a volume that is a folder of its pod lies.
func (m *Manager) VolumeDir(uid types.UID, name string) string {
	return filepath.Join(m.PodDir(uid), "volumes", name)
}

// OnDisk lists the pods that have a folder.
func (m *Manager) OnDisk() ([]types.UID, error) {
	entries, err := os.ReadDir(filepath.Join(m.cfg.Root, "pods"))
	if err != nil {
		return nil, err
	}
	var uids []types.UID
	for _, e := range entries {
		uids = append(uids, types.UID(e.Name()))
	}
	return uids, nil
}

// For returns the volumes of a pod. Its pod worker owns them; only Mounts and Open may be called while Setup or Refresh runs.
func (m *Manager) For(uid types.UID) *Pod {
	return &Pod{cfg: m.cfg, dir: m.PodDir(uid), tokens: map[tokenKey]*authenticationv1.TokenRequest{}, ready: map[string]*volume{}}
}

// Pod is the volumes of one pod.
type Pod struct {
	cfg Config
	dir string

	mu     sync.Mutex
	ready  map[string]*volume
	tokens map[tokenKey]*authenticationv1.TokenRequest
	renew  time.Time
}

// volume is one that is in place.
type volume struct {
	path     string // on the node; empty for image volumes
	image    string
	readOnly bool // because of the kind or the claim, whatever the mount says
}

// Error says which volume could not be made. Its text is that of the FailedMount event.
type Error struct {
	Volume string
	Err    error
}

func (e *Error) Error() string {
	return fmt.Sprintf("MountVolume.SetUp failed for volume %q : %v", e.Volume, e.Err)
}
func (e *Error) Unwrap() error { return e.Err }

// Setup brings every volume of the pod into place and its contents up to date. It does no harm to what is there, so it is also
// what a restarted agent, a changed pod and a changed object call for. The error joins an *Error for each volume that failed.
func (p *Pod) Setup(ctx context.Context, pod *corev1.Pod) error {
	if err := os.MkdirAll(filepath.Join(p.dir, "volumes"), 0o750); err != nil {
		return err
	}
	p.mu.Lock()
	p.renew = time.Time{}
	p.mu.Unlock()
	var errs []error
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		made, err := p.make(ctx, pod, v)
		if err != nil {
			errs = append(errs, &Error{Volume: v.Name, Err: err})
			continue
		}
		p.mu.Lock()
		p.ready[v.Name] = made
		p.mu.Unlock()
	}
	return errors.Join(errs...)
}

// Refresh brings the contents that come from the API up to date; the rest is left alone.
func (p *Pod) Refresh(ctx context.Context, pod *corev1.Pod) error {
	p.mu.Lock()
	p.renew = time.Time{}
	p.mu.Unlock()
	var errs []error
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if !isProjected(v) {
			continue
		}
		if _, err := p.project(ctx, pod, v); err != nil {
			errs = append(errs, &Error{Volume: v.Name, Err: err})
		}
	}
	return errors.Join(errs...)
}

// RenewAt is when Refresh must be called although nothing has changed: a token or certificate is to be replaced. Zero: never.
func (p *Pod) RenewAt() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.renew
}

func (p *Pod) renewBy(t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.renew.IsZero() || t.Before(p.renew) {
		p.renew = t
	}
}

func (p *Pod) make(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) (*volume, error) {
	switch {
	case isProjected(v):
		return p.project(ctx, pod, v)
	case v.EmptyDir != nil:
		return p.emptyDir(pod, v)
	case v.HostPath != nil:
		path := p.cfg.HostRoot + v.HostPath.Path
		return &volume{path: path}, checkHostPath(path, v.HostPath.Type)
	case v.Image != nil:
		return &volume{image: v.Image.Reference, readOnly: true}, nil
	case v.PersistentVolumeClaim != nil:
		return p.claim(ctx, pod, v.PersistentVolumeClaim.ClaimName, v.PersistentVolumeClaim.ReadOnly)
	case v.Ephemeral != nil:
		return p.claim(ctx, pod, pod.Name+"-"+v.Name, false)
	}
	return nil, fmt.Errorf("failed to get Plugin from volumeSpec for volume %q err=no volume plugin matched", v.Name)
}

// path of a volume that is a folder of the pod.
func (p *Pod) path(name string) string { return filepath.Join(p.dir, "volumes", name) }

// Path is where a volume lies on the node; "" while it is not in place and for image volumes.
func (p *Pod) Path(name string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if v := p.ready[name]; v != nil {
		return v.path
	}
	return ""
}

// Open opens a file below a volume for reading, never following a link out of it.
func (p *Pod) Open(volume, path string) (*os.File, error) {
	root := p.Path(volume)
	if root == "" {
		return nil, fmt.Errorf("cannot find the volume %q referenced by FileKeyRef", volume)
	}
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return r.Open(strings.TrimPrefix(path, "/"))
}
