package apiserver

import (
	"github.com/skiff-project/skiff/apiserver/admission"
	"github.com/skiff-project/skiff/apiserver/authz"
	"github.com/skiff-project/skiff/apiserver/registry"
	"github.com/skiff-project/skiff/apiserver/routes"
)

// admission puts the chain together.
func (s *Server) admission(reg *registry.Registry, authorizer *authz.Authorizer, readers authz.Readers) (admission.Interface, error) {
	objects := &admission.Objects{Readers: readers, Store: reg.Hooks(), Authz: authorizer}
	chain, err := admission.Choose(objects, s.cfg.EnableAdmission, s.cfg.DisableAdmission)
	if err != nil {
		return nil, err
	}
	return append(chain, authorizer.Escalation()), nil
}

func (s *Server) connector(*registry.Registry) routes.Connector { return nil }
