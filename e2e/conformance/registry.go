package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/skiff-project/skiff/e2e/conformance/images"
)

// registryAddress is where the node agent of each machine finds the registry, on the machine's own loopback: it needs
// no address of the cluster's, which are known only once it is up.
const registryAddress = "127.0.0.1:5000"

// serveRegistry answers until ctx ends.
func serveRegistry(ctx context.Context, dir, address string) error {
	handler, err := images.Registry(dir)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
