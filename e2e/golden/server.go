package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/skiff-project/skiff/apiserver"
	"github.com/skiff-project/skiff/pkg/certs"
)

// advertised stands in the Endpoints of the API's Service, where a loopback address may not. Nobody connects to it.
const advertised = "192.0.2.1"

// issuer is that of the recorded server.
const issuer = "https://localhost"

const startup = 60 * time.Second

// api is an API server with an etcd of its own, inside this process, on a loopback port.
type api struct {
	config *rest.Config // of an administrator
	folder string
	cancel context.CancelFunc
	ended  chan error
}

// serve starts an API server and waits until it is ready. log gets what it has to say.
func serve(log *slog.Logger) (a *api, err error) {
	a = &api{cancel: func() {}, ended: make(chan error, 1)}
	if a.folder, err = os.MkdirTemp("", "golden"); err != nil {
		return nil, err
	}
	if err = a.start(log); err != nil {
		return nil, errors.Join(err, os.RemoveAll(a.folder))
	}
	if err = a.ready(); err != nil {
		return nil, errors.Join(err, a.stop())
	}
	return a, nil
}

func (a *api) start(log *slog.Logger) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	cfg := apiserver.Defaults()
	cfg.DataDir, cfg.EtcdNoSync = filepath.Join(a.folder, "etcd"), true
	cfg.EtcdSocket = filepath.Join(a.folder, "etcd.sock")
	cfg.CertDir = filepath.Join(a.folder, "pki")
	cfg.BindAddress, cfg.AdvertiseAddress = "127.0.0.1", advertised
	cfg.Listeners, cfg.SecurePort = []net.Listener{listener}, 0
	cfg.ServiceAccountIssuers = []string{issuer}
	cfg.Log = log
	files := certs.Config{Server: "https://" + listener.Addr().String(), Names: []string{advertised}}
	if _, err := certs.EnsureCluster(cfg.CertDir, files); err != nil {
		return errors.Join(err, listener.Close())
	}
	if a.config, err = clientcmd.BuildConfigFromFlags("", filepath.Join(cfg.CertDir, "admin.conf")); err != nil {
		return errors.Join(err, listener.Close())
	}
	server, err := apiserver.New(cfg)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	go func() { a.ended <- server.Run(ctx) }()
	return nil
}

// stop ends the server and removes all that it wrote.
func (a *api) stop() error {
	a.cancel()
	err := <-a.ended
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, os.RemoveAll(a.folder))
}

func (a *api) ready() error {
	t, err := newTarget(a.config)
	if err != nil {
		return err
	}
	for end := time.Now().Add(startup); time.Now().Before(end); {
		out, err := t.do(&Request{Method: "GET", Path: "/readyz"}, nil)
		if err == nil && out.code == http.StatusOK {
			return nil
		}
		select {
		case err := <-a.ended:
			a.ended <- err
			return fmt.Errorf("the API server ended: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	return fmt.Errorf("the API server is not ready after %s", startup)
}
