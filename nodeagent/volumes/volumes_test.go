package volumes

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/nodeagent/env"
)

// store is a source of objects that a test changes.
type store struct {
	maps    map[string]*corev1.ConfigMap
	secrets map[string]*corev1.Secret
	pvs     map[string]*corev1.PersistentVolume
	tokens  int
	life    time.Duration
}

func (s *store) ConfigMap(_, name string) (*corev1.ConfigMap, error) {
	if m := s.maps[name]; m != nil {
		return m, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "configmap"}, name)
}

func (s *store) Secret(_, name string) (*corev1.Secret, error) {
	if m := s.secrets[name]; m != nil {
		return m, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secret"}, name)
}

func (s *store) Claim(_ context.Context, _, name string) (*corev1.PersistentVolumeClaim, *corev1.PersistentVolume, error) {
	return &corev1.PersistentVolumeClaim{}, s.pvs[name], nil
}

func (s *store) Token(_ context.Context, _, _ string, r *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	s.tokens++
	r = r.DeepCopy()
	r.Status.Token = strings.Repeat("t", s.tokens)
	r.Status.ExpirationTimestamp = metav1.NewTime(time.Now().Add(s.life))
	return r, nil
}

func (s *store) TrustBundles(context.Context) ([]*certificatesv1.ClusterTrustBundle, error) {
	return nil, nil
}

func setup(t *testing.T) (*Manager, *store) {
	s := &store{maps: map[string]*corev1.ConfigMap{}, secrets: map[string]*corev1.Secret{}, pvs: map[string]*corev1.PersistentVolume{}, life: time.Hour}
	m, err := New(Config{Root: t.TempDir(), Objects: s, HostIPs: func() []string { return []string{"192.0.2.1"} },
		Allocatable: func() corev1.ResourceList {
			return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("3"), corev1.ResourceMemory: resource.MustParse("1Gi")}
		}})
	if err != nil {
		t.Fatal(err)
	}
	// Whatever a test leaves mounted would outlive it.
	t.Cleanup(func() {
		if err := m.Remove("u"); err != nil {
			t.Error(err)
		}
		if left, _ := mountinfo.GetMounts(mountinfo.PrefixFilter(m.cfg.Root)); len(left) > 0 {
			t.Errorf("%d mounts are left, the first at %s", len(left), left[0].Mountpoint)
		}
	})
	return m, s
}

func podWith(volumes ...corev1.Volume) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u", Labels: map[string]string{"b": "2", "a": "1"}},
		Spec: corev1.PodSpec{Volumes: volumes, ServiceAccountName: "sa", Containers: []corev1.Container{{Name: "c"}}}}
}

func volumeOf(name string, s corev1.VolumeSource) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: s}
}

func configMapVolume(name string, items ...corev1.KeyToPath) corev1.Volume {
	return volumeOf("v", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Items: items}})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, path ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	must(t, err)
	return string(data)
}

func TestContentsChangeAllAtOnce(t *testing.T) {
	m, s := setup(t)
	s.maps["m"] = &corev1.ConfigMap{Data: map[string]string{"a": "1", "b": "1"}, BinaryData: map[string][]byte{"bin": {0, 1}}}
	p, pod := m.For("u"), podWith(configMapVolume("m"))
	must(t, p.Setup(t.Context(), pod))
	dir := p.Path("v")
	before, err := os.Readlink(filepath.Join(dir, "..data"))
	must(t, err)
	must(t, p.Refresh(t.Context(), pod))
	if now, _ := os.Readlink(filepath.Join(dir, "..data")); now != before {
		t.Error("unchanged contents were written again")
	}
	s.maps["m"] = &corev1.ConfigMap{Data: map[string]string{"a": "2", "c": "2"}}
	must(t, p.Refresh(t.Context(), pod))
	if content(t, dir, "a") != "2" || content(t, dir, "c") != "2" {
		t.Error("contents were not updated")
	}
	for _, gone := range []string{"b", "bin", before} {
		if _, err := os.Lstat(filepath.Join(dir, gone)); !os.IsNotExist(err) {
			t.Errorf("%s is still there", gone)
		}
	}
}

