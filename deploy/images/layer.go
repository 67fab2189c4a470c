package main

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// image is one image to be.
type image struct {
	name   string
	layers []*layer
	config v1.Config
}

func (i image) build() (v1.Image, error) {
	img := v1.Image(empty.Image)
	for _, l := range i.layers {
		body, err := l.tar()
		if err != nil {
			return nil, err
		}
		// Not compressed: the archives are read on the machine that made them.
		made, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(body)), nil
		}, tarball.WithCompressionLevel(0))
		if err != nil {
			return nil, err
		}
		if img, err = mutate.AppendLayers(img, made); err != nil {
			return nil, err
		}
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.Architecture, file.OS, file.Config = runtime.GOARCH, "linux", i.config
	return mutate.ConfigFile(img, file)
}

// layer is a set of files by path, without a leading slash. All belong to root.
type layer struct {
	entries map[string]entry
}

type entry struct {
	kind   byte // of package tar
	mode   int64
	source string // a file to copy
	text   string
	target string // of a link
}

func newLayer() *layer { return &layer{map[string]entry{}} }

func (l *layer) put(p string, e entry) *layer {
	for d := path.Dir(p); d != "."; d = path.Dir(d) {
		if _, ok := l.entries[d]; !ok {
			l.entries[d] = entry{kind: tar.TypeDir, mode: 0o755}
		}
	}
	l.entries[p] = e
	return l
}

func (l *layer) file(p, source string, mode int64) *layer {
	return l.put(p, entry{kind: tar.TypeReg, mode: mode, source: source})
}

func (l *layer) text(p, text string) *layer {
	return l.put(p, entry{kind: tar.TypeReg, mode: 0o644, text: text})
}

func (l *layer) dir(p string, mode int64) *layer {
	return l.put(p, entry{kind: tar.TypeDir, mode: mode})
}

func (l *layer) link(p, target string) *layer {
	if _, ok := l.entries[p]; ok {
		return l // busybox lists itself
	}
	return l.put(p, entry{kind: tar.TypeSymlink, mode: 0o777, target: target})
}

// users adds the two users that programs expect to find.
func (l *layer) users() *layer {
	return l.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n").
		text("etc/group", "root:x:0:\nnogroup:x:65534:\n")
}

func (l *layer) tar() ([]byte, error) {
	var paths []string
	for p := range l.entries {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, p := range paths {
		e := l.entries[p]
		body := []byte(e.text)
		if e.source != "" {
			var err error
			if body, err = os.ReadFile(e.source); err != nil {
				return nil, err
			}
		}
		h := &tar.Header{Name: p, Typeflag: e.kind, Mode: e.mode, Linkname: e.target, Size: int64(len(body)), Format: tar.FormatPAX}
		if e.kind == tar.TypeDir && !strings.HasSuffix(p, "/") {
			h.Name += "/"
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(body); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), w.Close()
}
