package images

import (
	"archive/tar"
	"context"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// made is a layout of two images that share a layer.
func made(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("body"), 0o755); err != nil {
		t.Fatal(err)
	}
	base := layer{}.users()
	out := filepath.Join(dir, Layout)
	err := writeLayout(out, []image{
		{"registry.k8s.io/team/app:1", []layer{base, layer{}.program("bin/app", program, 0o4755).link("app", "bin/app")}, v1.Config{User: "1:2", Cmd: []string{"app"}}},
		{"registry.k8s.io/other:2", []layer{base}, v1.Config{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTheRegistryAnswersUnderAnyName(t *testing.T) {
	handler, err := Registry(made(t))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	pull := func(ref string) (v1.Image, error) {
		r, err := name.ParseReference(ref)
		if err != nil {
			t.Fatal(err)
		}
		return remote.Image(r)
	}
	for _, unknown := range []string{"/team/app:2", "/team/none:1", "/app:1", "/team/app@sha256:" + strings.Repeat("0", 64)} {
		if _, err := pull(host + unknown); err == nil || !strings.Contains(err.Error(), "MANIFEST_UNKNOWN") {
			t.Errorf("%s: %v", unknown, err)
		}
	}
	img, err := pull(host + "/team/app:1")
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil || config.Config.User != "1:2" || config.Architecture == "" || len(config.RootFS.DiffIDs) != 2 {
		t.Errorf("configuration %+v, %v", config, err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pull(host + "/team/app@" + digest.String()); err != nil {
		t.Error(err)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 2 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	r, err := layers[1].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := map[string]tar.Header{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got[h.Name] = *h
	}
	if h := got["bin/app"]; h.Mode != 0o4755 || h.Size != 4 || h.Uid != 0 {
		t.Errorf("bin/app = %+v", h)
	}
	if h := got["app"]; h.Linkname != "bin/app" || got["bin/"].Typeflag != tar.TypeDir {
		t.Errorf("files = %v", got)
	}
}

func TestMirrorOfThisMachine(t *testing.T) {
	for _, test := range []struct{ name, file, body, want string }{
		{"nothing configured", "", "", "http://deb.debian.org/debian"},
		{"one line", "sources.list", "deb http://mirror.test/debian bookworm main\n", "http://mirror.test/debian"},
		{"the newer format", "sources.list.d/debian.sources", "Types: deb\n# http://old.test/debian\nURIs: http://mirror.test/debian/\nSuites: x\n", "http://mirror.test/debian/"},
		{"somebody else's packages and security updates", "sources.list", "deb https://apt.test/node x main\ndeb http://mirror.test/debian-security x main\n", "http://deb.debian.org/debian"},
	} {
		t.Run(test.name, func(t *testing.T) {
			etc := t.TempDir()
			if test.file != "" {
				file := filepath.Join(etc, test.file)
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(test.body), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got := mirror(etc); got != test.want {
				t.Errorf("mirror %q, want %q", got, test.want)
			}
		})
	}
}

func TestPackagesComeToLieInAMergedTree(t *testing.T) {
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	for p, body := range map[string]string{
		"DEBIAN/control": "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.com>\nDescription: x\n",
		"bin/x":          "program", "usr/share/doc/x/README": "long", "etc/x.conf": "a=1",
	} {
		file := filepath.Join(tree, p)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(body), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(tree, "bin/x"), filepath.Join(tree, "bin/y")); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	deb := filepath.Join(dir, "x.deb")
	if err := run(ctx, dir, "dpkg-deb", "--build", tree, deb); err != nil {
		t.Fatal(err)
	}
	l := layer{}
	if err := unpack(ctx, deb, l); err != nil {
		t.Fatal(err)
	}
	// Either of the two is the file, and the other one a link to it, which has to follow in an archive.
	order := l.order()
	link := l[order[len(order)-1]]
	if link.Typeflag != tar.TypeLink || string(l[link.Linkname].body) != "program" || !strings.HasPrefix(link.Linkname, "usr/bin/") {
		t.Errorf("link %+v, order %v", link.Header, order)
	}
	if !l.has("etc/x.conf") || l.has("usr/share/doc/x/README") || l.has("bin/x") {
		t.Errorf("files: %v", order)
	}
	if err := unpack(ctx, filepath.Join(dir, "none.deb"), l); err == nil {
		t.Error("a package that is not there was unpacked")
	}
}
