package podspec

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"strings"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

// Bounds of a pod certificate's life, in seconds.
const (
	leastCertificateSeconds          = 3600
	mostCertificateSeconds           = 91 * 24 * 3600
	mostKubernetesCertificateSeconds = 24 * 3600
)

// KeyTypes are the keys that a pod certificate may have.
var KeyTypes = []string{"RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"}

// projected checks a volume put together from several sources, which share one folder.
func (c *specCheck) projected(v *corev1.ProjectedVolumeSource, at *field.Path) {
	c.FileMode(child(at, "defaultMode"), v.DefaultMode)
	c.fileUser(child(at, "defaultUser"), v.DefaultUser)
	paths := sets.New[string]()
	take := func(path string, blame any) {
		if paths.Has(path) {
			c.Add(field.Invalid(at, blame, "conflicting duplicate paths"))
		}
		paths.Insert(path)
	}
	keys := func(items []corev1.KeyToPath, name string, p *field.Path) {
		c.Require(child(p, "name"), name)
		for i := range items {
			c.keyToPath(&items[i], index(child(p, "items"), i))
			if items[i].Path != "" {
				take(items[i].Path, name)
			}
		}
	}
	for i := range v.Sources {
		s, p := &v.Sources[i], index(child(at, "sources"), i)
		sources := 0
		if s.Secret != nil {
			sources++
			keys(s.Secret.Items, s.Secret.Name, child(p, "secret"))
		}
		if s.ConfigMap != nil {
			sources++
			keys(s.ConfigMap.Items, s.ConfigMap.Name, child(p, "configMap"))
		}
		if s.DownwardAPI != nil {
			sources++
			for k := range s.DownwardAPI.Items {
				f := &s.DownwardAPI.Items[k]
				c.downwardFile(f, child(p, "downwardAPI"))
				if f.Path != "" {
					take(f.Path, f.Path)
				}
			}
		}
		if s.ServiceAccountToken != nil {
			sources++
			c.tokenProjection(s.ServiceAccountToken, at, child(p, "serviceAccountToken"))
		}
		if s.ClusterTrustBundle != nil {
			sources++
			c.bundleProjection(s.ClusterTrustBundle, child(p, "clusterTrustBundle"))
			take(s.ClusterTrustBundle.Path, s.ClusterTrustBundle.Path)
		}
		if s.PodCertificate != nil {
			sources++
			c.certificateProjection(s.PodCertificate, child(p, "podCertificate"), take)
		}
		if sources > 1 {
			c.Add(field.Forbidden(p, "may not specify more than 1 volume type per source"))
		}
	}
}

func (c *specCheck) tokenProjection(t *corev1.ServiceAccountTokenProjection, volume, at *field.Path) {
	seconds := child(at, "expirationSeconds")
	switch {
	case t.ExpirationSeconds == nil:
		c.Add(field.Required(seconds, ""))
	case *t.ExpirationSeconds < 10*60:
		c.Add(field.Invalid(seconds, *t.ExpirationSeconds, "may not specify a duration less than 10 minutes"))
	case *t.ExpirationSeconds > 1<<32:
		c.Add(field.Invalid(seconds, *t.ExpirationSeconds, "may not specify a duration larger than 2^32 seconds"))
	}
	if c.Require(child(volume, "path"), t.Path) {
		c.FilePath(child(volume, "path"), t.Path)
	}
	c.fileUser(child(at, "user"), t.User)
}

func (c *specCheck) bundleProjection(b *corev1.ClusterTrustBundleProjection, at *field.Path) {
	switch {
	case b.Name != nil && b.SignerName != nil:
		c.Add(field.Invalid(at, b, "only one of name and signerName may be used"))
	case b.Name != nil:
		if *b.Name == "" {
			c.Add(field.Required(at.Child("name"), "must be a valid object name"))
		}
		for _, m := range check.BundleName(check.BundleSigner(*b.Name))(*b.Name, false) {
			c.Add(field.Invalid(at.Child("name"), *b.Name, fmt.Sprintf("not a valid clustertrustbundlename: %v", m)))
		}
		if b.LabelSelector != nil {
			c.Add(field.Invalid(at.Child("labelSelector"), b.LabelSelector, "labelSelector must be unset if name is specified"))
		}
	case b.SignerName != nil:
		if *b.SignerName == "" {
			c.Add(field.Required(at.Child("signerName"), "must be a valid signer name"))
		}
		c.Signer(child(at, "signerName"), *b.SignerName)
		c.Selector(child(at, "labelSelector"), b.LabelSelector)
	default:
		c.Add(field.Required(at, "either name or signerName must be specified"))
	}
	c.Require(child(at, "path"), b.Path)
	c.fileUser(child(at, "user"), b.User)
	c.FilePath(child(at, "path"), b.Path)
}

func (c *specCheck) certificateProjection(p *corev1.PodCertificateProjection, at *field.Path, take func(string, any)) {
	c.Signer(child(at, "signerName"), p.SignerName)
	if p.UserAnnotations != nil {
		UserAnnotations(&c.List, p.UserAnnotations, child(at, "userAnnotations"))
	}
	c.fileUser(child(at, "user"), p.User)
	check.OneOf(&c.List, child(at, "keyType"), p.KeyType, KeyTypes...)
	if n := p.MaxExpirationSeconds; n != nil {
		seconds := child(at, "maxExpirationSeconds")
		if *n < leastCertificateSeconds {
			c.Add(field.Invalid(seconds, *n, "if provided, maxExpirationSeconds must be >= 3600"))
		}
		most := int32(mostCertificateSeconds)
		if check.KubernetesSigner(p.SignerName) {
			most = mostKubernetesCertificateSeconds
		}
		if *n > most {
			c.Add(field.Invalid(seconds, *n, fmt.Sprintf("if provided, maxExpirationSeconds must be <= %d", most)))
		}
	}
	named := false
	for _, f := range []struct{ name, path string }{{"credentialBundlePath", p.CredentialBundlePath},
		{"keyPath", p.KeyPath}, {"certificateChainPath", p.CertificateChainPath}} {
		if f.path != "" {
			named = true
			c.FilePath(child(at, f.name), f.path)
			take(f.path, f.path)
		}
	}
	if !named {
		c.Add(field.Required(at, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"))
	}
}

// UserAnnotations checks what a pod's owner tells a signer.
func UserAnnotations(l *check.List, annotations map[string]string, at *field.Path) {
	for key := range annotations {
		l.All(validation.IsDomainPrefixedKey(at, strings.ToLower(key)))
	}
	if err := apivalidation.ValidateAnnotationsSize(annotations); err != nil {
		l.Add(field.TooLong(at, "", apivalidation.TotalAnnotationSizeLimitB))
	}
}