func TestModesAndGroup(t *testing.T) {
	m, s := setup(t)
	s.secrets["s"] = &corev1.Secret{Data: map[string][]byte{"k": []byte("v"), "l": []byte("w")}}
	mode, own := int32(0o400), int32(0o600)
	pod := podWith(
		volumeOf("s", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s", DefaultMode: &mode, Items: []corev1.KeyToPath{{Key: "k", Path: "d/k"}, {Key: "l", Path: "l", Mode: &own}}}}),
		volumeOf("e", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}))
	group := int64(1234)
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: &group}
	p := m.For("u")
	must(t, p.Setup(t.Context(), pod))
	for _, tt := range []struct {
		path string
		mode os.FileMode
		gid  uint32
	}{
		{path: "s/d/k", mode: 0o440, gid: 1234},
		{path: "s/l", mode: 0o640, gid: 1234},
		{path: "e", mode: os.ModeDir | os.ModeSetgid | 0o777, gid: 1234},
	} {
		name, rest, _ := strings.Cut(tt.path, "/")
		path := filepath.Join(p.Path(name), rest)
		info, err := os.Stat(path)
		must(t, err)
		var st unix.Stat_t
		must(t, unix.Stat(path, &st))
		if info.Mode() != tt.mode || st.Gid != tt.gid {
			t.Errorf("%s: mode %v group %d, want %v %d", tt.path, info.Mode(), st.Gid, tt.mode, tt.gid)
		}
	}
	var fs unix.Statfs_t
	must(t, unix.Statfs(p.Path("s"), &fs))
	if fs.Type != unix.TMPFS_MAGIC {
		t.Error("a secret is on a disk")
	}
}

func TestMissingObjectsAndKeys(t *testing.T) {
	yes := true
	m, s := setup(t)
	s.maps["m"] = &corev1.ConfigMap{Data: map[string]string{"a": "1"}}
	optional := configMapVolume("none")
	optional.ConfigMap.Optional = &yes
	optionalKey := configMapVolume("m", corev1.KeyToPath{Key: "z", Path: "z"}, corev1.KeyToPath{Key: "a", Path: "x"})
	optionalKey.ConfigMap.Optional = &yes
	for _, tt := range []struct {
		name   string
		volume corev1.Volume
		want   string
		files  []string
	}{
		{name: "missing", volume: configMapVolume("none"), want: `MountVolume.SetUp failed for volume "v" : configmap "none" not found`},
		{name: "missing but optional", volume: optional},
		{name: "missing key", volume: configMapVolume("m", corev1.KeyToPath{Key: "z", Path: "z"}), want: `MountVolume.SetUp failed for volume "v" : configmap references non-existent config key: z`},
		{name: "missing but optional key", volume: optionalKey, files: []string{"x"}},
		{name: "a path that leads out", volume: configMapVolume("m", corev1.KeyToPath{Key: "a", Path: "../x"}), want: `MountVolume.SetUp failed for volume "v" : invalid path "../x": must be relative and not begin with '..'`},
		{name: "no such kind of volume", volume: volumeOf("v", corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{}}), want: `MountVolume.SetUp failed for volume "v" : failed to get Plugin from volumeSpec for volume "v" err=no volume plugin matched`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := m.For("u")
			got := ""
			if err := p.Setup(t.Context(), podWith(tt.volume)); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q\nwant %q", got, tt.want)
			}
			for _, f := range tt.files {
				content(t, p.Path("v"), f)
			}
			must(t, p.Teardown())
		})
	}
}

