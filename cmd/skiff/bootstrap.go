package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/skiff-project/skiff/deploy/manifests"
	"github.com/skiff-project/skiff/pkg/machine"
)

// bootstrap waits for the cluster to answer and gives it what it needs to be useful.
func (u *up) bootstrap(ctx context.Context, nodes []node) error {
	config, err := api(u.cluster)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	err = u.await(ctx, func() (bool, string) {
		// init holds the socket, so a connection is taken even while no server runs; its answer would be waited for
		// for ever.
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		body, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		if err != nil {
			return false, "API server: " + err.Error()
		}
		return string(body) == "ok", "API server is not ready"
	})
	if err != nil {
		return err
	}
	u.progress.say("API server answers at %s", config.Host)
	if err := createAll(ctx, config, manifests.Nodes); err != nil {
		return fmt.Errorf("rights of nodes: %w", err)
	}
	if u.dns {
		if err := u.createDNS(ctx, config); err != nil {
			return fmt.Errorf("cluster DNS: %w", err)
		}
	}
	if err := u.awaitNodes(ctx, client, nodes); err != nil {
		return err
	}
	if !u.dns {
		return nil
	}
	err = u.await(ctx, func() (bool, string) {
		d, err := client.AppsV1().Deployments("kube-system").Get(ctx, "coredns", metav1.GetOptions{})
		if err != nil {
			return false, "cluster DNS: " + err.Error()
		}
		return d.Status.AvailableReplicas > 0, "cluster DNS has no pod that is ready"
	})
	if err != nil {
		return err
	}
	u.progress.say("cluster DNS is ready")
	return nil
}

func (u *up) awaitNodes(ctx context.Context, client kubernetes.Interface, nodes []node) error {
	err := u.await(ctx, func() (bool, string) {
		list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, "nodes: " + err.Error()
		}
		waiting := map[string]string{}
		for _, n := range nodes {
			waiting[n.name] = "has not registered"
		}
		for _, n := range list.Items {
			waiting[n.Name] = notReady(&n)
			if waiting[n.Name] == "" {
				delete(waiting, n.Name)
			}
		}
		for name, why := range waiting {
			return false, fmt.Sprintf("node %s %s", name, why)
		}
		return true, ""
	})
	if err != nil {
		return err
	}
	u.progress.say("%d of %d nodes Ready", len(nodes), len(nodes))
	// A node may not say so of itself: NodeRestriction keeps these labels for administrators.
	label := []byte(`{"metadata":{"labels":{"node-role.kubernetes.io/control-plane":""}}}`)
	_, err = client.CoreV1().Nodes().Patch(ctx, nodes[0].name, types.MergePatchType, label, metav1.PatchOptions{})
	return err
}

// notReady says why a node is not Ready; it is empty for one that is.
func notReady(n *corev1.Node) string {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			if c.Status == corev1.ConditionTrue {
				return ""
			}
			return "is not Ready: " + c.Message
		}
	}
	return "has not reported"
}

// await polls often, because what it waits for takes a second in all. When time is up, or a component has given up, its
// error says what was missing and what the components' logs end with.
func (u *up) await(ctx context.Context, done func() (bool, string)) error {
	looked := time.Now()
	for {
		ok, why := done()
		if ok {
			return nil
		}
		if time.Since(looked) > time.Second {
			looked = time.Now()
			if failing := u.failing(); failing != "" {
				return errors.New(failing)
			}
		}
		select {
		case <-ctx.Done():
			if failing := u.failing(); failing != "" {
				why = failing
			}
			return errors.New(why)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// failing names a component that does not stay up, with the last line it logged.
func (u *up) failing() string {
	for _, m := range u.cluster.Machines() {
		states, err := m.Components()
		if err != nil {
			return fmt.Sprintf("machine %s: %v", m.Name(), err)
		}
		for _, s := range states {
			if s.Restarts >= 3 {
				return fmt.Sprintf("%s on %s does not stay up (%s): %s", s.Name, m.Name(), s.LastExit, lastLine(m, s.Name))
			}
		}
	}
	return ""
}

func lastLine(m *machine.Machine, component string) string {
	body, err := m.Log(component)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(body)), "\n")
	return lines[len(lines)-1]
}

func (u *up) createDNS(ctx context.Context, config *rest.Config) error {
	text, err := manifests.DNS{ClusterIP: dnsIP, Domain: domain, Forward: u.egress, Image: manifests.DefaultDNSImage}.Render()
	if err != nil {
		return err
	}
	return createAll(ctx, config, text)
}

// createAll creates the objects of a YAML text; one that exists is brought to what the text says.
func createAll(ctx context.Context, config *rest.Config, text []byte) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client.Discovery()))
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		obj := &unstructured.Unstructured{}
		if err := decoder.Decode(obj); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := createOne(ctx, objects, mapper, obj); err != nil {
			return fmt.Errorf("%s %s: %w", obj.GetKind(), obj.GetName(), err)
		}
	}
}

func createOne(ctx context.Context, objects dynamic.Interface, mapper meta.RESTMapper, obj *unstructured.Unstructured) error {
	gvk := obj.GroupVersionKind()
	mapping, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return err
	}
	var place dynamic.ResourceInterface = objects.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		place = objects.Resource(mapping.Resource).Namespace(obj.GetNamespace())
	}
	_, err = place.Create(ctx, obj, metav1.CreateOptions{FieldManager: "skiff"})
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	body, err := obj.MarshalJSON()
	if err != nil {
		return err
	}
	_, err = place.Patch(ctx, obj.GetName(), types.MergePatchType, body, metav1.PatchOptions{FieldManager: "skiff"})
	return err
}
