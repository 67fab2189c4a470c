package controllermanager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"github.com/skiff-project/skiff/controller-manager/control"
	"github.com/skiff-project/skiff/controller-manager/identity"
	"github.com/skiff-project/skiff/pkg/client"
	"github.com/skiff-project/skiff/pkg/health"
	"github.com/skiff-project/skiff/pkg/leader"
	"github.com/skiff-project/skiff/pkg/run"
)

// Manager runs the controllers while it leads.
type Manager struct {
	config Config
	rest   *rest.Config
	http   *http.Client
	client kubernetes.Interface
	names  map[string]bool
}

// New checks the configuration and connects. It does not talk to the server yet.
func New(c Config) (*Manager, error) {
	names, err := selected(c.Controllers, all)
	if err != nil {
		return nil, err
	}
	m := &Manager{config: c, names: names}
	if m.rest = c.REST; m.rest == nil {
		if m.rest, err = client.Load(c.Client); err != nil {
			return nil, err
		}
	}
	if c.ServiceAccounts {
		m.http, err = identity.HTTPClient(m.rest)
	} else {
		m.http, err = rest.HTTPClientFor(m.rest)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	if m.client, err = kubernetes.NewForConfigAndClient(m.rest, m.http); err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	return m, nil
}

// Run serves the health endpoint, waits for the Lease and then runs the controllers, until ctx ends or the Lease is lost.
func (m *Manager) Run(ctx context.Context) error {
	var parts run.Group
	parts.Add("health endpoint", func(ctx context.Context) error {
		c := m.config.Health
		c.Client = m.client
		return health.Run(ctx, c)
	})
	parts.Add("controllers", func(ctx context.Context) error {
		return leader.Run(ctx, m.rest, m.config.Leader, m.lead)
	})
	return parts.Run(ctx)
}

// lead builds everything anew: caches of a process that once led and then waited would be nobody's truth.
func (m *Manager) lead(ctx context.Context) error {
	env, err := m.environment()
	if err != nil {
		return err
	}
	defer env.Broadcaster.Shutdown()

	var controllers run.Group
	for _, entry := range all {
		if !m.names[entry.name] {
			continue
		}
		c, err := entry.new(env, m.config)
		if errors.Is(err, errNotConfigured) {
			slog.Info("controller is off", "controller", entry.name, "reason", err)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", entry.name, err)
		}
		controllers.Add(entry.name, c.Run)
	}
	controllers.Add("settling", func(ctx context.Context) error {
		run.GiveBackWhenIdle(ctx)
		return nil
	})
	// All controllers have said what they watch; only now may the informers start.
	env.Informers.Start(ctx.Done())
	defer env.Informers.Shutdown()
	return controllers.Run(ctx)
}

func (m *Manager) environment() (control.Env, error) {
	env := control.Env{
		Client: m.client, Config: m.rest, HTTP: m.http, Informers: client.Informers(m.client), Clock: clock.RealClock{},
		Broadcaster: record.NewBroadcaster(), Gone: &control.Gone{}, Hubs: &control.Hubs{},
	}
	env.Broadcaster.StartRecordingToSink(control.EventSink(m.client))
	var err error
	if env.Metadata, err = metadata.NewForConfigAndClient(metadata.ConfigFor(m.rest), m.http); err != nil {
		return env, err
	}
	if env.Discovery, err = discovery.NewDiscoveryClientForConfigAndClient(m.rest, m.http); err != nil {
		return env, err
	}
	return env, nil
}
