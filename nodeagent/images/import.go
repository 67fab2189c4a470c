package images

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// Import implements runtime.Images. An archive that is a plain file is read in place; a stream is spooled member by
// member first, since what it holds is often told only at its end.
func (s *Store) Import(ctx context.Context, in io.Reader, progress func(runtime.Progress)) ([]runtime.Image, error) {
	if progress == nil {
		progress = func(runtime.Progress) {}
	}
	a, err := s.openArchive(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("read image archive: %w", err)
	}
	defer a.close()
	sources, err := a.images()
	if err != nil {
		return nil, fmt.Errorf("read image archive: %w", err)
	}
	if len(sources) == 0 {
		return nil, errors.New("read image archive: neither manifest.json nor index.json in it: no archive of images")
	}
	var list []runtime.Image
	for _, src := range sources {
		label := src.id
		if len(src.names) > 0 {
			label = src.names[0]
		}
		image, err := s.install(ctx, src, func(p runtime.Progress) { p.Ref = label; progress(p) })
		if err != nil {
			return list, fmt.Errorf("import %s: %w", label, err)
		}
		progress(runtime.Progress{Ref: label, Message: "Loaded image"})
		list = append(list, image)
	}
	return list, nil
}

// ImportFolder imports every archive of a folder (*.tar, *.tar.gz, *.tgz). One bad archive does not keep the others out.
func (s *Store) ImportFolder(ctx context.Context, dir string, progress func(runtime.Progress)) ([]runtime.Image, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []runtime.Image
	var failed []error
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".tar") && !strings.HasSuffix(e.Name(), ".tar.gz") && !strings.HasSuffix(e.Name(), ".tgz") {
			continue
		}
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err == nil {
			var images []runtime.Image
			images, err = s.Import(ctx, f, progress)
			list = append(list, images...)
			f.Close()
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", e.Name(), err))
		}
	}
	return list, errors.Join(failed...)
}

// archive is a tar whose members can be opened by name.
type archive struct {
	members map[string]member
	links   map[string]string
	spool   string // folder to remove
}

type member struct {
	open func() (io.ReadCloser, error)
	size int64
}

func (a *archive) close() {
	if a.spool != "" {
		os.RemoveAll(a.spool)
	}
}

func (s *Store) openArchive(ctx context.Context, in io.Reader) (*archive, error) {
	a := &archive{members: map[string]member{}, links: map[string]string{}}
	if f, ok := in.(*os.File); ok && plainTar(f) {
		return a, a.index(ctx, f)
	}
	plain, err := decompress(contextReader{ctx, in})
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	if a.spool, err = os.MkdirTemp(filepath.Join(s.root, "spool"), "import-*"); err != nil {
		return nil, err
	}
	if err := a.keep(plain); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

// plainTar says whether the file can be read at any place and is not compressed.
func plainTar(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	magic := make([]byte, 6)
	_, err = f.ReadAt(magic, 257)
	return err == nil && strings.HasPrefix(string(magic), "ustar")
}

func (a *archive) index(ctx context.Context, f *os.File) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	in := tar.NewReader(f)
	for {
		h, err := in.Next()
		if err == io.EOF {
			return nil
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		// The reader stands at the content now: it reads headers only, and skips contents by seeking.
		offset, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		a.add(h, func() (io.ReadCloser, error) {
			return io.NopCloser(io.NewSectionReader(f, offset, h.Size)), nil
		})
	}
}

func (a *archive) keep(plain io.Reader) error {
	in := tar.NewReader(plain)
	for n := 0; ; n++ {
		h, err := in.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag == tar.TypeReg {
			// The name in the spool is a number: names in an archive are a stranger's.
			file := filepath.Join(a.spool, fmt.Sprint(n))
			if err := spoolTo(file, in); err != nil {
				return err
			}
			a.add(h, func() (io.ReadCloser, error) { return os.Open(file) })
			continue
		}
		a.add(h, nil)
	}
}

func spoolTo(file string, in io.Reader) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, in)
	return errors.Join(err, f.Close())
}

func (a *archive) add(h *tar.Header, open func() (io.ReadCloser, error)) {
	name := path.Clean("/" + h.Name)
	switch h.Typeflag {
	case tar.TypeReg:
		a.members[name] = member{open, h.Size}
	case tar.TypeLink:
		a.links[name] = path.Clean("/" + h.Linkname)
	case tar.TypeSymlink: // docker save links a layer that comes twice
		a.links[name] = path.Join(path.Dir(name), h.Linkname)
	}
}

func (a *archive) get(name string) (member, error) {
	name = path.Clean("/" + name)
	for range 8 {
		if m, ok := a.members[name]; ok {
			return m, nil
		}
		next, ok := a.links[name]
		if !ok {
			break
		}
		name = next
	}
	return member{}, fmt.Errorf("%s is missing", strings.TrimPrefix(name, "/"))
}

// maxDocument bounds manifests and configurations, which are read into memory.
const maxDocument = 8 << 20

func (a *archive) read(name string) ([]byte, error) {
	m, err := a.get(name)
	if err != nil {
		return nil, err
	}
	r, err := m.open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if len(data) > maxDocument {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxDocument)
	}
	return data, err
}

