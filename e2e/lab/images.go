package lab

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/skiff-project/skiff/pkg/machine"
)

// LoadImages gives containerd the images that Skiff's clusters bring along, and one for the infra container.
func (l *Lab) LoadImages(ctx context.Context) error {
	pause := filepath.Join(l.Machine.Data(), "pause.tar")
	if err := writePause(filepath.Join(l.config.Bin, "pause"), pause); err != nil {
		return err
	}
	ctr := []string{filepath.Join(peersDir, "ctr"), "-a", socket, "-n", "k8s.io"}
	err := l.Await(ctx, 30*time.Second, func(context.Context) (bool, string) {
		if _, err := l.Run(append(ctr, "version")...); err != nil {
			return false, err.Error() + ": " + l.lastLine(Runtime)
		}
		return true, ""
	})
	if err != nil {
		return fmt.Errorf("containerd: %w", err)
	}
	archives := []string{machine.DataDir + "/pause.tar"}
	for _, image := range []string{"busybox", "coredns", "tool"} {
		archives = append(archives, binDir+"/images/"+image+".tar")
	}
	for _, archive := range archives {
		if _, err := l.Run(append(ctr, "images", "import", "--local", archive)...); err != nil {
			return err
		}
	}
	return nil
}

// writePause makes an image archive of one program.
func writePause(program, archive string) error {
	body, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.WriteHeader(&tar.Header{Name: "pause", Mode: 0o755, Size: int64(len(body)), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	if _, err := w.Write(body); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	made, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	if err != nil {
		return err
	}
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{Architecture: runtime.GOARCH, OS: "linux", RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{Entrypoint: []string{"/pause"}, User: "65535:65535"}})
	if err != nil {
		return err
	}
	if image, err = mutate.AppendLayers(image, made); err != nil {
		return err
	}
	tag, err := name.NewTag(PauseImage)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(archive, tag, image)
}
