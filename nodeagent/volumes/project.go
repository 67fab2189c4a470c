package volumes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/skiff-project/skiff/nodeagent/env"
)

// file is one file of a volume whose contents come from the API.
type file struct {
	data []byte
	mode os.FileMode
	user *int64
}

type files map[string]file

func isProjected(v *corev1.Volume) bool {
	return v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil || v.Projected != nil
}

// memoryDir is the tmpfs that holds the pod's projected volumes: secrets do not belong on a disk.
const memoryDir = "~projected"

func (p *Pod) project(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) (*volume, error) {
	content, err := p.content(ctx, pod, v)
	if err != nil {
		return nil, err
	}
	base := p.path(memoryDir)
	if err := os.MkdirAll(base, 0o755); err != nil {
		return nil, err
	}
	if err := mountOnce(base, "tmpfs", "mode=0755"); err != nil {
		return nil, err
	}
	path := filepath.Join(base, v.Name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, err
	}
	if err := open(path); err != nil {
		return nil, err
	}
	if err := write(path, content, pod); err != nil {
		return nil, err
	}
	return &volume{path: path, readOnly: true}, nil
}

func (p *Pod) content(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) (files, error) {
	b := &builder{p: p, ctx: ctx, pod: pod, volume: v.Name, out: files{}}
	var err error
	switch {
	case v.ConfigMap != nil:
		b.mode, b.user = mode(v.ConfigMap.DefaultMode), v.ConfigMap.DefaultUser
		err = b.configMap(v.ConfigMap.Name, v.ConfigMap.Items, v.ConfigMap.Optional)
	case v.Secret != nil:
		b.mode, b.user = mode(v.Secret.DefaultMode), v.Secret.DefaultUser
		err = b.secret(v.Secret.SecretName, v.Secret.Items, v.Secret.Optional)
	case v.DownwardAPI != nil:
		b.mode, b.user = mode(v.DownwardAPI.DefaultMode), v.DownwardAPI.DefaultUser
		err = b.downward(v.DownwardAPI.Items)
	case v.Projected != nil:
		b.mode, b.user = mode(v.Projected.DefaultMode), v.Projected.DefaultUser
		var errs []error
		for i := range v.Projected.Sources {
			errs = append(errs, b.source(i, &v.Projected.Sources[i]))
		}
		err = join(errs)
	}
	return b.out, err
}

// join words several errors as Kubernetes does: in brackets.
func join(errs []error) error {
	var list []error
	for _, err := range errs {
		if err != nil {
			list = append(list, err)
		}
	}
	if len(list) < 2 {
		return errors.Join(list...)
	}
	words := make([]string, len(list))
	for i, err := range list {
		words[i] = err.Error()
	}
	return fmt.Errorf("[%s]", strings.Join(words, ", "))
}

func mode(m *int32) os.FileMode {
	if m == nil {
		return 0o644
	}
	return os.FileMode(*m)
}

// builder collects the files of one volume.
type builder struct {
	p      *Pod
	ctx    context.Context
	pod    *corev1.Pod
	volume string
	mode   os.FileMode
	user   *int64
	out    files
}

func (b *builder) source(index int, s *corev1.VolumeProjection) error {
	switch {
	case s.Secret != nil:
		return b.secret(s.Secret.Name, s.Secret.Items, s.Secret.Optional)
	case s.ConfigMap != nil:
		return b.configMap(s.ConfigMap.Name, s.ConfigMap.Items, s.ConfigMap.Optional)
	case s.DownwardAPI != nil:
		return b.downward(s.DownwardAPI.Items)
	case s.ServiceAccountToken != nil:
		token, err := b.p.token(b.ctx, b.pod, s.ServiceAccountToken)
		if err != nil {
			return err
		}
		b.private(s.ServiceAccountToken.Path, []byte(token), s.ServiceAccountToken.User)
	case s.ClusterTrustBundle != nil:
		anchors, err := b.p.trustAnchors(b.ctx, s.ClusterTrustBundle)
		if err != nil {
			return err
		}
		b.private(s.ClusterTrustBundle.Path, anchors, s.ClusterTrustBundle.User)
	case s.PodCertificate != nil:
		return b.certificate(index, s.PodCertificate)
	}
	return nil
}

