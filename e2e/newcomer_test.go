package e2e

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/skiff-project/skiff/e2e/framework"
)

// TestNewcomer types the session of an introduction to Kubernetes, line by line.
func TestNewcomer(t *testing.T) {
	c := framework.Shared(t)
	for _, cli := range c.Clients() {
		t.Run(cli.Name, func(t *testing.T) {
			cli := cli.In(c.Namespace(t))
			t.Run("nodes", func(t *testing.T) {
				out := cli.Run(t, "get", "nodes")
				require.Regexp(t, `(?m)^NAME +STATUS +ROLES +AGE +VERSION$`, out)
				require.Regexp(t, `(?m)^node-1 +Ready +control-plane +\S+ +v1\.37\.\d`, out)
			})
			t.Run("deployments", func(t *testing.T) { newcomerDeployments(t, cli) })
			t.Run("pods and labels", func(t *testing.T) { newcomerPods(t, c, cli) })
		})
	}
	t.Run("curl", func(t *testing.T) { newcomerCurl(t, c) })
}

func newcomerDeployments(t *testing.T, cli framework.CLI) {
	demo := func(name string) string { return framework.Repo("deploy/demo/" + name) }
	const name = "nginx-deployment"
	watch := cli.Start(t, "get", "--watch", "deployments")

	require.Equal(t, "deployment.apps/nginx-deployment created\n", cli.Run(t, "apply", "-f", demo("deployment.yaml")))
	cli.Run(t, "rollout", "status", "deployment/"+name, "--timeout=90s")
	require.Regexp(t, `(?m)^nginx-deployment +2/2 +2 +2 +\S+$`, cli.Run(t, "get", "deployments"))
	watch.Await(t, "nginx-deployment   2/2     2            2")
	described := cli.Run(t, "describe", "deployment", name)
	for _, want := range []string{"nginx:1.7.9", "RollingUpdate", "Scaled up replica set", "2 desired | 2 updated | 2 total | 2 available | 0 unavailable", "Available      True"} {
		require.Contains(t, described, want)
	}

	require.Equal(t, "deployment.apps/nginx-deployment configured\n", cli.Run(t, "apply", "-f", demo("deployment-update.yaml")))
	cli.Run(t, "rollout", "status", "deployment/"+name, "--timeout=90s")
	cli.Run(t, "apply", "-f", demo("deployment-scale.yaml"))
	cli.Run(t, "rollout", "status", "deployment/"+name, "--timeout=90s")
	require.Regexp(t, `(?m)^nginx-deployment +4/4 +4 +4 +\S+$`, cli.Run(t, "get", "deployments"))

	sets := cli.Run(t, "get", "replicaset")
	require.Len(t, strings.Split(strings.TrimSpace(sets), "\n"), 3, "a header and two revisions:\n%s", sets)
	set := strings.TrimSpace(cli.Run(t, "get", "replicasets", "-o", `jsonpath={.items[?(@.spec.replicas==4)].metadata.name}`))
	yaml := cli.Run(t, "get", "replicasets", set, "-o", "yaml")
	require.Contains(t, yaml, "deployment.kubernetes.io/revision: \"2\"")
	require.Contains(t, yaml, "kind: Deployment\n    name: nginx-deployment")
	pod := strings.Fields(cli.Run(t, "get", "pods", "-l", "app=nginx", "-o", "jsonpath={.items[*].metadata.name}"))[0]
	require.True(t, strings.HasPrefix(pod, set+"-"), "pod %s of %s", pod, set)
	require.Contains(t, cli.Run(t, "get", "pod", pod, "-o", "yaml"), "kind: ReplicaSet\n    name: "+set)

	editor := framework.Write(t, "editor", "#!/bin/sh\nsed -i 's/replicas: 4/replicas: 3/' \"$1\"\n")
	require.Equal(t, "deployment.apps/nginx-deployment edited\n", cli.With("EDITOR="+editor).Run(t, "edit", "deployment", name))
	cli.Run(t, "rollout", "status", "deployment/"+name, "--timeout=90s")
	require.Equal(t, "3", cli.Run(t, "get", "deployment", name, "-o", "jsonpath={.spec.replicas}"))

	cli.Run(t, "set", "image", "deployment.v1.apps", name, "nginx=nginx:1.7.9")
	cli.Run(t, "rollout", "status", "deployment/"+name, "--timeout=90s")
	cli.Run(t, "set", "image", "deployment.v1.apps", name, "nginx=nginx:1.9.1")
	cli.Run(t, "rollout", "status", "deployment/"+name, "--timeout=90s")
	image := func() string {
		return cli.Run(t, "get", "deployment", name, "-o", "jsonpath={.spec.template.spec.containers[0].image}")
	}
	require.Equal(t, "nginx:1.9.1", image())
	history := cli.Run(t, "rollout", "history", "deployment.v1.apps", name)
	require.Regexp(t, `(?s)REVISION +CHANGE-CAUSE\n3 .*\n4 `, history, "a revision that is used again gets a new number")
	require.Contains(t, cli.Run(t, "rollout", "undo", "deployment", name), "deployment.apps/nginx-deployment rolled back")
	require.Equal(t, "nginx:1.7.9", image())
	cli.Run(t, "rollout", "status", "deployment/"+name, "--timeout=90s")
	history = cli.Run(t, "rollout", "history", "deployment.v1.apps", name)
	require.Contains(t, cli.Fail(t, "rollout", "undo", "deployment.v1.apps", name, "--to-revision=2"), "unable to find specified revision 2 in history")
	cli.Run(t, "rollout", "undo", "deployment.v1.apps", name, "--to-revision=4")
	require.Equal(t, "nginx:1.9.1", image(), "history was %s", history)
	cli.Run(t, "rollout", "status", "deployment/"+name, "--timeout=90s")

	require.Equal(t, fmt.Sprintf("deployment.apps %q deleted from %s namespace\n", name, namespaceOf(t, cli)), cli.Run(t, "delete", "deployment", name))
	framework.Eventually(t, time.Minute, func() (bool, string) {
		out, _ := cli.Try(t, "get", "replicasets,pods", "-o", "name")
		return strings.TrimSpace(out) == "", out
	})
}

