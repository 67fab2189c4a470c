package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// source is an image to be installed, wherever it comes from.
type source struct {
	id     string
	config *v1.ConfigFile
	layers []layerSource // as many as the configuration has diff ids
	names  []string      // normalized
}

// layerSource opens the archive of a layer; compressed or not.
type layerSource struct {
	size int64 // of the archive, 0 when unknown
	open func(ctx context.Context) (io.ReadCloser, error)
}

// install unpacks what is missing of an image and records it.
func (s *Store) install(ctx context.Context, src source, progress func(runtime.Progress)) (runtime.Image, error) {
	diffs := src.config.RootFS.DiffIDs
	if len(diffs) != len(src.layers) {
		return runtime.Image{}, fmt.Errorf("image %s has %d layers and %d diff ids", src.id, len(src.layers), len(diffs))
	}
	if err := fits(src.config); err != nil {
		return runtime.Image{}, err
	}
	r := &record{ID: src.id, Config: src.config.Config, Chain: chainOf(diffs)}
	defer s.hold(r.Chain)()
	for i, diff := range diffs {
		one, err := s.installLayer(ctx, r.Chain[i], diff.String(), r.Chain[:i], src.layers[i], progress)
		if err != nil {
			return runtime.Image{}, err
		}
		r.Size += one.Size
	}
	return s.put(r, src.names)
}

func (s *Store) installLayer(ctx context.Context, chain, diff string, below []string, src layerSource, progress func(runtime.Progress)) (*layer, error) {
	defer s.layers.lock(chain)()
	if one := s.layers.get(chain); one != nil {
		progress(runtime.Progress{Layer: diff, Done: src.size, Total: src.size, Message: "Already exists"})
		return one, nil
	}
	archive, err := src.open(ctx)
	if err != nil {
		return nil, err
	}
	defer archive.Close()
	counted := &countingReader{r: archive, report: func(n int64) {
		progress(runtime.Progress{Layer: diff, Done: n, Total: src.size, Message: "Unpacking"})
	}}
	one, err := s.layers.unpack(ctx, chain, diff, below, counted)
	if err != nil {
		return nil, err
	}
	progress(runtime.Progress{Layer: diff, Done: src.size, Total: src.size, Message: "Unpacked"})
	return one, nil
}

// chainOf are the OCI chain ids of layers: of each, the hash over it and all below.
func chainOf(diffs []v1.Hash) []string {
	chain := make([]string, len(diffs))
	for i, diff := range diffs {
		chain[i] = diff.String()
		if i > 0 {
			sum := sha256.Sum256([]byte(chain[i-1] + " " + chain[i]))
			chain[i] = "sha256:" + hex.EncodeToString(sum[:])
		}
	}
	return chain
}

// fits refuses images for other machines before their layers are fetched. Images made by hand often name no platform.
func fits(config *v1.ConfigFile) error {
	have := platform()
	if config.OS != "" && config.OS != have.OS || config.Architecture != "" && config.Architecture != have.Architecture {
		return fmt.Errorf("image is for %s/%s, this node is %s/%s", config.OS, config.Architecture, have.OS, have.Architecture)
	}
	return nil
}

// countingReader reports about every MiB.
type countingReader struct {
	r        io.Reader
	n, shown int64
	report   func(int64)
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if c.n-c.shown >= 1<<20 {
		c.shown = c.n
		c.report(c.n)
	}
	return n, err
}
