package signing

import (
	"context"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificateslisters "k8s.io/client-go/listers/certificates/v1"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// Config is whose certificates are made and how long they live at most.
type Config struct {
	CertFile, KeyFile string
	Duration          time.Duration
}

// Controller signs.
type Controller struct {
	env      control.Env
	config   Config
	requests certificateslisters.CertificateSigningRequestLister
	loop     *control.Loop
}

// New answers the controller that signs, or why it cannot.
func New(env control.Env, config Config) (*Controller, error) {
	if _, err := load(config.CertFile, config.KeyFile); err != nil {
		return nil, err
	}
	requests := env.Informers.Certificates().V1().CertificateSigningRequests()
	c := &Controller{env: env, config: config, requests: requests.Lister()}
	c.loop = control.NewLoop(env, "certificate-controller", 4, c.reconcile)
	control.Watch(c.loop, requests.Informer(), control.Self[*certificatesv1.CertificateSigningRequest])
	return c, nil
}

// Run signs until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }
