package core

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

const (
	defaultTokenSeconds = 60 * 60
	minTokenSeconds     = 10 * 60
	maxTokenSeconds     = 1 << 32
)

// tokenDoor is serviceaccounts/token: a signed token for a service account, bound to a pod, secret or node if asked.
var tokenDoor = &kinds.Subresource{
	GVK: authenticationv1.SchemeGroupVersion.WithKind("TokenRequest"), Verbs: []string{"create"},
	Create: &kinds.CreateDoor{
		New: func() runtime.Object { return &authenticationv1.TokenRequest{} },
		Default: func(o runtime.Object) {
			if tr := o.(*authenticationv1.TokenRequest); tr.Spec.ExpirationSeconds == nil {
				seconds := int64(defaultTokenSeconds)
				tr.Spec.ExpirationSeconds = &seconds
			}
		},
		Validate: func(_ *kinds.Request, o runtime.Object) field.ErrorList {
			return validateTokenRequest(o.(*authenticationv1.TokenRequest))
		},
		Do: func(ctx context.Context, store kinds.Store, req *kinds.Request, namespace, name string, o runtime.Object) (runtime.Object, error) {
			return issueToken(ctx, store, req, namespace, name, o.(*authenticationv1.TokenRequest))
		},
	},
}

var tokenRequest = schema.GroupKind{Group: "authentication.k8s.io", Kind: "TokenRequest"}

func validateTokenRequest(tr *authenticationv1.TokenRequest) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("spec", "expirationSeconds")
	if seconds := *tr.Spec.ExpirationSeconds; seconds < minTokenSeconds {
		errs = append(errs, field.Invalid(at, seconds, "may not specify a duration less than 10 minutes"))
	} else if seconds > maxTokenSeconds {
		errs = append(errs, field.Invalid(at, seconds, "may not specify a duration larger than 2^32 seconds"))
	}
	return errs
}

func issueToken(ctx context.Context, store kinds.Store, req *kinds.Request, namespace, name string, tr *authenticationv1.TokenRequest) (runtime.Object, error) {
	// The identity comes from the path; a body that says otherwise is a mistake.
	var errs field.ErrorList
	if tr.Name != "" && tr.Name != name {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), tr.Name, "must match the service account name if specified"))
	} else if tr.Namespace != "" && tr.Namespace != namespace {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "namespace"), tr.Namespace, "must match the service account namespace if specified"))
	}
	if len(errs) > 0 {
		return nil, apierrors.NewInvalid(tokenRequest, name, errs)
	}
	obj, err := store.Get(ctx, store.Kind(corev1.Resource("serviceaccounts")), namespace, name)
	if err != nil {
		return nil, err
	}
	sa := obj.(*corev1.ServiceAccount)
	if tr.UID != "" && tr.UID != sa.UID {
		return nil, apierrors.NewConflict(schema.GroupResource{Group: tokenRequest.Group, Resource: tokenRequest.Kind}, name,
			fmt.Errorf("the UID in the token request (%s) does not match the UID of the service account (%s)", tr.UID, sa.UID))
	}
	issuer, ok := store.Service(kinds.ServiceTokenIssuer).(kinds.TokenIssuer)
	if !ok {
		return nil, apierrors.NewServiceUnavailable("this server issues no tokens")
	}
	tr.Name, tr.Namespace, tr.UID, tr.CreationTimestamp = name, namespace, sa.UID, metav1.NewTime(req.Now)
	if len(tr.Spec.Audiences) == 0 {
		tr.Spec.Audiences = issuer.Audiences()
	}
	ask := kinds.TokenAsk{ServiceAccount: sa, Audiences: tr.Spec.Audiences, Seconds: *tr.Spec.ExpirationSeconds, Now: req.Now}
	if cap := issuer.MaxExpiration(); cap > 0 && ask.Seconds > int64(cap.Seconds()) {
		ask.Seconds = int64(cap.Seconds())
		tr.Spec.ExpirationSeconds = &ask.Seconds
	}
	if err := bindToken(ctx, store, sa, tr.Spec.BoundObjectRef, &ask); err != nil {
		return nil, err
	}
	token, expires, err := issuer.IssueToken(ctx, ask)
	if err != nil {
		return nil, fmt.Errorf("failed to generate token: %w", err)
	}
	tr.Status = authenticationv1.TokenRequestStatus{Token: token, ExpirationTimestamp: metav1.NewTime(expires)}
	return tr, nil
}

// bindToken finds the object whose end is to be the token's end.
func bindToken(ctx context.Context, store kinds.Store, sa *corev1.ServiceAccount, ref *authenticationv1.BoundObjectReference, ask *kinds.TokenAsk) error {
	if ref == nil {
		return nil
	}
	group := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	var uid types.UID
	switch {
	case group.Group == "" && group.Kind == "Pod":
		obj, err := store.Get(ctx, store.Kind(corev1.Resource("pods")), sa.Namespace, ref.Name)
		if err != nil {
			return err
		}
		pod := obj.(*corev1.Pod)
		if pod.Spec.ServiceAccountName != sa.Name {
			return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", sa.Name))
		}
		ask.Pod, uid = pod, pod.UID
		if pod.Spec.NodeName != "" {
			// A node that is gone says nothing: the token is then bound to the pod alone.
			if node, err := store.Get(ctx, store.Kind(corev1.Resource("nodes")), "", pod.Spec.NodeName); err == nil {
				ask.Node = node.(*corev1.Node)
			} else if !apierrors.IsNotFound(err) {
				return err
			} else {
				ask.Node = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: pod.Spec.NodeName}}
			}
		}
	case group.Group == "" && group.Kind == "Secret":
		obj, err := store.Get(ctx, store.Kind(corev1.Resource("secrets")), sa.Namespace, ref.Name)
		if err != nil {
			return err
		}
		ask.Secret = obj.(*corev1.Secret)
		uid = ask.Secret.UID
	case group.Group == "" && group.Kind == "Node":
		obj, err := store.Get(ctx, store.Kind(corev1.Resource("nodes")), "", ref.Name)
		if err != nil {
			return err
		}
		ask.Node = obj.(*corev1.Node)
		uid = ask.Node.UID
	default:
		return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s", group.String()))
	}
	if ref.UID != "" && ref.UID != uid {
		return apierrors.NewConflict(schema.GroupResource{Group: group.Group, Resource: group.Kind}, ref.Name,
			fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	}
	return nil
}
