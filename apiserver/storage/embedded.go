package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// EmbeddedConfig says how to run an etcd of one member inside this process.
type EmbeddedConfig struct {
	// DataDir is its folder; made when missing. An etcd of its own can be started on it later: nothing in it is special.
	DataDir string
	// Socket, if set, is the path of a unix socket on which other processes reach this etcd (etcdctl, a test's second
	// API server). Without it nobody does: calls are made in process.
	Socket string
	// NoSync leaves writing to the disk to the kernel. It is for tests: a power cut loses data.
	NoSync bool
	// Log takes etcd's warnings and errors. Default slog.Default.
	Log *slog.Logger
}

// Embedded is a running etcd.
type Embedded struct {
	// Client calls it in process.
	Client  *clientv3.Client
	etcd    *embed.Etcd
	socket  string
	closing *atomic.Bool
}

// What an etcd with no peers can afford: heartbeats go nowhere, so a short election time costs nothing and cannot be
// disturbed by the network. It is the time to first service, 0.1 s instead of 1.
const (
	tick     = 20 * time.Millisecond
	election = 5 * tick // etcd's least
	startup  = 60 * time.Second
)

// StartEmbedded starts an etcd and waits until it serves.
func StartEmbedded(cfg EmbeddedConfig) (*Embedded, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("etcd's data folder: %w", err)
	}
	if err := os.Chmod(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("etcd's data folder: %w", err)
	}
	if err := checkUnused(cfg.DataDir); err != nil {
		return nil, err
	}
	closing := &atomic.Bool{}
	ec := embed.NewConfig()
	ec.Name, ec.Dir = "skiff", cfg.DataDir
	ec.InitialCluster = ec.InitialClusterFromName(ec.Name)
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.New(slogCore{cfg.Log, closing}))
	ec.UnsafeNoFsync = cfg.NoSync
	ec.TickMs, ec.ElectionMs = uint(tick/time.Millisecond), uint(election/time.Millisecond)
	ec.EnableGRPCGateway = false
	// The advertised addresses are names in etcd's member list; without peers nobody dials them.
	ec.ListenPeerUrls, ec.ListenClientUrls = nil, nil
	if cfg.Socket != "" {
		ec.ListenClientUrls = []url.URL{{Scheme: "unix", Path: cfg.Socket}}
		_ = os.Remove(cfg.Socket) // of a process that was killed
	}
	// What follows is kept in memory for followers that lag behind. There are none.
	ec.SnapshotCatchUpEntries = 100
	ec.QuotaBackendBytes = 8 << 30
	// Objects may be up to 3 MB on the wire, as upstream has it; etcd keeps its own limit of 1.5 MiB per request, which is
	// the one that users of kube-apiserver know.

	etcd, err := embed.StartEtcd(ec)
	if err != nil {
		return nil, fmt.Errorf("start etcd in %s: %w", cfg.DataDir, err)
	}
	e := &Embedded{etcd: etcd, socket: cfg.Socket, closing: closing}
	select {
	case <-etcd.Server.ReadyNotify():
	case err := <-etcd.Err():
		etcd.Close()
		return nil, fmt.Errorf("start etcd in %s: %w", cfg.DataDir, err)
	case <-time.After(startup):
		etcd.Close()
		return nil, fmt.Errorf("start etcd in %s: not ready after %s", cfg.DataDir, startup)
	}
	e.Client = v3client.New(etcd.Server)
	return e, nil
}

// Wait returns when etcd dies of itself (with a reason) or ctx ends (without).
func (e *Embedded) Wait(ctx context.Context) error {
	select {
	case err := <-e.etcd.Err():
		return fmt.Errorf("etcd: %w", err)
	case <-e.etcd.Server.StopNotify():
		return errors.New("etcd has stopped")
	case <-ctx.Done():
		return nil
	}
}

// Close stops etcd. Everything acknowledged is on the disk already.
func (e *Embedded) Close() {
	e.closing.Store(true)
	_ = e.Client.Close()
	e.etcd.Close()
	if e.socket != "" {
		_ = os.Remove(e.socket)
	}
}

// checkUnused refuses a data folder that another process has open. etcd itself would wait for ever.
func checkUnused(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "member", "snap", "db"), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("etcd's data folder: %w", err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("etcd's data folder %s is in use by another process", dir)
		}
		return fmt.Errorf("lock etcd's data folder %s: %w", dir, err)
	}
	return nil // closing unlocks
}
