package runtimetest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// File of an image.
type File struct {
	Name    string
	Body    string
	Mode    int64
	Type    byte // tar.TypeReg when 0
	Link    string
	UID     int
	GID     int
	Records map[string]string
}

// Layer makes a layer of files.
func Layer(files ...File) (v1.Layer, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		h := &tar.Header{Name: f.Name, Mode: f.Mode, Typeflag: f.Type, Linkname: f.Link, Uid: f.UID, Gid: f.GID, Size: int64(len(f.Body)), PAXRecords: f.Records}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Typeflag != tar.TypeReg {
			h.Size = 0
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, f.Body); err != nil {
				return nil, err
			}
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
}

// Busybox is an image with the machine's static busybox, its applets, and a user app (1000) in the groups 1000 and 2000.
func Busybox(config v1.Config) (v1.Image, error) {
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return nil, fmt.Errorf("the tests need busybox-static: %w", err)
	}
	list, err := exec.Command("/bin/busybox", "--list").Output()
	if err != nil {
		return nil, err
	}
	dir := func(name string, mode int64) File { return File{Name: name, Mode: mode, Type: tar.TypeDir} }
	files := []File{
		dir("bin/", 0o755), dir("etc/", 0o755), dir("tmp/", 0o1777), dir("data/", 0o755),
		{Name: "bin/busybox", Body: string(program), Mode: 0o755},
		{Name: "etc/passwd", Body: "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/data:/bin/sh\n", Mode: 0o644},
		{Name: "etc/group", Body: "root:x:0:\napp:x:1000:\nextra:x:2000:app\n", Mode: 0o644},
	}
	for applet := range strings.FieldsSeq(string(list)) {
		if applet != "busybox" {
			files = append(files, File{Name: "bin/" + applet, Type: tar.TypeSymlink, Link: "busybox", Mode: 0o777})
		}
	}
	layer, err := Layer(files...)
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	return WithConfig(image, config)
}

// WithConfig gives an image its configuration, for this machine.
func WithConfig(image v1.Image, config v1.Config) (v1.Image, error) {
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", runtime.GOARCH, config
	return mutate.ConfigFile(image, file)
}
