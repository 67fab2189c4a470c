package images_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/nodeagent/images"
	"github.com/skiff-project/skiff/nodeagent/runtime"
	"github.com/skiff-project/skiff/nodeagent/runtime/runtimetest"
)

func TestMain(m *testing.M) { runtimetest.Isolate(m) }

type file = runtimetest.File

func open(t *testing.T, root string) *images.Store {
	t.Helper()
	s, err := images.New(images.Config{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// image has one layer per list of files.
func image(t *testing.T, config v1.Config, layers ...[]file) v1.Image {
	t.Helper()
	out := v1.Image(empty.Image)
	for _, files := range layers {
		l, err := runtimetest.Layer(files...)
		if err != nil {
			t.Fatal(err)
		}
		if out, err = mutate.AppendLayers(out, l); err != nil {
			t.Fatal(err)
		}
	}
	out, err := mutate.Config(out, config)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func archive(t *testing.T, ref string, i v1.Image) *bytes.Buffer {
	t.Helper()
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := tarball.Write(tag, i, &b); err != nil {
		t.Fatal(err)
	}
	return &b
}

func load(t *testing.T, s *images.Store, in io.Reader) runtime.Image {
	t.Helper()
	list, err := s.Import(context.Background(), in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 {
		t.Fatalf("%d images", len(list))
	}
	return list[0]
}

// mount mounts an image for the time of the test.
func mount(t *testing.T, s *images.Store, ref string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mnt")
	if err != nil {
		t.Fatal(err)
	}
	root, err := s.MountRootfs(ref, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := images.UnmountRootfs(dir); err != nil {
			t.Error(err)
		}
		os.RemoveAll(dir)
	})
	return root.Path
}

func TestLayersBecomeARootFileSystem(t *testing.T) {
	s := open(t, t.TempDir())
	i := image(t, v1.Config{}, []file{
		{Name: "./", Type: tar.TypeDir, Mode: 0o751},
		{Name: "keep/", Type: tar.TypeDir, Mode: 0o700, UID: 5, GID: 6},
		{Name: "keep/gone", Body: "x", Mode: 0o644},
		{Name: "opaque/", Type: tar.TypeDir, Mode: 0o755},
		{Name: "opaque/old", Body: "x", Mode: 0o644},
		{Name: "bin/tool", Body: "tool", Mode: 0o4755, UID: 7},
		{Name: "data", Body: "data", Mode: 0o640, UID: 1000, GID: 2000, Records: map[string]string{"SCHILY.xattr.user.note": "hello"}},
		{Name: "link", Type: tar.TypeSymlink, Link: "/etc/shadow"},
		{Name: "fifo", Type: tar.TypeFifo, Mode: 0o600},
	}, []file{
		{Name: "keep/.wh.gone", Mode: 0o644},
		{Name: "keep/new", Body: "new", Mode: 0o644}, // its folder is not in this layer
		{Name: "opaque/.wh..wh..opq", Mode: 0o644},
		{Name: "opaque/young", Body: "y", Mode: 0o644},
		{Name: "hard", Type: tar.TypeLink, Link: "data"}, // into the layer below
	})
	load(t, s, archive(t, "app:1", i))
	root := mount(t, s, "app:1")
	for path, want := range map[string]string{
		".": "40751 0:0", "keep": "40700 5:6", "keep/new": "100644 0:0", "bin/tool": "104755 7:0", "data": "100640 1000:2000", "hard": "100640 1000:2000",
		"link": "120777 0:0", "fifo": "10600 0:0", "opaque/young": "100644 0:0", "bin": "40755 0:0",
	} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(root, path), &st); err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if got := fmt.Sprintf("%o %d:%d", st.Mode, st.Uid, st.Gid); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	for _, path := range []string{"keep/gone", "opaque/old", "keep/.wh.gone"} {
		if _, err := os.Lstat(filepath.Join(root, path)); !os.IsNotExist(err) {
			t.Errorf("%s is there: %v", path, err)
		}
	}
	var note [16]byte
	if n, err := unix.Getxattr(filepath.Join(root, "data"), "user.note", note[:]); err != nil || string(note[:n]) != "hello" {
		t.Errorf("extended attribute = %q, %v", note[:max(n, 0)], err)
	}
	if err := os.WriteFile(filepath.Join(root, "written"), nil, 0o644); err != nil {
		t.Error(err)
	}
	if other := mount(t, s, "app:1"); exists(filepath.Join(other, "written")) {
		t.Error("containers share their writable layer")
	}
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

func TestNoLayerReachesOutside(t *testing.T) {
	outside := t.TempDir()
	victim := filepath.Join(outside, "victim")
	if err := os.WriteFile(victim, []byte("safe"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, files := range map[string][]file{
		"dots":                  {{Name: "../../../../../../../../" + victim, Body: "bad", Mode: 0o644}},
		"absolute":              {{Name: victim, Body: "bad", Mode: 0o644}},
		"through a link":        {{Name: "d", Type: tar.TypeSymlink, Link: outside}, {Name: "d/victim", Body: "bad", Mode: 0o644}},
		"through links of dots": {{Name: "d", Type: tar.TypeSymlink, Link: strings.Repeat("../", 30) + outside}, {Name: "d/victim", Body: "bad", Mode: 0o644}},
		"onto a link":           {{Name: "v", Type: tar.TypeSymlink, Link: victim}, {Name: "v", Body: "bad", Mode: 0o644}},
		"hard link":             {{Name: "h", Type: tar.TypeLink, Link: victim}, {Name: "h", Body: "bad", Mode: 0o644}},
		"hard link by dots":     {{Name: "h", Type: tar.TypeLink, Link: strings.Repeat("../", 30) + victim}},
		"whiteout":              {{Name: "d", Type: tar.TypeSymlink, Link: outside}, {Name: "d/.wh.victim", Mode: 0o644}},
		"whiteout of parent":    {{Name: "d/.wh...", Mode: 0o644}},
		"attributes":            {{Name: "d", Type: tar.TypeSymlink, Link: victim}, {Name: "d", Type: tar.TypeDir, Mode: 0o777, UID: 77}},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir())
			// Whether it is refused or lands inside does not matter.
			s.Import(context.Background(), archive(t, "evil:1", image(t, v1.Config{}, files)), nil)
			var st unix.Stat_t
			if err := unix.Stat(victim, &st); err != nil {
				t.Fatal(err)
			}
			data, _ := os.ReadFile(victim)
			if string(data) != "safe" || st.Nlink != 1 || st.Uid != 0 || st.Mode != 0o100644 {
				t.Errorf("victim = %q, %+v", data, st)
			}
			entries, _ := os.ReadDir(outside)
			if len(entries) != 1 {
				t.Errorf("outside: %v", entries)
			}
		})
	}
}

func TestNames(t *testing.T) {
	s := open(t, t.TempDir())
	ctx := context.Background()
	i := load(t, s, archive(t, "nginx:1.7.9", image(t, v1.Config{User: "app", StopSignal: "SIGQUIT", Cmd: []string{"a"}}, []file{{Name: "f", Body: "x", Mode: 0o644}})))
	for _, ref := range []string{"nginx:1.7.9", "docker.io/nginx:1.7.9", "docker.io/library/nginx:1.7.9", "index.docker.io/library/nginx:1.7.9", i.ID, strings.TrimPrefix(i.ID, "sha256:")} {
		got, err := s.Status(ctx, ref)
		if err != nil || got.ID != i.ID || got.Username != "app" || got.UID != nil || got.StopSignal != "SIGQUIT" {
			t.Errorf("%s: %+v, %v", ref, got, err)
		}
	}
	for _, ref := range []string{"nginx", "nginx:2", "example.com/nginx:1.7.9", "UPPER"} {
		if _, err := s.Status(ctx, ref); err == nil {
			t.Errorf("%s was found", ref)
		}
	}
	if _, err := s.Status(ctx, "nginx:2"); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("error = %v", err)
	}
	// A name moves to the image that was loaded last; the other one stays, without it.
	j := load(t, s, archive(t, "nginx:1.7.9", image(t, v1.Config{}, []file{{Name: "f", Body: "y", Mode: 0o644}})))
	if got, err := s.Status(ctx, "nginx:1.7.9"); err != nil || got.ID != j.ID || got.UID == nil || *got.UID != 0 {
		t.Errorf("after the second load: %+v, %v", got, err)
	}
	if got, err := s.Status(ctx, i.ID); err != nil || len(got.RepoTags) != 0 {
		t.Errorf("the first one: %+v, %v", got, err)
	}
}

func TestRemoveKeepsWhatIsUsed(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	ctx := context.Background()
	base := []file{{Name: "base", Body: strings.Repeat("x", 1000), Mode: 0o644}}
	load(t, s, archive(t, "a:1", image(t, v1.Config{}, base, []file{{Name: "a", Mode: 0o644}})))
	load(t, s, archive(t, "b:1", image(t, v1.Config{}, base, []file{{Name: "b", Mode: 0o644}})))
	layers := func() int {
		entries, err := os.ReadDir(filepath.Join(root, "l"))
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	if n := layers(); n != 3 {
		t.Errorf("%d layers, want 3: the base is shared", n)
	}
	path := mount(t, s, "a:1")
	for range 2 {
		if err := s.Remove(ctx, "a:1"); err != nil {
			t.Fatal(err)
		}
	}
	if n := layers(); n != 3 || !exists(filepath.Join(path, "a")) {
		t.Errorf("%d layers while a container stands on them", n)
	}
	if err := s.Remove(ctx, "b:1"); err != nil {
		t.Fatal(err)
	}
	if n := layers(); n != 2 {
		t.Errorf("%d layers, want the mounted 2", n)
	}
}

func TestARestartFindsImagesAndForgetsHalfOnes(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	ctx := context.Background()
	load(t, s, archive(t, "whole:1", image(t, v1.Config{}, []file{{Name: "f", Body: "x", Mode: 0o644}})))
	half := load(t, s, archive(t, "half:1", image(t, v1.Config{}, []file{{Name: "g", Body: "x", Mode: 0o644}})))
	if err := os.MkdirAll(filepath.Join(root, "l", "zz.new", "fs"), 0o755); err != nil {
		t.Fatal(err)
	}
	// The layer of the second was written by a kernel that crashed before it was flushed.
	entries, err := os.ReadDir(filepath.Join(root, "l"))
	if err != nil {
		t.Fatal(err)
	}
	marked := 0
	for _, e := range entries {
		path := filepath.Join(root, "l", e.Name())
		if !exists(filepath.Join(path, "fs", "g")) {
			continue
		}
		deadline := time.Now().Add(20 * time.Second)
		for { // until the flush in the background is done: it would take our mark away
			data, err := os.ReadFile(filepath.Join(path, "layer.json"))
			if err != nil || time.Now().After(deadline) {
				t.Fatal("not flushed in time", err)
			}
			if !bytes.Contains(data, []byte(`"Boot"`)) {
				data = bytes.Replace(data, []byte("{"), []byte(`{"Boot":"another",`), 1)
				if err := os.WriteFile(filepath.Join(path, "layer.json"), data, 0o600); err != nil {
					t.Fatal(err)
				}
				marked++
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	if marked != 1 {
		t.Fatalf("%d layers marked", marked)
	}
	s = open(t, root)
	if _, err := s.Status(ctx, "whole:1"); err != nil {
		t.Error(err)
	}
	if _, err := s.Status(ctx, half.ID); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("half an image: %v", err)
	}
	if exists(filepath.Join(root, "l", "zz.new")) {
		t.Error("a layer in the making survived")
	}
	mount(t, s, "whole:1")
}

func TestArchives(t *testing.T) {
	i := image(t, v1.Config{}, []file{{Name: "f", Body: "x", Mode: 0o644}}, []file{{Name: "g", Body: "y", Mode: 0o644}})
	docker := archive(t, "example.com/app:1", i).Bytes()
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write(docker)
	z.Close()
	dir := t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AppendImage(i, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "example.com/app:1"})); err != nil {
		t.Fatal(err)
	}
	oci := tarOf(t, dir)
	digest, err := i.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for name, in := range map[string]io.Reader{
		"docker":           bytes.NewReader(docker),
		"docker gzipped":   &zipped,
		"docker as a file": asFile(t, docker),
		"OCI layout":       bytes.NewReader(oci),
		"OCI as a file":    asFile(t, oci),
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir())
			load(t, s, in)
			root := mount(t, s, "example.com/app:1")
			if !exists(filepath.Join(root, "f")) || !exists(filepath.Join(root, "g")) {
				t.Error("files are missing")
			}
			if strings.HasPrefix(name, "OCI") {
				if _, err := s.Status(context.Background(), "example.com/app@"+digest.String()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for name, data := range map[string][]byte{"nothing": nil, "no tar": []byte("hello"), "cut off": docker[:len(docker)/2]} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir())
			if list, err := s.Import(context.Background(), bytes.NewReader(data), nil); err == nil {
				t.Errorf("imported %v", list)
			}
			if spool, _ := os.ReadDir(filepath.Join(t.TempDir(), "spool")); len(spool) > 0 {
				t.Error("the spool is not empty")
			}
		})
	}
	t.Run("a layer that is not what it says", func(t *testing.T) {
		s := open(t, t.TempDir())
		bad := bytes.Replace(oci, []byte("ustar"), []byte("ustar"), 1)
		bad = flip(t, bad)
		if _, err := s.Import(context.Background(), bytes.NewReader(bad), nil); err == nil {
			t.Error("imported")
		}
	})
}

// flip changes one byte of the largest member.
func flip(t *testing.T, data []byte) []byte {
	t.Helper()
	data = bytes.Clone(data)
	r := bytes.NewReader(data)
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if err != nil {
			t.Fatal("no layer found")
		}
		if h.Typeflag == tar.TypeReg && strings.HasPrefix(h.Name, "blobs/") {
			at := len(data) - r.Len()
			if bytes.HasPrefix(data[at:], []byte{0x1f, 0x8b}) {
				data[at+int(h.Size)-6] ^= 0xff // the checksum at the end
				return data
			}
		}
	}
}

