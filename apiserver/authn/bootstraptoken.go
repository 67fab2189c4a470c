package authn

import (
	"context"
	"crypto/subtle"
	"fmt"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/request"
)

var (
	bootstrapToken = regexp.MustCompile(`^([a-z0-9]{6})\.([a-z0-9]{16})$`)
	bootstrapGroup = regexp.MustCompile(`^system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]$`)
)

const (
	bootstrapSecretType = "bootstrap.kubernetes.io/token"
	bootstrapGroupAll   = "system:bootstrappers"
)

// bootstrapUser finds the user of a token ID.SECRET, with which a new node asks for its certificate.
func bootstrapUser(ctx context.Context, store kinds.Store, token string) (*request.User, error) {
	parts := bootstrapToken.FindStringSubmatch(token)
	if parts == nil {
		return nil, nil
	}
	id, secret := parts[1], parts[2]
	obj, err := store.Get(ctx, store.Kind(schema.GroupResource{Resource: "secrets"}), "kube-system", "bootstrap-token-"+id)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s := obj.(*corev1.Secret)
	data := func(key string) string { return string(s.Data[key]) }
	switch {
	case s.DeletionTimestamp != nil, s.Type != bootstrapSecretType,
		subtle.ConstantTimeCompare([]byte(data("token-secret")), []byte(secret)) != 1,
		data("token-id") != id, data("usage-bootstrap-authentication") != "true":
		return nil, nil
	}
	if end := data("expiration"); end != "" {
		at, err := time.Parse(time.RFC3339, end)
		if err != nil {
			return nil, fmt.Errorf("bootstrap token %s: expiration: %w", id, err)
		}
		if !time.Now().Before(at) {
			return nil, nil
		}
	}
	user := &request.User{Name: "system:bootstrap:" + id, Groups: []string{bootstrapGroupAll}}
	if extra := data("auth-extra-groups"); extra != "" {
		for group := range strings.SplitSeq(extra, ",") {
			if !bootstrapGroup.MatchString(group) {
				return nil, fmt.Errorf("bootstrap token %s: group %q is invalid", id, group)
			}
			user.Groups = append(user.Groups, group)
		}
	}
	return user, nil
}
