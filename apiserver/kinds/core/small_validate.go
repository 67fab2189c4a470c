package core

import (
	"crypto/tls"
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

const immutableSet = "field is immutable when `immutable` is set"

// validateConfigMap: keys are file names, and all values together fit into an object.
func validateConfigMap(_ *kinds.Request, c *corev1.ConfigMap) field.ErrorList {
	var l check.List
	size := 0
	for key, value := range c.Data {
		at := field.NewPath("data").Key(key)
		l.Messages(at, key, validation.IsConfigMapKey(key))
		if _, twice := c.BinaryData[key]; twice {
			l.Add(field.Invalid(at, key, "duplicate of key present in binaryData"))
		}
		size += len(value)
	}
	for key, value := range c.BinaryData {
		l.Messages(field.NewPath("binaryData").Key(key), key, validation.IsConfigMapKey(key))
		size += len(value)
	}
	if size > corev1.MaxSecretSize {
		l.Add(field.TooLong(field.NewPath(""), "", corev1.MaxSecretSize))
	}
	return l.ErrorList
}

func validateConfigMapUpdate(_ *kinds.Request, c, old *corev1.ConfigMap) field.ErrorList {
	var l check.List
	if old.Immutable == nil || !*old.Immutable {
		return nil
	}
	stayImmutable(&l, c.Immutable)
	if !sameMap(c.Data, old.Data) {
		l.Add(field.Forbidden(field.NewPath("data"), immutableSet))
	}
	if !apiequality.Semantic.DeepEqual(c.BinaryData, old.BinaryData) {
		l.Add(field.Forbidden(field.NewPath("binaryData"), immutableSet))
	}
	return l.ErrorList
}

func stayImmutable(l *check.List, now *bool) {
	if now == nil || !*now {
		l.Add(field.Forbidden(field.NewPath("immutable"), immutableSet))
	}
}

func sameMap(a, b map[string]string) bool { return apiequality.Semantic.DeepEqual(a, b) }

func prepareSecretData(s *corev1.Secret) {
	defaultSecret(s)
	// What is given as text is stored as data, and wins over it.
	if len(s.StringData) == 0 {
		return
	}
	if s.Data == nil {
		s.Data = map[string][]byte{}
	}
	for key, text := range s.StringData {
		s.Data[key] = []byte(text)
	}
	s.StringData = nil
}

// validateSecret: types that mean something must have what they mean.
func validateSecret(_ *kinds.Request, s *corev1.Secret) field.ErrorList {
	var l check.List
	at := field.NewPath("data")
	size := 0
	for key, value := range s.Data {
		l.Messages(at.Key(key), key, validation.IsConfigMapKey(key))
		size += len(value)
	}
	if size > corev1.MaxSecretSize {
		l.Add(field.TooLong(at, "", corev1.MaxSecretSize))
	}
	has := func(key string) bool { _, ok := s.Data[key]; return ok }
	need := func(keys ...string) {
		for _, key := range keys {
			if !has(key) {
				l.Add(field.Required(at.Key(key), ""))
			}
		}
	}
	config := func(key string) {
		if !has(key) {
			need(key)
		} else if err := json.Unmarshal(s.Data[key], &map[string]any{}); err != nil {
			l.Add(field.Invalid(at.Key(key), "<secret contents redacted>", err.Error()))
		}
	}
	switch s.Type {
	case corev1.SecretTypeServiceAccountToken:
		if s.Annotations[corev1.ServiceAccountNameKey] == "" {
			l.Add(field.Required(field.NewPath("metadata", "annotations").Key(corev1.ServiceAccountNameKey), ""))
		}
	case corev1.SecretTypeDockercfg:
		config(corev1.DockerConfigKey)
	case corev1.SecretTypeDockerConfigJson:
		config(corev1.DockerConfigJsonKey)
	case corev1.SecretTypeBasicAuth:
		if !has(corev1.BasicAuthUsernameKey) && !has(corev1.BasicAuthPasswordKey) {
			need(corev1.BasicAuthUsernameKey, corev1.BasicAuthPasswordKey)
		}
	case corev1.SecretTypeSSHAuth:
		if len(s.Data[corev1.SSHAuthPrivateKey]) == 0 {
			l.Add(field.Required(at.Key(corev1.SSHAuthPrivateKey), ""))
		}
	case corev1.SecretTypeTLS:
		need(corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
	}
	return l.ErrorList
}

func validateSecretUpdate(_ *kinds.Request, s, old *corev1.Secret) field.ErrorList {
	var l check.List
	l.Immutable(field.NewPath("type"), s.Type, old.Type)
	if old.Immutable != nil && *old.Immutable {
		stayImmutable(&l, s.Immutable)
		if !apiequality.Semantic.DeepEqual(s.Data, old.Data) {
			l.Add(field.Forbidden(field.NewPath("data"), immutableSet))
		}
	}
	return l.ErrorList
}

// secretWarnings: a certificate that does not go with its key is stored, and its writer told.
func secretWarnings(_ *kinds.Request, s, _ *corev1.Secret) []string {
	if s.Type != corev1.SecretTypeTLS {
		return nil
	}
	if _, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]); err != nil {
		return []string{err.Error()}
	}
	return nil
}

// nameSecretsOnly: a service account refers to secrets of its own namespace, by name.
func nameSecretsOnly(sa *corev1.ServiceAccount) {
	for i := range sa.Secrets {
		sa.Secrets[i] = corev1.ObjectReference{Name: sa.Secrets[i].Name}
	}
}

const enforceMountable = "kubernetes.io/enforce-mountable-secrets"

func serviceAccountWarnings(_ *kinds.Request, sa, old *corev1.ServiceAccount) []string {
	if old != nil {
		if _, had := old.Annotations[enforceMountable]; had {
			return nil
		}
	}
	if _, has := sa.Annotations[enforceMountable]; !has {
		return nil
	}
	return []string{"metadata.annotations[" + enforceMountable + "]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"}
}
