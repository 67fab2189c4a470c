package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"

	"github.com/skiff-project/skiff/deploy/manifests"
)

// Create makes the objects of a YAML text. Those that exist are left alone.
func (l *Lab) Create(ctx context.Context, text []byte) error {
	objects, err := dynamic.NewForConfig(l.REST)
	if err != nil {
		return err
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(l.Client.Discovery()))
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		obj := &unstructured.Unstructured{}
		if err := decoder.Decode(obj); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		gvk := obj.GroupVersionKind()
		mapping, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		if err != nil {
			return err
		}
		var place dynamic.ResourceInterface = objects.Resource(mapping.Resource)
		if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
			place = objects.Resource(mapping.Resource).Namespace(obj.GetNamespace())
		}
		if _, err := place.Create(ctx, obj, metav1.CreateOptions{FieldManager: "lab"}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("%s %s: %w", gvk.Kind, obj.GetName(), err)
		}
	}
}

// CreateDNS makes the cluster's DNS, as `skiff up` does, and what Skiff's node agents may do beyond what upstream's do.
func (l *Lab) CreateDNS(ctx context.Context) error {
	dns, err := manifests.DNS{ClusterIP: dnsIP, Domain: domain, Image: manifests.DefaultDNSImage}.Render()
	if err != nil {
		return err
	}
	return errors.Join(l.CreateRights(ctx), l.Create(ctx, dns))
}

// CreateRights makes what Skiff's node agents may do beyond what upstream's do.
func (l *Lab) CreateRights(ctx context.Context) error { return l.Create(ctx, manifests.Nodes) }
