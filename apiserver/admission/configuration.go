package admission

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/pod-security-admission/admission/api/load"
	"k8s.io/pod-security-admission/admission/api/validation"
	"sigs.k8s.io/yaml"
)

// Configurations are those of single rules, in YAML or JSON, by the rules' names.
type Configurations map[string][]byte

// fileVersions are those of the file that --admission-control-config-file names.
var fileVersions = []string{"apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1alpha1"}

// configurable are the rules that take a configuration, with what checks it.
var configurable = map[string]func([]byte) error{
	eventRateLimit: func(text []byte) error {
		_, err := parseRates(text)
		return err
	},
	"PodSecurity": func(text []byte) error {
		config, err := load.LoadFromData(text)
		if err != nil {
			return err
		}
		return validation.ValidatePodSecurityConfiguration(config).ToAggregate()
	},
}

// ReadConfigurations reads an AdmissionConfiguration (apiserver.config.k8s.io/v1): a list of rules with a configuration
// inside or in a file of their own, whose path may be relative to this one's.
func ReadConfigurations(path string) (Configurations, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("unable to read admission control configuration from %q [%w]", path, err)
	}
	var file struct {
		metav1.TypeMeta `json:",inline"`
		Plugins         []struct {
			Name          string                `json:"name"`
			Path          string                `json:"path,omitempty"`
			Configuration *runtime.RawExtension `json:"configuration,omitempty"`
		} `json:"plugins"`
	}
	if err := yaml.UnmarshalStrict(text, &file); err != nil {
		return nil, fmt.Errorf("admission control configuration %s: %w", path, err)
	}
	if file.Kind != "AdmissionConfiguration" || !slices.Contains(fileVersions, file.APIVersion) {
		return nil, fmt.Errorf("admission control configuration %s: is a %s of %s, not an AdmissionConfiguration of %s", path, file.Kind, file.APIVersion, fileVersions[0])
	}
	out := Configurations{}
	for _, p := range file.Plugins {
		if out[p.Name] != nil {
			return nil, fmt.Errorf("admission control configuration %s: %s is named twice", path, p.Name)
		}
		if p.Configuration != nil {
			out[p.Name] = p.Configuration.Raw
			continue
		}
		if p.Path == "" {
			continue
		}
		own := p.Path
		if !filepath.IsAbs(own) {
			own = filepath.Join(filepath.Dir(path), own)
		}
		if out[p.Name], err = os.ReadFile(own); err != nil {
			return nil, fmt.Errorf("admission control configuration %s: %s: %w", path, p.Name, err)
		}
	}
	for name, text := range out {
		check := configurable[name]
		if check == nil {
			return nil, fmt.Errorf("admission control configuration %s: the rule %q takes none", path, name)
		}
		if err := check(text); err != nil {
			return nil, fmt.Errorf("admission control configuration %s: %s: %w", path, name, err)
		}
	}
	return out, nil
}
