package encryption

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The texts are upstream's: people search for them.
const (
	textNoProvider = "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity"
	textProviders  = "more than one provider specified in a single element, should split into different list elements"
	textOverlap    = "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked"
	textDuplicate  = "the same resource cannot be specified multiple times"
)

// unnamed are stored, but no resources of the API.
var unnamed = []string{"apiserveripinfo", "serviceipallocations", "servicenodeportallocations"}

func (c *Configuration) validate() field.ErrorList {
	root := field.NewPath("resources")
	if len(c.Resources) == 0 {
		return field.ErrorList{field.Required(root, fmt.Sprintf("at least one %s is required", root))}
	}
	var errs field.ErrorList
	plugins := map[string]bool{}
	for i, rule := range c.Resources {
		r, p := root.Index(i).Child("resources"), root.Index(i).Child("providers")
		if len(rule.Resources) == 0 {
			errs = append(errs, field.Required(r, fmt.Sprintf("at least one %s is required", r)))
		}
		errs = append(errs, validateOverlap(rule.Resources, r)...)
		for j, name := range rule.Resources {
			if text := badResource(name); text != "" {
				errs = append(errs, field.Invalid(r.Index(j), name, text))
			}
		}
		if len(rule.Providers) == 0 {
			errs = append(errs, field.Required(p, fmt.Sprintf("at least one %s is required", p)))
		}
		for j := range rule.Providers {
			errs = append(errs, rule.Providers[j].validate(p.Index(j), plugins)...)
		}
	}
	return errs
}

func validateOverlap(names []string, path *field.Path) (errs field.ErrorList) {
	duplicate, overlap := false, false
	for i := range names {
		for j := range names {
			a, b := schema.ParseGroupResource(names[i]), schema.ParseGroupResource(names[j])
			switch {
			case i == j:
			case a == b:
				duplicate = true
			case a == everything, a.Group == b.Group && (a.Resource == "*" || b.Resource == "*"):
				overlap = true
			}
		}
	}
	if duplicate {
		errs = append(errs, field.Invalid(path, names, textDuplicate))
	}
	if overlap {
		errs = append(errs, field.Invalid(path, names, textOverlap))
	}
	return errs
}

// badResource says what is wrong with a name of resources.
func badResource(name string) string {
	gr := schema.ParseGroupResource(name)
	switch {
	case strings.ToLower(name) != name:
		return "resource name should not contain capital letters"
	case name == "*":
		return "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"
	case slices.Contains(unnamed, name):
		return "resources which do not have REST API/s cannot be encrypted"
	case gr.Group == "events.k8s.io":
		return "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file"
	case gr.Group == "extensions":
		return "'extensions' group has been removed and cannot be used for encryption"
	case gr.Group == "*" && gr.Resource != "*":
		return "encrypting the same resource across groups is not supported"
	}
	return ""
}

func (p *Provider) validate(path *field.Path, plugins map[string]bool) field.ErrorList {
	found := 0
	for _, set := range []bool{p.KMS != nil, p.AESGCM != nil, p.AESCBC != nil, p.Secretbox != nil, p.Identity != nil} {
		if set {
			found++
		}
	}
	switch {
	case found == 0:
		return field.ErrorList{field.Invalid(path, "", textNoProvider)}
	case found > 1:
		return field.ErrorList{field.Invalid(path, "", textProviders)}
	case p.KMS != nil:
		return p.KMS.validate(path.Child("kms"), plugins)
	case p.AESGCM != nil:
		return p.AESGCM.validate(path.Child("aesgcm", "keys"), 16, 24, 32)
	case p.AESCBC != nil:
		return p.AESCBC.validate(path.Child("aescbc", "keys"), 16, 24, 32)
	case p.Secretbox != nil:
		return p.Secretbox.validate(path.Child("secretbox", "keys"), 32)
	}
	return nil
}

func (k *Keys) validate(path *field.Path, sizes ...int) (errs field.ErrorList) {
	if len(k.Keys) == 0 {
		return field.ErrorList{field.Required(path, "at least one keys is required")}
	}
	for i, key := range k.Keys {
		at := path.Index(i)
		if key.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), "name is a mandatory field for a key"))
		}
		if key.Secret == "" {
			errs = append(errs, field.Required(at.Child("secret"), "secret is a mandatory field for a key"))
			continue
		}
		secret, err := base64.StdEncoding.DecodeString(key.Secret)
		switch {
		case err != nil:
			errs = append(errs, field.Invalid(at.Child("secret"), "REDACTED", "secrets must be base64 encoded"))
		case !slices.Contains(sizes, len(secret)):
			errs = append(errs, field.Invalid(at.Child("secret"), "REDACTED",
				fmt.Sprintf("secret is not of the expected length, got %d, expected one of %v", len(secret), sizes)))
		}
	}
	return errs
}

// validate also enters the plugin's name among those that are taken.
func (k *KMS) validate(path *field.Path, plugins map[string]bool) (errs field.ErrorList) {
	switch {
	case k.Name == "":
		errs = append(errs, field.Required(path.Child("name"), "name is a mandatory field for a provider"))
	case strings.Contains(k.Name, ":"):
		errs = append(errs, field.Invalid(path.Child("name"), k.Name, fmt.Sprintf("invalid KMS provider name %s, must not contain ':'", k.Name)))
	case plugins[k.Name]:
		errs = append(errs, field.Invalid(path.Child("name"), k.Name, fmt.Sprintf("duplicate KMS provider name %s, names must be unique", k.Name)))
	}
	plugins[k.Name] = true
	if k.Timeout.Duration <= 0 {
		errs = append(errs, field.Invalid(path.Child("timeout"), k.Timeout, "timeout should be a positive value"))
	}
	if u, err := url.Parse(k.Endpoint); k.Endpoint == "" {
		errs = append(errs, field.Invalid(path.Child("endpoint"), "", "endpoint is a mandatory field for a kms"))
	} else if err != nil {
		errs = append(errs, field.Invalid(path.Child("endpoint"), k.Endpoint, fmt.Sprintf("invalid endpoint for kms provider, error: %v", err)))
	} else if u.Scheme != "unix" {
		errs = append(errs, field.Invalid(path.Child("endpoint"), k.Endpoint, fmt.Sprintf("unsupported scheme %q for KMS provider, only unix is supported", u.Scheme)))
	}
	switch {
	case k.APIVersion != "v1" && k.APIVersion != "v2":
		errs = append(errs, field.Invalid(path.Child("apiVersion"), k.APIVersion, "unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported"))
	case k.APIVersion == "v2" && k.CacheSize != nil:
		errs = append(errs, field.Invalid(path.Child("cachesize"), *k.CacheSize, "cachesize is not supported in v2"))
	}
	return errs
}

var everything = schema.GroupResource{Group: "*", Resource: "*"}

// masked refuses a rule that an earlier and wider one leaves nothing for.
func (c *Configuration) masked() error {
	seen := map[schema.GroupResource]bool{}
	for _, rule := range c.Resources {
		for _, name := range rule.Resources {
			gr := schema.ParseGroupResource(name)
			for _, wider := range []schema.GroupResource{{Group: gr.Group, Resource: "*"}, everything} {
				if seen[wider] {
					return fmt.Errorf("resource %q is masked by earlier rule %q", inFile(gr), inFile(wider))
				}
			}
			seen[gr] = true
		}
	}
	return nil
}

func inFile(gr schema.GroupResource) string {
	if gr.Group == "" && gr.Resource == "*" {
		return "*."
	}
	return gr.String()
}