// private adds a file that only the pod's one user, or its group, is to read; when it has neither, the volume's mode decides.
func (b *builder) private(path string, data []byte, user *int64) {
	f := file{data: data, mode: b.mode, user: fsUser(b.pod)}
	if b.user != nil {
		f.user = b.user
	}
	if user != nil {
		f.user = user
	}
	if group, _ := fsGroup(b.pod); f.user != nil || group != nil {
		f.mode = 0o600
	}
	b.out[path] = f
}

func (b *builder) certificate(index int, s *corev1.PodCertificateProjection) error {
	if b.p.cfg.Certificates == nil {
		return errors.New("podCertificate sources are not served by this node")
	}
	key, chain, renew, err := b.p.cfg.Certificates.Certificate(b.ctx, b.pod, b.volume, index, s)
	if err != nil {
		return err
	}
	b.p.renewBy(renew)
	for path, data := range map[string][]byte{s.CredentialBundlePath: bytes.Join([][]byte{key, chain}, nil), s.KeyPath: key, s.CertificateChainPath: chain} {
		if path != "" {
			b.private(path, data, s.User)
		}
	}
	return nil
}

func (b *builder) configMap(name string, items []corev1.KeyToPath, optional *bool) error {
	cm, err := b.p.cfg.Objects.ConfigMap(b.pod.Namespace, name)
	if err != nil {
		return unlessOptional(err, optional)
	}
	data := make(map[string][]byte, len(cm.Data)+len(cm.BinaryData))
	for k, v := range cm.Data {
		data[k] = []byte(v)
	}
	for k, v := range cm.BinaryData {
		data[k] = v
	}
	return b.keys(data, items, optional, "configmap references non-existent config key: %s")
}

func (b *builder) secret(name string, items []corev1.KeyToPath, optional *bool) error {
	s, err := b.p.cfg.Objects.Secret(b.pod.Namespace, name)
	if err != nil {
		return unlessOptional(err, optional)
	}
	return b.keys(s.Data, items, optional, "references non-existent secret key: %s")
}

func (b *builder) keys(data map[string][]byte, items []corev1.KeyToPath, optional *bool, missing string) error {
	if len(items) == 0 {
		for k, v := range data {
			b.out[k] = file{data: v, mode: b.mode, user: b.user}
		}
		return nil
	}
	for _, item := range items {
		v, ok := data[item.Key]
		if !ok {
			if optional != nil && *optional {
				continue
			}
			return fmt.Errorf(missing, item.Key)
		}
		f := file{data: v, mode: b.mode, user: b.user}
		if item.Mode != nil {
			f.mode = os.FileMode(*item.Mode)
		}
		if item.User != nil {
			f.user = item.User
		}
		b.out[item.Path] = f
	}
	return nil
}

func (b *builder) downward(items []corev1.DownwardAPIVolumeFile) error {
	var errs []error
	for _, item := range items {
		f := file{mode: b.mode, user: b.user}
		if item.Mode != nil {
			f.mode = os.FileMode(*item.Mode)
		}
		if item.User != nil {
			f.user = item.User
		}
		var value string
		var err error
		switch {
		case item.FieldRef != nil:
			value, err = env.Field(b.pod, item.FieldRef.FieldPath, b.p.cfg.HostIPs(), podIPs(b.pod))
		case item.ResourceFieldRef != nil:
			value, err = env.Resource(b.pod, nil, item.ResourceFieldRef, b.p.cfg.Allocatable())
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		f.data = []byte(value)
		b.out[filepath.Clean(item.Path)] = f
	}
	return join(errs)
}

func podIPs(pod *corev1.Pod) []string {
	var ips []string
	for _, ip := range pod.Status.PodIPs {
		ips = append(ips, ip.IP)
	}
	return ips
}

func unlessOptional(err error, optional *bool) error {
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		return nil
	}
	return err
}
