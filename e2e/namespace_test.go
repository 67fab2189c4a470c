package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/e2e/framework"
)

func TestDeletedNamespaceTakesEverythingWithIt(t *testing.T) {
	t.Parallel()
	c := framework.Shared(t)
	cli := c.Skiff()
	const ns = "e2e-doomed"
	cli.Run(t, "create", "namespace", ns)
	in := cli.In(ns)
	in.RunWith(t, webDeployment, "apply", "-f", "-")
	in.Run(t, "create", "configmap", "settings", "--from-literal=a=b")
	in.Run(t, "create", "secret", "generic", "hidden", "--from-literal=a=b")
	in.Run(t, "create", "serviceaccount", "robot")
	in.Run(t, "create", "role", "reader", "--verb=get", "--resource=pods")
	in.Run(t, "rollout", "status", "deployment/web", "--timeout=90s")
	cli.Run(t, "delete", "namespace", ns, "--timeout=90s")
	_, err := c.Client.CoreV1().Namespaces().Get(t.Context(), ns, metav1.GetOptions{})
	require.True(t, apierrors.IsNotFound(err), "%v", err)
	for _, kind := range []string{"pods", "deployments", "replicasets", "services", "endpointslices", "configmaps", "secrets", "serviceaccounts", "roles", "events"} {
		require.Empty(t, cli.Run(t, "get", kind, "-n", ns, "-o", "name"), kind)
	}
	framework.Eventually(t, 30*time.Second, func() (bool, string) {
		out := c.InMachine(t, "node-1", "ls /var/log/pods") + c.InMachine(t, "node-2", "ls /var/log/pods")
		for _, line := range splitLines(out) {
			if len(line) > len(ns) && line[:len(ns)+1] == ns+"_" {
				return false, "on a node: " + line
			}
		}
		return true, ""
	})
}