func asFile(t *testing.T, data []byte) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.tar")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func tarOf(t *testing.T, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// hub is a registry that counts and can be told to be slow or to ask for a password.
type hub struct {
	host     string
	layers   atomic.Int32
	password string
	hold     chan struct{} // layers wait for its closing when not nil
}

func newHub(t *testing.T) *hub {
	t.Helper()
	h := &hub{}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); h.password != "" && (user != "u" || password != h.password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="hub"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			h.layers.Add(1)
			if h.hold != nil {
				select {
				case <-h.hold:
				case <-r.Context().Done():
					return
				}
			}
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	h.host = strings.TrimPrefix(srv.URL, "http://")
	return h
}

func (h *hub) push(t *testing.T, repo string, i v1.Image) string {
	t.Helper()
	ref, err := name.ParseReference(h.host + "/" + repo)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, i); err != nil {
		t.Fatal(err)
	}
	return ref.Name()
}

func TestPull(t *testing.T) {
	h := newHub(t)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	i := image(t, v1.Config{}, []file{{Name: "f", Body: "x", Mode: 0o644}}, []file{{Name: "g", Body: "y", Mode: 0o644}})
	ref := h.push(t, "team/app:1", i)
	digest, err := i.Digest()
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, t.TempDir())
	var messages []string
	var mu sync.Mutex
	got, err := s.Pull(ctx, ref, nil, func(p runtime.Progress) { mu.Lock(); messages = append(messages, p.Message); mu.Unlock() })
	if err != nil {
		t.Fatal(err)
	}
	repo := strings.TrimSuffix(ref, ":1")
	if len(got.RepoTags) != 1 || got.RepoTags[0] != ref || len(got.RepoDigests) != 1 || got.RepoDigests[0] != repo+"@"+digest.String() || got.StatusID() != repo+"@"+digest.String() {
		t.Errorf("pulled %+v", got)
	}
	if len(messages) < 3 {
		t.Errorf("progress = %q", messages)
	}
	root := mount(t, s, ref)
	if !exists(filepath.Join(root, "f")) || !exists(filepath.Join(root, "g")) {
		t.Error("files are missing")
	}
	// By digest, and again without fetching a layer.
	before := h.layers.Load()
	if _, err := s.Pull(ctx, repo+"@"+digest.String(), nil, nil); err != nil {
		t.Error(err)
	}
	if fetched := h.layers.Load() - before; fetched > 1 { // the configuration
		t.Errorf("%d blobs were fetched again", fetched)
	}
	for _, bad := range []string{repo + ":none", h.host + "/other:1", repo + "@sha256:" + strings.Repeat("0", 64), "Bad Name"} {
		if _, err := s.Pull(ctx, bad, nil, nil); err == nil {
			t.Errorf("%s was pulled", bad)
		}
	}
}

