package apiserver

import (
	"context"
	"net"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/extensions"
	"github.com/skiff-project/skiff/apiserver/registry"
)

// customResources makes what follows CustomResourceDefinitions.
func (s *Server) customResources(reg *registry.Registry, public *publisher,
	dial func(ctx context.Context, namespace, service string, port int32) (net.Conn, error)) *extensions.Controller {
	definition := reg.Hooks().Kind(schema.GroupResource{Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"})
	return extensions.New(extensions.Config{
		Registry: reg, Definition: definition, Dial: dial, Log: s.log,
		Publish: public.own,
	})
}