func (a *archive) layer(name string) (layerSource, error) {
	m, err := a.get(name)
	if err != nil {
		return layerSource{}, err
	}
	return layerSource{size: m.size, open: func(context.Context) (io.ReadCloser, error) { return m.open() }}, nil
}

// images of the archive. docker save writes both forms since version 25; its own manifest.json has the names then.
func (a *archive) images() ([]source, error) {
	if _, err := a.get("manifest.json"); err == nil {
		return a.dockerImages()
	}
	if _, err := a.get("index.json"); err == nil {
		return a.layoutImages()
	}
	return nil, nil
}

func (a *archive) dockerImages() ([]source, error) {
	data, err := a.read("manifest.json")
	if err != nil {
		return nil, err
	}
	var manifest []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		return nil, fmt.Errorf("manifest.json: %w", err)
	}
	var list []source
	for _, m := range manifest {
		src, err := a.configured(m.Config, "")
		if err != nil {
			return nil, err
		}
		for _, tag := range m.RepoTags {
			name, err := normalize(tag)
			if err != nil {
				return nil, err
			}
			src.names = append(src.names, name)
		}
		for _, l := range m.Layers {
			layer, err := a.layer(l)
			if err != nil {
				return nil, err
			}
			src.layers = append(src.layers, layer)
		}
		list = append(list, src)
	}
	return list, nil
}

// configured begins a source with its configuration. Digest, where known, must be that of the bytes.
func (a *archive) configured(name, digest string) (source, error) {
	data, err := a.read(name)
	if err != nil {
		return source{}, err
	}
	sum := sha256.Sum256(data)
	id := "sha256:" + hex.EncodeToString(sum[:])
	if digest != "" && digest != id {
		return source{}, fmt.Errorf("%s has the content of %s", digest, id)
	}
	config := &v1.ConfigFile{}
	if err := json.Unmarshal(data, config); err != nil {
		return source{}, fmt.Errorf("configuration %s: %w", name, err)
	}
	return source{id: id, config: config}, nil
}

const (
	refNameAnnotation   = "org.opencontainers.image.ref.name"
	imageNameAnnotation = "io.containerd.image.name"
)

func (a *archive) layoutImages() ([]source, error) {
	data, err := a.read("index.json")
	if err != nil {
		return nil, err
	}
	index := v1.IndexManifest{}
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	var list []source
	for _, d := range index.Manifests {
		manifest, err := a.resolve(d, 0)
		if err != nil {
			return nil, err
		}
		src, err := a.layoutImage(manifest)
		if err != nil {
			return nil, err
		}
		src.names = layoutNames(d)
		// The same image under several names has several entries.
		if i := slices.IndexFunc(list, func(s source) bool { return s.id == src.id }); i >= 0 {
			list[i].names = append(list[i].names, src.names...)
			continue
		}
		list = append(list, src)
	}
	return list, nil
}

func layoutNames(d v1.Descriptor) []string {
	for _, key := range []string{imageNameAnnotation, refNameAnnotation} {
		ref := d.Annotations[key]
		// The specification's ref.name may be a bare tag, which names nothing here.
		if ref == "" || key == refNameAnnotation && !strings.ContainsAny(ref, "/:") {
			continue
		}
		if name, err := normalize(ref); err == nil {
			return []string{name, repository(name) + "@" + d.Digest.String()}
		}
	}
	return nil
}

func (a *archive) blob(h v1.Hash) ([]byte, error) {
	name := "blobs/" + h.Algorithm + "/" + h.Hex
	data, err := a.read(name)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	if got := hex.EncodeToString(sum[:]); h.Algorithm != "sha256" || got != h.Hex {
		return nil, fmt.Errorf("%s has the content of sha256:%s", h, got)
	}
	return data, nil
}

// resolve follows an index to the manifest for this machine.
func (a *archive) resolve(d v1.Descriptor, depth int) (*v1.Manifest, error) {
	data, err := a.blob(d.Digest)
	if err != nil {
		return nil, err
	}
	if !isIndex(d.MediaType, data) {
		m := &v1.Manifest{}
		return m, json.Unmarshal(data, m)
	}
	if depth > 4 {
		return nil, fmt.Errorf("%s: indexes nested too deeply", d.Digest)
	}
	index := v1.IndexManifest{}
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, err
	}
	for _, child := range index.Manifests {
		if child.Platform == nil || child.Platform.Satisfies(platform()) {
			return a.resolve(child, depth+1)
		}
	}
	return nil, fmt.Errorf("%s: no image for %s", d.Digest, platform())
}

func isIndex(media types.MediaType, data []byte) bool {
	if media != "" {
		return media.IsIndex()
	}
	var probe struct{ Manifests []json.RawMessage }
	return json.Unmarshal(data, &probe) == nil && probe.Manifests != nil
}

func (a *archive) layoutImage(m *v1.Manifest) (source, error) {
	src, err := a.configured("blobs/"+m.Config.Digest.Algorithm+"/"+m.Config.Digest.Hex, m.Config.Digest.String())
	if err != nil {
		return source{}, err
	}
	for _, l := range m.Layers {
		layer, err := a.layer("blobs/" + l.Digest.Algorithm + "/" + l.Digest.Hex)
		if err != nil {
			return source{}, err
		}
		src.layers = append(src.layers, layer)
	}
	return src, nil
}
