package encryption

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// The names of the file's kind. Files of the time before the API was stable say only the version.
const (
	apiVersion = "apiserver.config.k8s.io/v1"
	kind       = "EncryptionConfiguration"
)

// Configuration is the file.
type Configuration struct {
	metav1.TypeMeta `json:",inline"`
	Resources       []Rule `json:"resources"`
}

// Rule says how some resources are stored.
type Rule struct {
	// Resources are "secrets", "deployments.apps", "*.apps", "*." for all of the core group, or "*.*".
	Resources []string `json:"resources"`
	// Providers: the first writes, all read.
	Providers []Provider `json:"providers"`
}

// Provider is one way to store; one of its fields is set.
type Provider struct {
	AESGCM    *Keys     `json:"aesgcm,omitempty"`
	AESCBC    *Keys     `json:"aescbc,omitempty"`
	Secretbox *Keys     `json:"secretbox,omitempty"`
	Identity  *struct{} `json:"identity,omitempty"`
	KMS       *KMS      `json:"kms,omitempty"`
}

// Keys of a provider: the first writes, all read.
type Keys struct {
	Keys []Key `json:"keys"`
}

// Key is a named key. The name is stored with every value.
type Key struct {
	Name string `json:"name"`
	// Secret is the key in base64.
	Secret string `json:"secret"`
}

// KMS is a plugin that holds the keys of keys.
type KMS struct {
	// APIVersion is v2. Upstream's default is v1, which it refuses unless a feature gate is opened.
	APIVersion string `json:"apiVersion"`
	Name       string `json:"name"`
	CacheSize  *int32 `json:"cachesize,omitempty"`
	// Endpoint is unix:///path of the plugin's socket.
	Endpoint string `json:"endpoint"`
	// Timeout of a call. Default 3 s.
	Timeout *metav1.Duration `json:"timeout,omitempty"`
}

const kmsTimeout = 3 * time.Second

// read reads and checks a file. digest tells one content from another without keeping keys in memory.
func read(path string) (*Configuration, [32]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, [32]byte{}, fmt.Errorf("encryption configuration: %w", err)
	}
	digest := sha256.Sum256(text)
	if len(text) == 0 {
		return nil, digest, fmt.Errorf("encryption configuration: encryption provider configuration file %q is empty", path)
	}
	c, err := parse(text)
	if err != nil {
		return nil, digest, fmt.Errorf("encryption configuration %s: %w", path, err)
	}
	return c, digest, nil
}

func parse(text []byte) (*Configuration, error) {
	c := &Configuration{}
	if err := yaml.UnmarshalStrict(text, c); err != nil {
		return nil, err
	}
	if c.APIVersion != apiVersion || c.Kind != kind {
		return nil, fmt.Errorf("is a %s of %s, not a %s of %s", c.Kind, c.APIVersion, kind, apiVersion)
	}
	for i := range c.Resources {
		for j := range c.Resources[i].Providers {
			c.Resources[i].Providers[j].setDefaults()
		}
	}
	if errs := c.validate(); len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	if c.masked() != nil {
		return nil, c.masked()
	}
	return c, nil
}

func (p *Provider) setDefaults() {
	if p.KMS == nil {
		return
	}
	if p.KMS.APIVersion == "" {
		p.KMS.APIVersion = "v1"
	}
	if p.KMS.Timeout == nil {
		p.KMS.Timeout = &metav1.Duration{Duration: kmsTimeout}
	}
}

var errKMSv1 = errors.New("KMSv1 is deprecated and will only receive security updates going forward. Use KMSv2 instead.  " +
	"Set --feature-gates=KMSv1=true to use the deprecated KMSv1 feature.")
