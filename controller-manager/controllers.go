package controllermanager

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/skiff-project/skiff/controller-manager/control"
	"github.com/skiff-project/skiff/controller-manager/deployment"
	"github.com/skiff-project/skiff/controller-manager/replicaset"
	"github.com/skiff-project/skiff/controller-manager/replication"
)

// controller is what this package needs of one.
type controller interface {
	Run(ctx context.Context) error
}

// entry is one controller of the list. The names are upstream's, for --controllers.
type entry struct {
	name string
	new  func(env control.Env, c Config) (controller, error)
}

// errNotConfigured says that a controller lacks something that it cannot work without, such as the key to sign with.
var errNotConfigured = errors.New("not configured")

// all controllers, in the order in which they start: first what a new cluster waits for.
var all = []entry{
	plain("deployment-controller", deployment.New),
	plain("replicaset-controller", replicaset.New),
	plain("replicationcontroller-controller", replication.New),
}

// plain is an entry for a controller that needs no configuration.
func plain[C controller](name string, new func(control.Env) C) entry {
	return entry{name, func(env control.Env, _ Config) (controller, error) { return new(env), nil }}
}

// selected reads --controllers.
func selected(list []string, all []entry) (map[string]bool, error) {
	known := func(name string) bool { return slices.ContainsFunc(all, func(e entry) bool { return e.name == name }) }
	on := map[string]bool{}
	if slices.Contains(list, "*") {
		for _, e := range all {
			on[e.name] = true
		}
	}
	for _, item := range list {
		name := strings.TrimPrefix(item, "-")
		switch {
		case item == "*":
		case !known(name):
			return nil, fmt.Errorf("--controllers: there is no controller %q", name)
		default:
			on[name] = name == item
		}
	}
	return on, nil
}
