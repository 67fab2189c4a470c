package cleaning

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/controller-manager/bootstraptokens/tokens"
	"github.com/skiff-project/skiff/controller-manager/control"
)

func (c *Controller) reconcile(ctx context.Context, key string) error {
	namespace, name := control.SplitKey(key)
	secret, err := c.tokens.Secrets(namespace).Get(name)
	if err != nil {
		return nil
	}
	end, ends := tokens.Expiry(secret)
	if !ends {
		return nil
	}
	if wait := end.Sub(c.env.Clock.Now()); wait > 0 {
		c.loop.AddAfter(key, wait)
		return nil
	}
	// The version makes sure that nobody has just prolonged it.
	err = c.env.Client.CoreV1().Secrets(namespace).Delete(ctx, name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &secret.UID, ResourceVersion: &secret.ResourceVersion},
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
