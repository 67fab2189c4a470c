package cleaning

import (
	"context"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificateslisters "k8s.io/client-go/listers/certificates/v1"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// Controller cleans.
type Controller struct {
	env      control.Env
	requests certificateslisters.CertificateSigningRequestLister
	loop     *control.Loop
}

// New answers the controller that cleans.
func New(env control.Env) *Controller {
	requests := env.Informers.Certificates().V1().CertificateSigningRequests()
	c := &Controller{env: env, requests: requests.Lister()}
	c.loop = control.NewLoop(env, "certificate-controller", 1, c.reconcile)
	control.Watch(c.loop, requests.Informer(), control.Self[*certificatesv1.CertificateSigningRequest])
	return c
}

// Run cleans until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }
