package storage

import (
	"fmt"
	"log/slog"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// ExternalConfig says how to reach an etcd that runs by itself.
type ExternalConfig struct {
	// Servers are URLs: https://, http:// or unix://.
	Servers []string
	// CAFile, CertFile and KeyFile are for https.
	CAFile, CertFile, KeyFile string
	// Log takes the client's warnings. Default slog.Default.
	Log *slog.Logger
}

// Dial makes a client of an external etcd. It does not wait for an answer: an etcd that comes later is found.
func Dial(cfg ExternalConfig) (*clientv3.Client, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	cc := clientv3.Config{
		Endpoints: cfg.Servers,
		// A member that died without a word is noticed after a few seconds, as with upstream.
		DialTimeout:          20 * time.Second,
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 3 * time.Second,
		Logger:               zap.New(slogCore{log: cfg.Log}),
	}
	if cfg.CAFile != "" || cfg.CertFile != "" {
		tls := transport.TLSInfo{TrustedCAFile: cfg.CAFile, CertFile: cfg.CertFile, KeyFile: cfg.KeyFile}
		config, err := tls.ClientConfig()
		if err != nil {
			return nil, fmt.Errorf("TLS towards etcd: %w", err)
		}
		cc.TLS = config
	}
	client, err := clientv3.New(cc)
	if err != nil {
		return nil, fmt.Errorf("etcd at %v: %w", cfg.Servers, err)
	}
	return client, nil
}
