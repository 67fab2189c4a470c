package nodeagent

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/nodeagent/cgroups"
	"github.com/skiff-project/skiff/nodeagent/images"
	"github.com/skiff-project/skiff/nodeagent/network"
	"github.com/skiff-project/skiff/nodeagent/runtime"
	"github.com/skiff-project/skiff/nodeagent/runtime/oci"
)

// engine is what runs containers: the native runtime with its images, network and control groups, or a CRI runtime, which
// has its own images and network.
type engine struct {
	runtime runtime.Runtime
	images  runtime.Images
	network *network.Network // nil with CRI
	groups  *cgroups.Manager
	extra   map[string]string
	end     func()
}

func openEngine(cfg Config) (*engine, error) {
	groups, err := cgroups.New(cfg.CgroupRoot, cfg.Log)
	if err != nil {
		return nil, fmt.Errorf("control groups: %w", err)
	}
	if cfg.RuntimeEndpoint != "" {
		rt, store, end, err := cfg.OpenCRI(cfg.RuntimeEndpoint, groups, cfg.Log)
		if err != nil {
			return nil, err
		}
		return &engine{runtime: rt, images: store, groups: groups, extra: cfg.RuntimeHandlers, end: end}, nil
	}
	store, err := images.New(images.Config{Root: filepath.Join(cfg.RootDir, "images"), PlainHTTP: cfg.PlainHTTP, Mirrors: cfg.RegistryMirrors, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	var ranges []netip.Prefix
	for _, s := range cfg.ClusterCIDRs {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("--cluster-cidr: %w", err)
		}
		ranges = append(ranges, p)
	}
	net, err := network.New(network.Config{Dir: filepath.Join(cfg.RootDir, "network"), ClusterCIDRs: ranges, Masquerade: cfg.Masquerade, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	rt, err := oci.New(oci.Config{Root: filepath.Join(cfg.RootDir, "runtime"), Command: cfg.ContainerRuntime, Handlers: cfg.RuntimeHandlers, Conmon: cfg.Conmon,
		PauseProgram: cfg.PauseBinary, Images: store, Network: net, Cgroups: groups, Log: cfg.Log})
	if err != nil {
		net.Close()
		return nil, err
	}
	return &engine{runtime: rt, images: store, network: net, groups: groups, extra: cfg.RuntimeHandlers, end: func() { store.Close(); net.Close() }}, nil
}

func (e *engine) close() { e.end() }

// importBundles loads the archives of a folder, those that are not there yet.
func (e *engine) importBundles(ctx context.Context, dir string, log *slog.Logger) {
	if dir == "" {
		return
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.tar*"))
	if err != nil || len(files) == 0 {
		return
	}
	for _, path := range files {
		if ctx.Err() != nil {
			return
		}
		if err := e.importFile(ctx, path); err != nil {
			log.Error("bundled images not loaded", "archive", path, "err", err)
		}
	}
}

func (e *engine) importFile(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = e.images.Import(ctx, f, nil)
	return err
}

func (e *engine) handlers() []corev1.NodeRuntimeHandler {
	yes, no := true, false
	features := &corev1.NodeRuntimeHandlerFeatures{RecursiveReadOnlyMounts: &yes, UserNamespaces: &no}
	list := []corev1.NodeRuntimeHandler{{Name: "", Features: features}}
	for name := range e.extra {
		list = append(list, corev1.NodeRuntimeHandler{Name: name, Features: features})
	}
	slices.SortFunc(list, func(a, b corev1.NodeRuntimeHandler) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// containerImages are images as node status shows them: the largest first, digests before tags.
func containerImages(list []runtime.Image) []corev1.ContainerImage {
	slices.SortFunc(list, func(a, b runtime.Image) int { return cmp.Or(cmp.Compare(b.Size, a.Size), cmp.Compare(a.ID, b.ID)) })
	var out []corev1.ContainerImage
	for _, i := range list {
		names := append(append([]string{}, i.RepoDigests...), i.RepoTags...)
		if len(names) > 0 {
			out = append(out, corev1.ContainerImage{Names: names[:min(len(names), 5)], SizeBytes: i.Size})
		}
	}
	return out
}
