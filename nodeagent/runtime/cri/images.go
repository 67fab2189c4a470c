package cri

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	api "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// Images implements runtime.Images on a CRI socket.
type Images struct {
	images api.ImageServiceClient
	conn   *grpc.ClientConn
}

var _ runtime.Images = (*Images)(nil)

// Close ends the connection.
func (i *Images) Close() error { return i.conn.Close() }

// Pull implements runtime.Images. CRI tells no progress.
func (i *Images) Pull(ctx context.Context, ref string, auths []runtime.RegistryAuth, progress func(runtime.Progress)) (runtime.Image, error) {
	if progress != nil {
		progress(runtime.Progress{Ref: ref, Message: "Pulling"})
	}
	var first error
	for k := range len(auths) + 1 {
		request := &api.PullImageRequest{Image: &api.ImageSpec{Image: ref}}
		if k < len(auths) {
			a := auths[k]
			request.Auth = &api.AuthConfig{Username: a.Username, Password: a.Password, Auth: a.Auth, ServerAddress: a.ServerAddress, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken}
		}
		resp, err := i.images.PullImage(ctx, request)
		if err == nil {
			return i.Status(ctx, resp.ImageRef)
		}
		if first == nil {
			first = translate(err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return runtime.Image{}, first
}

// Status implements runtime.Images.
func (i *Images) Status(ctx context.Context, ref string) (runtime.Image, error) {
	resp, err := i.images.ImageStatus(ctx, &api.ImageStatusRequest{Image: &api.ImageSpec{Image: ref}, Verbose: true})
	if err != nil {
		return runtime.Image{}, translate(err)
	}
	if resp.Image == nil {
		return runtime.Image{}, fmt.Errorf("image %q: %w", ref, runtime.ErrNotFound)
	}
	out := image(resp.Image)
	// The configuration is in the verbose part, where there is one.
	var info struct {
		ImageSpec struct {
			Config struct {
				Env, Entrypoint, Cmd   []string
				WorkingDir, StopSignal string
				Labels                 map[string]string
				Volumes                map[string]struct{}
			}
		}
	}
	if json.Unmarshal([]byte(resp.Info["info"]), &info) == nil {
		c := info.ImageSpec.Config
		out.Env, out.Entrypoint, out.Cmd, out.WorkingDir, out.StopSignal, out.Labels = c.Env, c.Entrypoint, c.Cmd, c.WorkingDir, c.StopSignal, c.Labels
		for v := range c.Volumes {
			out.Volumes = append(out.Volumes, v)
		}
	}
	return out, nil
}

func image(i *api.Image) runtime.Image {
	out := runtime.Image{ID: i.Id, RepoTags: i.RepoTags, RepoDigests: i.RepoDigests, Size: int64(i.Size), Pinned: i.Pinned, Username: i.Username}
	switch {
	case i.Uid != nil:
		uid := i.Uid.Value
		out.UID = &uid
	case i.Username == "":
		out.UID = new(int64)
	}
	return out
}

// List implements runtime.Images.
func (i *Images) List(ctx context.Context) ([]runtime.Image, error) {
	resp, err := i.images.ListImages(ctx, &api.ListImagesRequest{})
	if err != nil {
		return nil, translate(err)
	}
	var out []runtime.Image
	for _, one := range resp.Images {
		out = append(out, image(one))
	}
	return out, nil
}

// Remove implements runtime.Images.
func (i *Images) Remove(ctx context.Context, ref string) error {
	_, err := i.images.RemoveImage(ctx, &api.RemoveImageRequest{Image: &api.ImageSpec{Image: ref}})
	return gone(err)
}

// Import implements runtime.Images.
func (i *Images) Import(context.Context, io.Reader, func(runtime.Progress)) ([]runtime.Image, error) {
	return nil, errors.New("images cannot be loaded over CRI: use the runtime's own tool, such as ctr --namespace k8s.io images import")
}

// Usage implements runtime.Images.
func (i *Images) Usage(ctx context.Context) (runtime.ImageUsage, error) {
	resp, err := i.images.ImageFsInfo(ctx, &api.ImageFsInfoRequest{})
	if err != nil {
		return runtime.ImageUsage{}, translate(err)
	}
	if len(resp.ImageFilesystems) == 0 {
		return runtime.ImageUsage{}, errors.New("the container runtime tells no image file system")
	}
	fs := resp.ImageFilesystems[0]
	out := runtime.ImageUsage{Path: fs.GetFsId().GetMountpoint(), UsedBytes: fs.GetUsedBytes().GetValue()}
	var st unix.Statfs_t
	if err := unix.Statfs(out.Path, &st); err != nil {
		return out, fmt.Errorf("image file system %s: %w", out.Path, err)
	}
	out.CapacityBytes, out.AvailableBytes = st.Blocks*uint64(st.Bsize), st.Bavail*uint64(st.Bsize)
	out.Inodes, out.InodesFree = st.Files, st.Ffree
	return out, nil
}
