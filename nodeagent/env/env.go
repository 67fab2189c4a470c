package env

import (
	"fmt"
	"os"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Sources gives the objects that variables are taken from, as fresh as this pod's start demands.
type Sources interface {
	ConfigMap(namespace, name string) (*corev1.ConfigMap, error)
	Secret(namespace, name string) (*corev1.Secret, error)
}

// Input is all that a container's environment depends on.
type Input struct {
	Pod         *corev1.Pod
	Container   *corev1.Container
	Services    []*corev1.Service
	HostIPs     []string
	PodIPs      []string
	Allocatable corev1.ResourceList
	Sources     Sources
	// OpenFile opens a file below a volume of the pod, never following a link out of it.
	OpenFile func(volume, path string) (*os.File, error)
}

// Vars is a finished environment. Own holds the container's variables and Service those that describe Services.
type Vars struct {
	Own     map[string]string
	Service map[string]string
}

// Expand replaces the references in s as the container's own command and arguments have them replaced.
func (v Vars) Expand(s string) string { return Expand(s, v.Own, v.Service) }

// List is the environment as NAME=value, sorted, so that equal environments are equal lists.
func (v Vars) List() []string {
	list := make([]string, 0, len(v.Own)+len(v.Service))
	for name, value := range v.Own {
		list = append(list, name+"="+value)
	}
	for name, value := range v.Service {
		if _, own := v.Own[name]; !own {
			list = append(list, name+"="+value)
		}
	}
	slices.Sort(list)
	return list
}

// Make works out a container's environment: envFrom first, then env in its order, each free to refer to what came before.
func Make(in Input) (Vars, error) {
	links := in.Pod.Spec.EnableServiceLinks == nil || *in.Pod.Spec.EnableServiceLinks
	m := maker{Input: in, maps: map[string]*corev1.ConfigMap{}, secrets: map[string]*corev1.Secret{}, vars: Vars{
		Own:     map[string]string{},
		Service: ServiceVars(in.Services, in.Pod.Namespace, links),
	}}
	for _, from := range in.Container.EnvFrom {
		if err := m.takeAll(from); err != nil {
			return Vars{}, err
		}
	}
	for _, v := range in.Container.Env {
		value, skip, err := m.value(v)
		if err != nil {
			return Vars{}, err
		}
		if !skip {
			m.vars.Own[v.Name] = value
		}
	}
	return m.vars, nil
}

type maker struct {
	Input
	vars    Vars
	maps    map[string]*corev1.ConfigMap
	secrets map[string]*corev1.Secret
}

func (m *maker) takeAll(from corev1.EnvFromSource) error {
	switch {
	case from.ConfigMapRef != nil:
		cm, err := m.configMap(from.ConfigMapRef.Name)
		if err != nil {
			return unlessOptional(err, from.ConfigMapRef.Optional)
		}
		for k, v := range cm.Data {
			m.vars.Own[from.Prefix+k] = v
		}
	case from.SecretRef != nil:
		s, err := m.secret(from.SecretRef.Name)
		if err != nil {
			return unlessOptional(err, from.SecretRef.Optional)
		}
		for k, v := range s.Data {
			m.vars.Own[from.Prefix+k] = string(v)
		}
	}
	return nil
}

func (m *maker) value(v corev1.EnvVar) (value string, skip bool, err error) {
	from := v.ValueFrom
	switch {
	case v.Value != "" || from == nil:
		return m.vars.Expand(v.Value), false, nil
	case from.FieldRef != nil:
		value, err = Field(m.Pod, from.FieldRef.FieldPath, m.HostIPs, m.PodIPs)
		return value, false, err
	case from.ResourceFieldRef != nil:
		value, err = Resource(m.Pod, m.Container, from.ResourceFieldRef, m.Allocatable)
		return value, false, err
	case from.ConfigMapKeyRef != nil:
		return m.fromConfigMap(from.ConfigMapKeyRef)
	case from.SecretKeyRef != nil:
		return m.fromSecret(from.SecretKeyRef)
	case from.FileKeyRef != nil:
		return m.fromFile(from.FileKeyRef)
	}
	return "", false, nil
}

func (m *maker) fromConfigMap(ref *corev1.ConfigMapKeySelector) (string, bool, error) {
	cm, err := m.configMap(ref.Name)
	if err != nil {
		return "", true, unlessOptional(err, ref.Optional)
	}
	value, ok := cm.Data[ref.Key]
	if !ok && !isTrue(ref.Optional) {
		return "", false, fmt.Errorf("couldn't find key %v in ConfigMap %v/%v", ref.Key, m.Pod.Namespace, ref.Name)
	}
	return value, !ok, nil
}

func (m *maker) fromSecret(ref *corev1.SecretKeySelector) (string, bool, error) {
	s, err := m.secret(ref.Name)
	if err != nil {
		return "", true, unlessOptional(err, ref.Optional)
	}
	value, ok := s.Data[ref.Key]
	if !ok && !isTrue(ref.Optional) {
		return "", false, fmt.Errorf("couldn't find key %v in Secret %v/%v", ref.Key, m.Pod.Namespace, ref.Name)
	}
	return string(value), !ok, nil
}

// fromFile reads a variable that an init container wrote into a volume.
func (m *maker) fromFile(ref *corev1.FileKeySelector) (string, bool, error) {
	optional := isTrue(ref.Optional)
	f, err := m.OpenFile(ref.VolumeName, ref.Path)
	if os.IsNotExist(err) && optional {
		return "", true, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("couldn't parse env file")
	}
	defer f.Close()
	value, err := parseFile(f, ref.Key)
	if err != nil {
		return "", false, fmt.Errorf("couldn't parse env file")
	}
	if value == "" && !optional {
		return "", false, fmt.Errorf("environment variable key %q not found in file %q", ref.Key, ref.Path)
	}
	return value, value == "", nil
}

func (m *maker) configMap(name string) (*corev1.ConfigMap, error) {
	if cm, ok := m.maps[name]; ok {
		return cm, nil
	}
	cm, err := m.Sources.ConfigMap(m.Pod.Namespace, name)
	if err == nil {
		m.maps[name] = cm
	}
	return cm, err
}

func (m *maker) secret(name string) (*corev1.Secret, error) {
	if s, ok := m.secrets[name]; ok {
		return s, nil
	}
	s, err := m.Sources.Secret(m.Pod.Namespace, name)
	if err == nil {
		m.secrets[name] = s
	}
	return s, err
}

func unlessOptional(err error, optional *bool) error {
	if apierrors.IsNotFound(err) && isTrue(optional) {
		return nil
	}
	return err
}

func isTrue(b *bool) bool { return b != nil && *b }

// KeyProblem names the first variable that an environment cannot hold, or "". Names are relaxed: all printable ASCII but '='.
func KeyProblem(vars Vars) string {
	for name := range vars.Own {
		if strings.ContainsAny(name, "=\x00") || name == "" {
			return name
		}
	}
	return ""
}
