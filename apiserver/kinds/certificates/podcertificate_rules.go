package certificates

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
)

type podRequest = *certificatesv1.PodCertificateRequest

// Upstream's limits: sizes in bytes, lives in seconds.
const (
	longestUID     = 128
	longestRequest = 10 << 10
	longestChain   = 100 << 10
	shortestLife   = 60 * 60
	longestLife    = 91 * 24 * 60 * 60
	longestOwnLife = 24 * 60 * 60 // of certificates by Kubernetes' own signers
)

var requestPath = specPath.Child("stubPKCS10Request")

func validatePodRequest(_ *kinds.Request, r podRequest) field.ErrorList {
	var l check.List
	spec := &r.Spec
	l.Signer(specPath.Child("signerName"), spec.SignerName)
	if spec.UnverifiedUserAnnotations != nil {
		podspec.UserAnnotations(&l, spec.UnverifiedUserAnnotations, specPath.Child("unverifiedUserAnnotations"))
	}
	party := func(prefix, name, uid string) {
		l.Name(specPath.Child(prefix+"Name"), name, apivalidation.NameIsDNSSubdomain)
		at := specPath.Child(prefix + "UID")
		if uid == "" {
			l.Add(field.Invalid(at, uid, "must not be empty"))
		}
		if len(uid) > longestUID {
			l.Add(field.TooLong(at, uid, longestUID))
		}
	}
	party("pod", spec.PodName, string(spec.PodUID))
	party("serviceAccount", spec.ServiceAccountName, string(spec.ServiceAccountUID))
	party("node", string(spec.NodeName), string(spec.NodeUID))
	life := specPath.Child("maxExpirationSeconds")
	if spec.MaxExpirationSeconds == nil {
		l.Add(field.Required(life, "must be set"))
		return l.ErrorList
	}
	most := int32(longestLife)
	if check.KubernetesSigner(spec.SignerName) {
		most = longestOwnLife
	}
	if s := *spec.MaxExpirationSeconds; s < shortestLife || s > most {
		l.Add(field.Invalid(life, s, fmt.Sprintf("must be in the range [%d, %d]", shortestLife, most)))
	}
	if len(spec.StubPKCS10Request) == 0 {
		// v1beta1 knew another way, which this version has no fields for.
		l.Add(field.Invalid(specPath, field.OmitValueType{}, "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set"))
		return l.ErrorList
	}
	l.Add(stubRequest(r))
	return l.ErrorList
}

func stubRequest(r podRequest) *field.Error {
	text := r.Spec.StubPKCS10Request
	if len(text) > longestRequest {
		return field.TooLong(requestPath, text, longestRequest)
	}
	request, err := x509.ParseCertificateRequest(text)
	if err != nil {
		return field.Invalid(requestPath, field.OmitValueType{}, "must be a valid PKCS#10 CSR")
	}
	if e := strongKey(request.PublicKey); e != nil {
		return e
	}
	if request.CheckSignature() != nil {
		return field.Invalid(requestPath, field.OmitValueType{}, "invalid signature")
	}
	return nil
}

// strongKey complains about keys of other kinds and sizes than a pod's certificate may have.
func strongKey(key crypto.PublicKey) *field.Error {
	switch k := key.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() && k.Curve != elliptic.P521() {
			return field.Invalid(requestPath, "curve "+k.Params().Name, "elliptic public keys must use curve P256, P384, or P521")
		}
	case *rsa.PublicKey:
		if bits := k.Size() * 8; bits != 3072 && bits != 4096 {
			return field.Invalid(requestPath, fmt.Sprintf("%d-bit modulus", bits), "RSA keys must have modulus size 3072 or 4096")
		}
	default:
		return field.Invalid(requestPath, field.OmitValueType{}, "unknown public key type; supported types are Ed25519, ECDSA, and RSA")
	}
	return nil
}

func validatePodRequestUpdate(_ *kinds.Request, r, old podRequest) field.ErrorList {
	var l check.List
	if !apiequality.Semantic.DeepEqual(r.Spec, old.Spec) {
		l.Add(field.Invalid(specPath, shown(&r.Spec), apivalidation.FieldImmutableErrorMsg))
	}
	return l.ErrorList
}

// shown is a spec as upstream's message shows it: with the two fields that only v1beta1 has.
func shown(s *certificatesv1.PodCertificateRequestSpec) any {
	return struct {
		SignerName, PodName, PodUID, ServiceAccountName, ServiceAccountUID, NodeName, NodeUID string
		MaxExpirationSeconds                                                                  *int32
		PKIXPublicKey, ProofOfPossession, StubPKCS10Request                                   []byte
		UnverifiedUserAnnotations                                                             map[string]string
	}{
		SignerName: s.SignerName, PodName: s.PodName, PodUID: string(s.PodUID), ServiceAccountName: s.ServiceAccountName,
		ServiceAccountUID: string(s.ServiceAccountUID), NodeName: string(s.NodeName), NodeUID: string(s.NodeUID),
		MaxExpirationSeconds: s.MaxExpirationSeconds, StubPKCS10Request: s.StubPKCS10Request, UnverifiedUserAnnotations: s.UnverifiedUserAnnotations,
	}
}

// maySign lets only those write a status who may sign for the signer. It speaks after validation has nothing to say, as
// upstream's does.
func maySign(ctx context.Context, store kinds.Store, req *kinds.Request, r, old podRequest) (done, undo func(), err error) {
	if req.Subresource != "status" || r == nil || old == nil || apiequality.Semantic.DeepEqual(r.Status, old.Status) {
		return nil, nil, nil
	}
	wanted := r.DeepCopy()
	wanted.Spec = old.Spec
	if len(validatePodRequestStatus(req, wanted, old)) > 0 {
		return nil, nil, nil
	}
	signer := old.Spec.SignerName
	domain, _, _ := strings.Cut(signer, "/")
	authorizer, _ := store.Service(kinds.ServiceAuthorizer).(kinds.Authorizer)
	for _, name := range []string{signer, domain + "/*"} {
		if authorizer == nil {
			break
		}
		decision, _, err := authorizer.Decide(ctx, kinds.Access{User: req.User, Verb: "sign", Group: certificatesv1.GroupName, Version: "*", Resource: "signers", Name: name})
		if err == nil && decision == kinds.Allow {
			return nil, nil, nil
		}
	}
	return nil, nil, apierrors.NewInvalid(certificatesv1.SchemeGroupVersion.WithKind("PodCertificateRequest").GroupKind(), old.Name, field.ErrorList{
		field.Forbidden(specPath.Child("signerName"), fmt.Sprintf("User %q is not permitted to \"sign\" for signer %q", req.User.Name, signer)),
	})
}