func TestPullWithPassword(t *testing.T) {
	h := newHub(t)
	ref := h.push(t, "private/app:1", image(t, v1.Config{}, []file{{Name: "f", Body: "x", Mode: 0o644}}))
	h.password = "secret"
	s := open(t, t.TempDir())
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := s.Pull(ctx, ref, nil, nil); err == nil {
		t.Error("pulled without a password")
	}
	wrong := runtime.RegistryAuth{Username: "u", Password: "wrong"}
	if _, err := s.Pull(ctx, ref, []runtime.RegistryAuth{wrong}, nil); err == nil {
		t.Error("pulled with a wrong password")
	}
	if _, err := s.Pull(ctx, ref, []runtime.RegistryAuth{wrong, {Username: "u", Password: "secret"}}, nil); err != nil {
		t.Error(err)
	}
}

func TestPullsShareATransferAndCanBeGivenUp(t *testing.T) {
	h := newHub(t)
	ref := h.push(t, "app:1", image(t, v1.Config{}, []file{{Name: "f", Body: "x", Mode: 0o644}}))
	h.hold = make(chan struct{})
	root := t.TempDir()
	s := open(t, root)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	type outcome struct {
		err   error
		after time.Duration
	}
	results := make(chan outcome, 4)
	begin := time.Now()
	for i := range 4 {
		go func() {
			ctx := ctx
			if i == 0 { // one gives up, the others get the image
				var give context.CancelFunc
				ctx, give = context.WithTimeout(ctx, 200*time.Millisecond)
				defer give()
			}
			_, err := s.Pull(ctx, ref, nil, nil)
			results <- outcome{err, time.Since(begin)}
		}()
	}
	if first := <-results; !errors.Is(first.err, context.DeadlineExceeded) {
		t.Errorf("who gave up: %v", first.err)
	}
	close(h.hold)
	for range 3 {
		if r := <-results; r.err != nil {
			t.Error(r.err)
		}
	}
	if n := h.layers.Load(); n > 2 { // configuration and layer
		t.Errorf("%d blobs were fetched for four callers", n)
	}
	// Nobody waits any more: the transfer ends and leaves nothing.
	h.hold = make(chan struct{})
	defer close(h.hold)
	ref = h.push(t, "app:2", image(t, v1.Config{}, []file{{Name: "z", Body: "z", Mode: 0o644}}))
	ctx, give := context.WithTimeout(ctx, 100*time.Millisecond)
	defer give()
	if _, err := s.Pull(ctx, ref, nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v", err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		spool, _ := os.ReadDir(filepath.Join(root, "spool"))
		if len(spool) == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the spool keeps %v", spool)
		}
	}
}

