package images

import (
	"archive/tar"
	"bytes"
	"os"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layer is a set of files by path, without a leading slash.
type layer map[string]file

// file is a file, folder or link: its header without name and size, and where its content is.
type file struct {
	tar.Header
	source string // a file of this machine; else
	body   []byte
}

// put adds a file and the folders above it.
func (l layer) put(p string, f file) layer {
	for d := path.Dir(p); d != "."; d = path.Dir(d) {
		if _, ok := l[d]; !ok {
			l[d] = file{Header: tar.Header{Typeflag: tar.TypeDir, Mode: 0o755}}
		}
	}
	l[p] = f
	return l
}

// program adds a file of this machine. Set-id bits of mode come to be in the image.
func (l layer) program(p, source string, mode int64) layer {
	return l.put(p, file{Header: tar.Header{Typeflag: tar.TypeReg, Mode: mode}, source: source})
}

func (l layer) text(p, text string) layer {
	return l.put(p, file{Header: tar.Header{Typeflag: tar.TypeReg, Mode: 0o644}, body: []byte(text)})
}

func (l layer) dir(p string, mode int64) layer {
	return l.put(p, file{Header: tar.Header{Typeflag: tar.TypeDir, Mode: mode}})
}

func (l layer) link(p, target string) layer {
	return l.put(p, file{Header: tar.Header{Typeflag: tar.TypeSymlink, Mode: 0o777, Linkname: target}})
}

func (l layer) has(p string) bool { _, ok := l[p]; return ok }

// build writes the layer out, sorted and without times: the same files make the same bytes. It is not compressed, since
// it travels no further than to the next machine.
func (l layer) build() (v1.Layer, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, p := range l.order() {
		f := l[p]
		if f.source != "" {
			var err error
			if f.body, err = os.ReadFile(f.source); err != nil {
				return nil, err
			}
		}
		h := f.Header
		h.Name, h.Size, h.Format = p, int64(len(f.body)), tar.FormatPAX
		if h.Typeflag == tar.TypeDir {
			h.Name += "/"
		}
		if err := w.WriteHeader(&h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.body); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return static.NewLayer(out.Bytes(), types.OCIUncompressedLayer), nil
}

// order has hard links behind all that they may point at, and everything else by name, folders before what is in them.
func (l layer) order() []string {
	var paths []string
	for p := range l {
		paths = append(paths, p)
	}
	slices.SortFunc(paths, func(a, b string) int {
		if x, y := l[a].Typeflag == tar.TypeLink, l[b].Typeflag == tar.TypeLink; x != y {
			if x {
				return 1
			}
			return -1
		}
		return strings.Compare(a, b)
	})
	return paths
}