func namespaceOf(t *testing.T, cli framework.CLI) string {
	return cli.Run(t, "config", "view", "--minify", "-o", "jsonpath={.contexts[0].context.namespace}")
}

func newcomerPods(t *testing.T, c *framework.Cluster, cli framework.CLI) {
	pods := framework.Write(t, "pods.yaml", `
apiVersion: v1
kind: Pod
metadata: {name: nginx, labels: {env: dev, tie: front}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: nginx, image: "nginx:1.7.9"}]
---
apiVersion: v1
kind: Pod
metadata: {name: other, labels: {env: prod, tie: back, release: stable}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: nginx, image: "nginx:1.7.9"}]
`)
	require.Equal(t, "pod/nginx created\npod/other created\n", cli.Run(t, "create", "-f", pods))
	require.Contains(t, cli.Fail(t, "create", "-f", pods), `Error from server (AlreadyExists): error when creating`)
	namespace := namespaceOf(t, cli)
	c.Ready(t, namespace, "nginx")
	c.Ready(t, namespace, "other")
	require.Regexp(t, `(?m)^nginx +1/1 +Running +0 +\S+ +env=dev,tie=front$`, cli.Run(t, "get", "pods", "--show-labels"))
	for selector, want := range map[string]string{
		"env=dev,tie=front": "pod/nginx\n", "env in (test, dev)": "pod/nginx\n", "env notin (dev)": "pod/other\n", "!release": "pod/nginx\n",
	} {
		require.Equal(t, want, cli.Run(t, "get", "pods", "-l", selector, "-o", "name"), selector)
	}
	require.Regexp(t, `(?m)^nginx .* env=dev,tie=front$`, cli.Run(t, "get", "pods", "--show-labels", "-l", "env=dev,tie=front"))
	require.Equal(t, "pod/nginx labeled\n", cli.Run(t, "label", "pods", "nginx", "env=test", "--overwrite"))
	require.Contains(t, cli.Fail(t, "label", "pods", "nginx", "env=prod"), "already has a value (test), and --overwrite is false")
	require.Equal(t, "pod/nginx unlabeled\n", cli.Run(t, "label", "pods", "nginx", "tie-"))
	require.Regexp(t, `(?m)^nginx .* env=test$`, cli.Run(t, "get", "pods", "--show-labels"))
	const note = "my annotate, contains special characters"
	require.Equal(t, "pod/nginx annotated\n", cli.Run(t, "annotate", "pods", "nginx", "my-annotate="+note))
	require.Equal(t, note, cli.Run(t, "get", "pod", "nginx", "-o", `jsonpath={.metadata.annotations.my-annotate}`))

	editor := framework.Write(t, "editor", "#!/bin/sh\nsed -i 's/env: test/env: edited/' \"$1\"\n")
	require.Equal(t, "pod/nginx edited\n", cli.With("EDITOR="+editor).Run(t, "edit", "pod", "nginx"))
	require.Equal(t, "edited", c.Pod(t, namespace, "nginx").Labels["env"])
	cli.Run(t, "delete", "-f", pods)
	list, err := c.Client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Empty(t, list.Items, "delete waits until pods are gone")
}

// newcomerCurl asks the API by curl with an administrator's certificate.
func newcomerCurl(t *testing.T, c *framework.Cluster) {
	config, err := clientcmd.LoadFromFile(c.Kubeconfig)
	require.NoError(t, err)
	context1 := config.Contexts[config.CurrentContext]
	dir := t.TempDir()
	put := func(name string, body []byte) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, body, 0o600))
		return file
	}
	ctx, cancel := context.WithTimeout(t.Context(), framework.Timeout)
	defer cancel()
	server, user := config.Clusters[context1.Cluster], config.AuthInfos[context1.AuthInfo]
	curl := func(args ...string) string {
		out, err := exec.CommandContext(ctx, "curl", append([]string{"-sS"}, args...)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	ca := put("ca.crt", server.CertificateAuthorityData)
	out := curl("--cacert", ca, "--cert", put("admin.crt", user.ClientCertificateData), "--key", put("admin.key", user.ClientKeyData), server.Server+"/api/v1/pods")
	require.Contains(t, out, `"kind": "PodList"`)
	require.Contains(t, out, "coredns-")
	out = curl("--cacert", ca, server.Server+"/api/v1/pods")
	require.Contains(t, out, `pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" at the cluster scope`)
	out = curl("--cacert", ca, "-H", "Authorization: Bearer "+base64.RawStdEncoding.EncodeToString([]byte("nonsense")), server.Server+"/api/v1/pods")
	require.Contains(t, out, `"reason": "Unauthorized"`)
}
