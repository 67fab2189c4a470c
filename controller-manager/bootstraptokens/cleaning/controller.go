package cleaning

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"

	"github.com/skiff-project/skiff/controller-manager/bootstraptokens/tokens"
	"github.com/skiff-project/skiff/controller-manager/control"
)

// Controller cleans.
type Controller struct {
	env    control.Env
	tokens corelisters.SecretLister
	loop   *control.Loop
}

// New answers the controller that cleans.
func New(env control.Env) *Controller {
	secrets := tokens.Informer(env.Client)
	c := &Controller{env: env, tokens: corelisters.NewSecretLister(secrets.GetIndexer())}
	c.loop = control.NewLoop(env, "token-cleaner", 1, c.reconcile)
	c.loop.Owns(secrets)
	control.Watch(c.loop, secrets, control.Self[*corev1.Secret])
	return c
}

// Run cleans until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }
