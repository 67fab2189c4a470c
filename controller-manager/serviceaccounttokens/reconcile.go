package serviceaccounttokens

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/controller-manager/control"
)

func (c *Controller) reconcile(ctx context.Context, key string) error {
	namespace, name := control.SplitKey(key)
	secret, err := c.secrets.Secrets(namespace).Get(name)
	if err != nil || secret.DeletionTimestamp != nil {
		return nil
	}
	account, err := c.account(ctx, secret)
	if err != nil {
		return err
	}
	api := c.env.Client.CoreV1().Secrets(namespace)
	if account == nil {
		// The account is gone, or another has its name: the token must not live on.
		err := api.Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &secret.UID, ResourceVersion: &secret.ResourceVersion}})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
	filled, write, err := c.fill(secret, account)
	if err != nil || !write {
		return err
	}
	_, err = api.Update(ctx, filled, metav1.UpdateOptions{})
	return control.IgnoreNotFound(err)
}

// account answers the account that a Secret is for; nil if it is no more. That is believed of the server only.
func (c *Controller) account(ctx context.Context, secret *corev1.Secret) (*corev1.ServiceAccount, error) {
	name, uid := secret.Annotations[corev1.ServiceAccountNameKey], secret.Annotations[corev1.ServiceAccountUIDKey]
	account, err := c.accounts.ServiceAccounts(secret.Namespace).Get(name)
	if err != nil || (uid != "" && uid != string(account.UID)) {
		account, err = c.env.Client.CoreV1().ServiceAccounts(secret.Namespace).Get(ctx, name, metav1.GetOptions{})
	}
	if apierrors.IsNotFound(err) || (err == nil && uid != "" && uid != string(account.UID)) {
		return nil, nil
	}
	return account, err
}

// fill answers the Secret with all that it lacks, and whether it lacked anything.
func (c *Controller) fill(secret *corev1.Secret, account *corev1.ServiceAccount) (*corev1.Secret, bool, error) {
	filled := secret.DeepCopy()
	if filled.Data == nil {
		filled.Data = map[string][]byte{}
	}
	if filled.Annotations == nil {
		filled.Annotations = map[string]string{}
	}
	write := false
	if filled.Annotations[corev1.ServiceAccountUIDKey] != string(account.UID) {
		filled.Annotations[corev1.ServiceAccountUIDKey], write = string(account.UID), true
	}
	if len(c.config.RootCA) > 0 && !bytes.Equal(filled.Data[corev1.ServiceAccountRootCAKey], c.config.RootCA) {
		filled.Data[corev1.ServiceAccountRootCAKey], write = c.config.RootCA, true
	}
	if string(filled.Data[corev1.ServiceAccountNamespaceKey]) == "" {
		filled.Data[corev1.ServiceAccountNamespaceKey], write = []byte(secret.Namespace), true
	}
	if len(filled.Data[corev1.ServiceAccountTokenKey]) == 0 {
		token, err := token(c.config.Key, account, secret)
		if err != nil {
			return nil, false, fmt.Errorf("sign a token for %s/%s: %w", account.Namespace, account.Name, err)
		}
		filled.Data[corev1.ServiceAccountTokenKey], write = []byte(token), true
	}
	return filled, write, nil
}

// claims are those of tokens in Secrets.
type claims struct {
	jwt.Claims
	Namespace   string `json:"kubernetes.io/serviceaccount/namespace"`
	SecretName  string `json:"kubernetes.io/serviceaccount/secret.name"`
	AccountName string `json:"kubernetes.io/serviceaccount/service-account.name"`
	AccountUID  string `json:"kubernetes.io/serviceaccount/service-account.uid"`
}

// legacyIssuer is who issues tokens in Secrets, whatever issuer the cluster has.
const legacyIssuer = "kubernetes/serviceaccount"

func token(key crypto.Signer, account *corev1.ServiceAccount, secret *corev1.Secret) (string, error) {
	algorithm, err := algorithm(key)
	if err != nil {
		return "", err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(public)
	id := base64.RawURLEncoding.EncodeToString(sum[:])
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
	if err != nil {
		return "", err
	}
	return jwt.Signed(signer).Claims(claims{
		Claims:    jwt.Claims{Issuer: legacyIssuer, Subject: "system:serviceaccount:" + account.Namespace + ":" + account.Name},
		Namespace: account.Namespace, SecretName: secret.Name, AccountName: account.Name, AccountUID: string(account.UID),
	}).Serialize()
}

func algorithm(key crypto.Signer) (jose.SignatureAlgorithm, error) {
	switch public := key.Public().(type) {
	case *rsa.PublicKey:
		return jose.RS256, nil
	case *ecdsa.PublicKey:
		switch public.Curve.Params().BitSize {
		case 256:
			return jose.ES256, nil
		case 384:
			return jose.ES384, nil
		case 521:
			return jose.ES512, nil
		}
	}
	return "", fmt.Errorf("a %T cannot sign tokens", key.Public())
}
