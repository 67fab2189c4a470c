package apiserver

import (
	"github.com/skiff-project/skiff/apiserver/admission"
	"github.com/skiff-project/skiff/apiserver/authz"
	"github.com/skiff-project/skiff/apiserver/registry"
	"github.com/skiff-project/skiff/apiserver/routes"
)

// admission puts the chain together.
func (s *Server) admission(reg *registry.Registry, authorizer *authz.Authorizer) (admission.Interface, error) {
	return admission.Chain{authorizer.Escalation()}, nil
}

func (s *Server) connector(reg *registry.Registry) routes.Connector { return nil }
