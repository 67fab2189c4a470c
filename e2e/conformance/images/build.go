package images

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Archive is the file of the output folder that `skiff image load` takes, and Layout the folder beside it that Serve reads.
const (
	Archive = "images.tar"
	Layout  = "layout"
)

// nameAnnotation holds an image's full name in the layout's index.
const nameAnnotation = "org.opencontainers.image.ref.name"

// Config says what images are built from.
type Config struct {
	Programs string // folder of package programs' output
	Extras   string // folder with pause and web, which stands in for nginx: Skiff has both anyway
	Source   string // folder of k8s.io/kubernetes
	Work     string // kept from one build to the next: packages, busybox
	Out      string
	Log      io.Writer
}

//go:embed *.go
var ourselves embed.FS

// Build makes the images, unless those in c.Out were made from the same things.
func Build(ctx context.Context, c Config) error {
	want, err := c.inputs()
	if err != nil {
		return err
	}
	stamp := filepath.Join(c.Out, ".built-from")
	if have, err := os.ReadFile(stamp); err == nil && string(have) == want {
		return nil
	}
	began := time.Now()
	a, err := newApt(filepath.Join(c.Work, "apt"))
	if err != nil {
		return err
	}
	in, err := c.collect(ctx, a)
	if err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(c.Out), os.MkdirAll(c.Out, 0o755)); err != nil {
		return err
	}
	if err := writeLayout(filepath.Join(c.Out, Layout), list(in)); err != nil {
		return err
	}
	if err := writeArchive(filepath.Join(c.Out, Layout), filepath.Join(c.Out, Archive)); err != nil {
		return err
	}
	fmt.Fprintf(c.Log, "made %d images in %s\n", len(list(in)), time.Since(began).Round(time.Second))
	return os.WriteFile(stamp, []byte(want), 0o644)
}

// inputs names all that the images depend on, this package with its list of packages included.
func (c Config) inputs() (string, error) {
	sum := sha256.New()
	err := fs.WalkDir(ourselves, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := ourselves.ReadFile(p)
		sum.Write(body)
		return err
	})
	if err != nil {
		return "", err
	}
	for _, im := range list(inputs{programs: c.Programs, extras: c.Extras, source: filepath.Join(c.Source, "test/images")}) {
		for _, l := range im.layers {
			for _, p := range l.order() {
				if err := hashFile(sum, l[p].source); err != nil {
					return "", err
				}
			}
		}
	}
	return fmt.Sprintf("%x\n", sum.Sum(nil)), nil
}

func hashFile(to io.Writer, name string) error {
	if name == "" {
		return nil
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(to, f)
	return err
}

// collect gets what does not lie there yet.
func (c Config) collect(ctx context.Context, a *apt) (inputs, error) {
	in := inputs{programs: c.Programs, extras: c.Extras, source: filepath.Join(c.Source, "test/images")}
	busybox := filepath.Join(c.Work, "busybox")
	if err := os.MkdirAll(busybox, 0o755); err != nil {
		return in, err
	}
	if err := a.get(ctx, a.dir, "update", "-qq"); err != nil {
		fmt.Fprintln(c.Log, "going on with the packages that are here:", err)
	}
	fmt.Fprintln(c.Log, "packages of Debian, and busybox from source")
	program, err := buildBusybox(ctx, a, busybox)
	if err != nil {
		return in, fmt.Errorf("busybox: %w", err)
	}
	applets, err := appletsOf(ctx, program)
	if err != nil {
		return in, err
	}
	debs, err := a.download(ctx, packages)
	if err != nil {
		return in, err
	}
	in.busybox = busyboxRoot(program, applets)
	in.debian, err = debianRoot(ctx, debs, program, applets)
	return in, err
}

// writeLayout writes the images as an OCI layout, in which what they share lies once.
func writeLayout(dir string, images []image) error {
	out, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	built := map[string]v1.Layer{} // by the address of the map, since that is what sharing means
	for _, im := range images {
		made, err := im.build(built)
		if err == nil {
			err = out.AppendImage(made, layout.WithAnnotations(map[string]string{nameAnnotation: im.name}))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", im.name, err)
		}
	}
	return nil
}

func (im image) build(built map[string]v1.Layer) (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, l := range im.layers {
		key := fmt.Sprintf("%p", l)
		if built[key] == nil {
			made, err := l.build()
			if err != nil {
				return nil, err
			}
			built[key] = made
		}
		var err error
		if img, err = mutate.AppendLayers(img, built[key]); err != nil {
			return nil, err
		}
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.Architecture, file.OS, file.Config = runtime.GOARCH, "linux", im.config
	return mutate.ConfigFile(img, file)
}

// writeArchive puts a layout into one file.
func writeArchive(dir, file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		return err
	}
	return errors.Join(w.Close(), f.Close())
}
