package cri

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	api "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/skiff-project/skiff/nodeagent/cgroups"
	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// maxMessage is what the kubelet allows as well: the list of all containers may be large.
const maxMessage = 16 << 20

// Config of a Runtime.
type Config struct {
	// Endpoint of the runtime service: a path, or unix:///path.
	Endpoint string
	// ImageEndpoint of the image service, if it is another one.
	ImageEndpoint string
	// Cgroups makes the control groups of pods, which CRI leaves to the agent; those of containers are the runtime's.
	Cgroups *cgroups.Manager
	Log     *slog.Logger
}

// Runtime implements runtime.Runtime on a CRI socket.
type Runtime struct {
	runtime api.RuntimeServiceClient
	conn    *grpc.ClientConn
	groups  *cgroups.Manager
	log     *slog.Logger
	events  events
}

var _ runtime.Runtime = (*Runtime)(nil)

// New connects. The runtime need not be up yet; Ready says whether it is.
func New(config Config) (*Runtime, *Images, error) {
	if config.Log == nil {
		config.Log = slog.Default()
	}
	conn, err := dial(config.Endpoint)
	if err != nil {
		return nil, nil, err
	}
	imageConn := conn
	if config.ImageEndpoint != "" && config.ImageEndpoint != config.Endpoint {
		if imageConn, err = dial(config.ImageEndpoint); err != nil {
			conn.Close()
			return nil, nil, err
		}
	}
	r := &Runtime{runtime: api.NewRuntimeServiceClient(conn), conn: conn, groups: config.Cgroups, log: config.Log}
	return r, &Images{images: api.NewImageServiceClient(imageConn), conn: imageConn}, nil
}

func dial(endpoint string) (*grpc.ClientConn, error) {
	path := strings.TrimPrefix(endpoint, "unix://")
	if !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("container runtime endpoint %q: not a unix socket", endpoint)
	}
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
	if err != nil {
		return nil, fmt.Errorf("container runtime endpoint %q: %w", endpoint, err)
	}
	return conn, nil
}

// Close ends the connection; containers run on.
func (r *Runtime) Close() error { return r.conn.Close() }

// translate gives CRI's errors their meaning here, and their text without the transport's prefix.
func translate(err error) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	switch s.Code() {
	case codes.NotFound:
		return fmt.Errorf("%s: %w", s.Message(), runtime.ErrNotFound)
	case codes.DeadlineExceeded:
		return fmt.Errorf("%s: %w", s.Message(), context.DeadlineExceeded)
	case codes.Canceled:
		return fmt.Errorf("%s: %w", s.Message(), context.Canceled)
	}
	return errors.New(s.Message())
}

// gone lets what is not there be removed and stopped.
func gone(err error) error {
	if err = translate(err); errors.Is(err, runtime.ErrNotFound) {
		return nil
	}
	return err
}

// Version implements runtime.Runtime.
func (r *Runtime) Version(ctx context.Context) (runtime.Version, error) {
	v, err := r.runtime.Version(ctx, &api.VersionRequest{Version: "0.1.0"})
	if err != nil {
		return runtime.Version{}, translate(err)
	}
	return runtime.Version{Name: v.RuntimeName, Version: v.RuntimeVersion}, nil
}

// Ready implements runtime.Runtime.
func (r *Runtime) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	s, err := r.runtime.Status(ctx, &api.StatusRequest{})
	if err != nil {
		return fmt.Errorf("container runtime is down: %w", translate(err))
	}
	for _, c := range s.GetStatus().GetConditions() {
		if !c.Status && (c.Type == api.RuntimeReady || c.Type == api.NetworkReady) {
			return fmt.Errorf("container runtime is not ready: %s: %s %s", c.Type, c.Reason, c.Message)
		}
	}
	return nil
}

// SetPodCIDRs implements runtime.Runtime.
func (r *Runtime) SetPodCIDRs(ctx context.Context, cidrs []string) error {
	_, err := r.runtime.UpdateRuntimeConfig(ctx, &api.UpdateRuntimeConfigRequest{
		RuntimeConfig: &api.RuntimeConfig{NetworkConfig: &api.NetworkConfig{PodCidr: strings.Join(cidrs, ",")}},
	})
	return translate(err)
}
