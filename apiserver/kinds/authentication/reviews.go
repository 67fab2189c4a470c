package authentication

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// TokenReview asks whose token something is.
var TokenReview = kinds.DefineVirtual("tokenreviews", kinds.Cluster, nil, reviewToken)

// SelfSubjectReview asks who the asker is.
var SelfSubjectReview = kinds.DefineVirtual("selfsubjectreviews", kinds.Cluster, nil, reviewSelf)

func reviewToken(ctx context.Context, store kinds.Store, _ *kinds.Request, _ string, r *authenticationv1.TokenReview) (runtime.Object, error) {
	if r.Spec.Token == "" {
		return nil, apierrors.NewBadRequest("token is required for TokenReview in authentication")
	}
	authenticator, ok := store.Service(kinds.ServiceAuthenticator).(kinds.TokenAuthenticator)
	if !ok {
		return r, nil
	}
	audiences := r.Spec.Audiences
	if len(audiences) == 0 {
		audiences = authenticator.APIAudiences()
	}
	r.Status = authenticationv1.TokenReviewStatus{}
	user, shared, ok, err := authenticator.AuthenticateToken(ctx, r.Spec.Token, audiences)
	r.Status.Authenticated = ok
	if err != nil {
		r.Status.Error = err.Error()
	}
	if !ok {
		return r, nil
	}
	r.Status.User = user.ToAuthentication()
	// Only who asked for audiences wants to hear which of them are meant.
	if len(r.Spec.Audiences) > 0 {
		r.Status.Audiences = shared
	}
	return r, nil
}

func reviewSelf(_ context.Context, _ kinds.Store, req *kinds.Request, _ string, r *authenticationv1.SelfSubjectReview) (runtime.Object, error) {
	if r.CreationTimestamp.IsZero() {
		r.CreationTimestamp = metav1.NewTime(req.Now)
	}
	r.Status.UserInfo = req.User.ToAuthentication()
	return r, nil
}
