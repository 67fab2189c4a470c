package scheduler

import (
	"k8s.io/client-go/rest"

	"github.com/skiff-project/skiff/pkg/health"
	"github.com/skiff-project/skiff/pkg/leader"
)

// Config says how the scheduler runs. The zero value of every field but API is usable.
type Config struct {
	// API is how to reach the API server.
	API *rest.Config
	// Leader says whether and how one of several schedulers leads.
	Leader leader.Config
	// Health is the HTTPS endpoint for health and metrics.
	Health health.Config
	// Name is the schedulerName of the pods that this scheduler places. Default: default-scheduler.
	Name string
	// Binders is how many bindings are under way at once. Default: 64.
	Binders int
	// Classes is how many pod templates are remembered. Default: 128.
	Classes int
}

func (c Config) withDefaults() Config {
	if c.Name == "" {
		c.Name = "default-scheduler"
	}
	if c.Binders == 0 {
		c.Binders = 64
	}
	if c.Classes == 0 {
		c.Classes = 128
	}
	return c
}
