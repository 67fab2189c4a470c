package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"

	"github.com/skiff-project/skiff/e2e/lab"
)

//go:embed objects.yaml
var objects []byte

// data has one side's API server write objects, and the other's serve them from a copy of etcd.
func (r *run) data(ctx context.Context, writer lab.Side) error {
	// A folder of its own, because a lab's data goes with it.
	dir, err := os.MkdirTemp("", "interchange")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	written, err := r.write(ctx, writer, dir)
	if err != nil {
		return fmt.Errorf("%s writes: %w", writer, err)
	}
	read, err := r.read(ctx, writer.Other(), dir)
	if err != nil {
		return fmt.Errorf("%s reads: %w", writer.Other(), err)
	}
	kinds := map[string]bool{}
	var bad []string
	for key, object := range written {
		kinds[object.GetKind()] = true
		other, ok := read[key]
		switch {
		case changedByStart(object):
		case !ok:
			bad = append(bad, key+" is not there")
		case !reflect.DeepEqual(lasting(object), lasting(other)):
			bad = append(bad, key+" differs: "+difference("", object.Object, other.Object))
		}
	}
	slices.Sort(bad)
	added := map[string]int{}
	for key, object := range read {
		if _, ok := written[key]; !ok {
			added[object.GetKind()]++
		}
	}
	r.note("%d objects of %d kinds; at its start the other server added %s", len(written), len(kinds), countsText(added))
	if len(bad) > 0 {
		return fmt.Errorf("%d of %d objects are not as they were:\n      %s", len(bad), len(written), strings.Join(bad[:min(len(bad), 30)], "\n      "))
	}
	return nil
}

func countsText(counts map[string]int) string {
	var list []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		list = append(list, fmt.Sprintf("%d %s", counts[kind], kind))
	}
	if list == nil {
		return "nothing"
	}
	return strings.Join(list, ", ")
}

// changedByStart says that every API server writes the object at its start: who it is, where it listens, what it trusts.
func changedByStart(o *unstructured.Unstructured) bool {
	key := o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
	return key == "Endpoints default/kubernetes" || key == "EndpointSlice default/kubernetes" ||
		key == "ConfigMap kube-system/extension-apiserver-authentication" ||
		o.GetKind() == "Lease" && strings.HasPrefix(o.GetName(), "apiserver-") ||
		// The server that serves a definition's group says so in its status.
		o.GetKind() == "APIService" ||
		// Each server keeps its own list of address ranges, with conditions that it sets.
		key == "ServiceCIDR /kubernetes"
}

// lasting is what of an object no server's start changes. Of a FlowSchema the status is: a server notes there, at its start or
// at the schema's creation, whether the priority level exists.
func lasting(o *unstructured.Unstructured) map[string]any {
	if o.GetKind() != "FlowSchema" {
		return o.Object
	}
	o = o.DeepCopy()
	delete(o.Object, "status")
	o.SetManagedFields(nil)
	o.SetResourceVersion("")
	return o.Object
}

// write fills an API server and leaves etcd's data and the cluster's keys in dir.
func (r *run) write(ctx context.Context, side lab.Side, dir string) (map[string]*unstructured.Unstructured, error) {
	l, err := r.start(ctx, lab.Config{Parts: lab.Parts{API: side}})
	if err != nil {
		return nil, err
	}
	defer r.stop(l)
	// Its start goes on for a moment after it is ready.
	if err := settled(ctx, l); err != nil {
		return nil, err
	}
	if err := l.Create(ctx, []byte("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default, namespace: default}\n")); err != nil {
		return nil, err
	}
	if err := l.Create(ctx, withServiceAccounts(objects)); err != nil {
		return nil, err
	}
	if err := settled(ctx, l); err != nil {
		return nil, err
	}
	all, err := dump(ctx, l)
	if err != nil {
		return nil, err
	}
	for _, part := range []string{lab.API, lab.Etcd} {
		if err := l.StopPart(part); err != nil {
			return nil, err
		}
	}
	if err := os.CopyFS(filepath.Join(dir, "etcd"), os.DirFS(l.Data())); err != nil {
		return nil, err
	}
	return all, os.CopyFS(filepath.Join(dir, "pki"), os.DirFS(l.PKI()))
}

// withServiceAccounts puts the service account, which no controller makes here, behind the namespace that it is in.
func withServiceAccounts(text []byte) []byte {
	const account = "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default, namespace: kept}\n---\n"
	return []byte(strings.Replace(string(text), "---\n", account, 1))
}

func (r *run) read(ctx context.Context, side lab.Side, dir string) (map[string]*unstructured.Unstructured, error) {
	l, err := r.start(ctx, lab.Config{Parts: lab.Parts{API: side}, Etcd: filepath.Join(dir, "etcd"), PKI: filepath.Join(dir, "pki")})
	if err != nil {
		return nil, err
	}
	defer r.stop(l)
	if err := settled(ctx, l); err != nil {
		return nil, err
	}
	return dump(ctx, l)
}

// settled waits until the server writes nothing any more: two looks at the newest revision half a second apart agree.
func settled(ctx context.Context, l *lab.Lab) error {
	last := ""
	return l.Await(ctx, 30*time.Second, func(ctx context.Context) (bool, string) {
		list, err := l.Client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{Limit: 1})
		if err != nil {
			return false, err.Error()
		}
		now := list.ResourceVersion
		if now == last {
			return true, ""
		}
		last = now
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
		return false, "the API server goes on writing"
	})
}

// dump lists every object that the server serves, by kind and name, in the preferred version of its group.
func dump(ctx context.Context, l *lab.Lab) (map[string]*unstructured.Unstructured, error) {
	client, err := dynamic.NewForConfig(l.REST)
	if err != nil {
		return nil, err
	}
	lists, err := discovery.ServerPreferredResources(l.Client.Discovery())
	if err != nil {
		return nil, err
	}
	all := map[string]*unstructured.Unstructured{}
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, resource := range list.APIResources {
			if !slices.Contains(resource.Verbs, "list") || resource.Kind == "ComponentStatus" {
				continue
			}
			found, err := client.Resource(gv.WithResource(resource.Name)).List(ctx, metav1.ListOptions{})
			if err != nil {
				return nil, fmt.Errorf("list %s: %w", resource.Name, err)
			}
			for i := range found.Items {
				o := &found.Items[i]
				all[fmt.Sprintf("%s.%s %s/%s", o.GetKind(), gv.Group, o.GetNamespace(), o.GetName())] = o
			}
		}
	}
	return all, nil
}

// difference names the first field in which two values differ.
func difference(path string, a, b any) string {
	am, aok := a.(map[string]any)
	bm, bok := b.(map[string]any)
	if aok && bok {
		keys := map[string]bool{}
		for k := range am {
			keys[k] = true
		}
		for k := range bm {
			keys[k] = true
		}
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			if !reflect.DeepEqual(am[k], bm[k]) {
				return difference(path+"."+k, am[k], bm[k])
			}
		}
	}
	as, aok := a.([]any)
	bs, bok := b.([]any)
	if aok && bok && len(as) == len(bs) {
		for i := range as {
			if !reflect.DeepEqual(as[i], bs[i]) {
				return difference(fmt.Sprintf("%s[%d]", path, i), as[i], bs[i])
			}
		}
	}
	return fmt.Sprintf("%s was %s, is %s", path, short(a), short(b))
}

func short(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	if len(text) > 200 {
		return string(text[:200]) + "..."
	}
	return string(text)
}