func TestProjected(t *testing.T) {
	m, s := setup(t)
	s.maps["m"] = &corev1.ConfigMap{Data: map[string]string{"a": "1"}}
	seconds := int64(600)
	pod := podWith(volumeOf("p", corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &seconds}},
		{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "m"}}},
		{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
			{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}},
			{Path: "cpu", ResourceFieldRef: &corev1.ResourceFieldSelector{ContainerName: "c", Resource: "limits.cpu"}},
		}}},
	}}}))
	p := m.For("u")
	must(t, p.Setup(t.Context(), pod))
	dir := p.Path("p")
	for name, want := range map[string]string{"token": "t", "a": "1", "labels": "a=\"1\"\nb=\"2\"", "cpu": "3"} {
		if got := content(t, dir, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	must(t, p.Refresh(t.Context(), pod))
	if s.tokens != 1 {
		t.Errorf("%d tokens for one", s.tokens)
	}
	if at := p.RenewAt(); time.Until(at) < 40*time.Minute || time.Until(at) > time.Hour {
		t.Errorf("renewed in %v", time.Until(at))
	}
	p = m.For("u")
	s.life = time.Minute // of 600 s asked for: four fifths are over
	must(t, p.Setup(t.Context(), pod))
	must(t, p.Refresh(t.Context(), pod))
	if s.tokens != 3 || content(t, dir, "token") != "ttt" {
		t.Errorf("token %d was not renewed", s.tokens)
	}
}

func TestSubPathCannotLeaveItsVolume(t *testing.T) {
	m, _ := setup(t)
	p, pod := m.For("u"), podWith(volumeOf("e", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}))
	must(t, p.Setup(t.Context(), pod))
	dir := p.Path("e")
	secret := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, []byte("secret"), 0o600))
	must(t, os.Symlink(secret, filepath.Join(dir, "absolute")))
	must(t, os.Symlink("../../../../../../../../../../etc", filepath.Join(dir, "relative")))
	must(t, os.Mkdir(filepath.Join(dir, "real"), 0o755))
	must(t, os.Symlink("real", filepath.Join(dir, "inside")))
	must(t, os.WriteFile(filepath.Join(dir, "file"), []byte("f"), 0o644))
	for _, tt := range []struct {
		sub, expr string
		ok        bool
		message   string
	}{
		{sub: "absolute", message: `failed to prepare subPath for volumeMount "e" of container "c"`},
		{sub: "relative/passwd", message: `failed to prepare subPath for volumeMount "e" of container "c"`},
		{sub: "relative/new", message: `failed to prepare subPath for volumeMount "e" of container "c"`},
		{sub: "/etc", message: "error SubPath `/etc` must not be an absolute path"},
		{sub: "a/../../b", message: "unable to provision SubPath `a/../../b`: must not contain '..'"},
		{sub: "inside", ok: true},
		{sub: "file", ok: true},
		{sub: "new/deep", ok: true},
		{expr: "by/$(NAME)", ok: true},
		{expr: "by/$(NONE)", message: `missing value for "NONE"`},
		{expr: "$(ROOT)", message: "error SubPath `/etc` must not be an absolute path"},
	} {
		t.Run(tt.sub+tt.expr, func(t *testing.T) {
			c := &corev1.Container{Name: "c", VolumeMounts: []corev1.VolumeMount{{Name: "e", MountPath: "/m", SubPath: tt.sub, SubPathExpr: tt.expr}}}
			mounts, err := p.Mounts(pod, c, env.Vars{Own: map[string]string{"NAME": "n", "ROOT": "/etc"}})
			if tt.ok != (err == nil) || err != nil && err.Error() != tt.message {
				t.Fatalf("error %v, want %q", err, tt.message)
			}
			if err != nil {
				return
			}
			if mounted, err := mountinfo.Mounted(mounts[0].HostPath); err != nil || !mounted {
				t.Errorf("%s is not pinned by a mount: %v", mounts[0].HostPath, err)
			}
		})
	}
	if info, err := os.Stat(filepath.Join(dir, "new/deep")); err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("a folder that was made for a subPath is not like its volume: %v %v", info, err)
	}
}

func TestMemoryVolume(t *testing.T) {
	m, _ := setup(t)
	size := resource.MustParse("1Mi")
	p := m.For("u")
	must(t, p.Setup(t.Context(), podWith(volumeOf("m", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: &size}}))))
	check := func(want uint64) {
		t.Helper()
		var fs unix.Statfs_t
		must(t, unix.Statfs(p.Path("m"), &fs))
		if fs.Type != unix.TMPFS_MAGIC || fs.Blocks*uint64(fs.Bsize) != want {
			t.Errorf("type %x size %d", fs.Type, fs.Blocks*uint64(fs.Bsize))
		}
	}
	check(1 << 20)
	must(t, p.Resize("m", resource.MustParse("2Mi")))
	check(2 << 20)
}

func TestHostPathTypes(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "f"), nil, 0o600))
	for _, tt := range []struct {
		path string
		kind corev1.HostPathType
		want string
	}{
		{path: "f", kind: corev1.HostPathFile},
		{path: "f", kind: corev1.HostPathDirectory, want: "hostPath type check failed: " + dir + "/f is not a directory"},
		{path: "none", kind: corev1.HostPathFile, want: "hostPath type check failed: " + dir + "/none is not a file"},
		{path: "none", kind: corev1.HostPathUnset},
		{path: "d/e", kind: corev1.HostPathDirectoryOrCreate},
		{path: "g", kind: corev1.HostPathFileOrCreate},
		{path: "f", kind: corev1.HostPathSocket, want: "hostPath type check failed: " + dir + "/f is not a socket file"},
		{path: "f", kind: corev1.HostPathBlockDev, want: "hostPath type check failed: " + dir + "/f is not a block device"},
	} {
		got := ""
		if err := checkHostPath(filepath.Join(dir, tt.path), &tt.kind); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s %s: %q, want %q", tt.path, tt.kind, got, tt.want)
		}
	}
	if err := checkHostPath("/dev/null", ptr(corev1.HostPathCharDev)); err != nil {
		t.Error(err)
	}
}

func ptr[T any](v T) *T { return &v }

func TestRemoveDoesNotReachThroughMounts(t *testing.T) {
	m, _ := setup(t)
	precious := t.TempDir()
	must(t, os.WriteFile(filepath.Join(precious, "data"), []byte("x"), 0o600))
	target := filepath.Join(m.PodDir("u"), "volumes", "x")
	must(t, os.MkdirAll(target, 0o755))
	must(t, unix.Mount(precious, target, "", unix.MS_BIND, ""))
	must(t, m.Remove("u"))
	content(t, precious, "data")
	if _, err := os.Stat(m.PodDir("u")); !os.IsNotExist(err) {
		t.Errorf("the pod's folder is still there: %v", err)
	}
}