func TestUnreachableRegistriesFailSoon(t *testing.T) {
	s := open(t, t.TempDir())
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	begin := time.Now()
	_, err := s.Pull(ctx, "registry.example.com/app:1", nil, nil)
	if err == nil {
		t.Fatal("pulled from nowhere")
	}
	var closed net.Error
	if took := time.Since(begin); took > 5*time.Second || errors.As(err, &closed) && closed.Timeout() {
		t.Errorf("failed after %s: %v", took, err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	if _, err := s.Pull(ctx, addr+"/app:1", nil, nil); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("error = %v", err)
	}
}

func TestCollect(t *testing.T) {
	s := open(t, t.TempDir())
	ctx := context.Background()
	for _, n := range []string{"old", "kept", "pinned", "young"} {
		load(t, s, archive(t, n+":1", image(t, v1.Config{}, []file{{Name: n, Body: strings.Repeat("x", 10_000), Mode: 0o644}})))
		time.Sleep(2 * time.Millisecond) // so that their times of use differ
	}
	if err := s.Pin("pinned:1", true); err != nil {
		t.Fatal(err)
	}
	keep := func(i runtime.Image) bool { return len(i.RepoTags) > 0 && strings.Contains(i.RepoTags[0], "kept") }
	if gained, err := s.Collect(ctx, 5_000, 0, keep); err != nil || gained < 5_000 {
		t.Errorf("gained %d, %v", gained, err)
	}
	for name, want := range map[string]bool{"old:1": false, "kept:1": true, "pinned:1": true, "young:1": true} {
		if _, err := s.Status(ctx, name); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.Collect(ctx, 1<<40, time.Hour, keep); err == nil {
		t.Error("young images were enough for a terabyte")
	}
}
