package podspec

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (c *specCheck) env(vars []corev1.EnvVar, at *field.Path) {
	for i := range vars {
		v, p := &vars[i], index(at, i)
		if c.Require(child(p, "name"), v.Name) {
			c.Rule(child(p, "name"), v.Name, validation.IsRelaxedEnvVarName)
		}
		if v.ValueFrom != nil {
			c.valueFrom(v, child(p, "valueFrom"))
		}
	}
}

// envFields and resourceFields are what variables and files may show of the pod; sorted.
var (
	envFields = []string{"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
		"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"}
	fileFields     = []string{"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}
	resourceFields = []string{"limits.cpu", "limits.ephemeral-storage", "limits.memory",
		"requests.cpu", "requests.ephemeral-storage", "requests.memory"}
)

func (c *specCheck) valueFrom(v *corev1.EnvVar, at *field.Path) {
	from, sources := v.ValueFrom, 0
	if from.FieldRef != nil {
		sources++
		c.fieldRef(from.FieldRef, envFields, child(at, "fieldRef"))
	}
	if from.ResourceFieldRef != nil {
		sources++
		c.resourceFieldRef(from.ResourceFieldRef, child(at, "resourceFieldRef"), false)
	}
	if r := from.ConfigMapKeyRef; r != nil {
		sources++
		c.keyRef(r.Name, r.Key, child(at, "configMapKeyRef"))
	}
	if r := from.SecretKeyRef; r != nil {
		sources++
		c.keyRef(r.Name, r.Key, child(at, "secretKeyRef"))
	}
	if r := from.FileKeyRef; r != nil {
		sources++
		c.fileKeyRef(r, child(at, "fileKeyRef"))
	}
	switch {
	case sources == 0:
		c.Add(field.Invalid(at, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"))
	case v.Value != "":
		c.Add(field.Invalid(at, "", "may not be specified when `value` is not empty"))
	case sources > 1:
		c.Add(field.Invalid(at, "", "may not have more than one field specified at a time"))
	}
}

func (c *specCheck) keyRef(name, key string, at *field.Path) {
	c.Name(child(at, "name"), name, apivalidation.NameIsDNSSubdomain)
	if c.Require(child(at, "key"), key) {
		c.Rule(child(at, "key"), key, validation.IsConfigMapKey)
	}
}

func (c *specCheck) fileKeyRef(r *corev1.FileKeySelector, at *field.Path) {
	if c.Require(child(at, "key"), r.Key) {
		c.Rule(child(at, "key"), r.Key, validation.IsRelaxedEnvVarName)
	}
	if c.Require(child(at, "volumeName"), r.VolumeName) {
		c.Label(child(at, "volumeName"), r.VolumeName)
	}
	if c.Require(child(at, "path"), r.Path) {
		c.NoBacksteps(child(at, "path"), r.Path)
	}
}

func (c *specCheck) fieldRef(r *corev1.ObjectFieldSelector, known []string, at *field.Path) {
	if !c.Require(child(at, "apiVersion"), r.APIVersion) || !c.Require(child(at, "fieldPath"), r.FieldPath) {
		return
	}
	path, err := podField(r.APIVersion, r.FieldPath)
	if err != nil {
		c.Add(field.Invalid(at.Child("fieldPath"), r.FieldPath, fmt.Sprintf("error converting fieldPath: %v", err)))
		return
	}
	name, key, subscripted := subscript(path)
	switch {
	case !subscripted:
		if !slices.Contains(known, path) {
			c.Add(field.NotSupported(at.Child("fieldPath"), path, known))
		}
	case name == "metadata.annotations":
		c.Qualified(at, strings.ToLower(key))
	case name == "metadata.labels":
		c.Qualified(at, key)
	}
}

// podField says which field of a pod a selector means; "spec.host" is what spec.nodeName was called once.
func podField(version, path string) (string, error) {
	if version != "v1" {
		return "", fmt.Errorf("unsupported pod version: %s", version)
	}
	if name, _, ok := subscript(path); ok {
		if name == "metadata.annotations" || name == "metadata.labels" {
			return path, nil
		}
		return "", fmt.Errorf("field label does not support subscript: %s", path)
	}
	if path == "spec.host" {
		return "spec.nodeName", nil
	}
	if slices.Contains(envFields, path) || slices.Contains(fileFields, path) ||
		slices.Contains([]string{"spec.restartPolicy", "spec.schedulerName", "status.phase"}, path) {
		return path, nil
	}
	return "", fmt.Errorf("field label not supported: %s", path)
}

// subscript splits "metadata.labels['key']".
func subscript(path string) (name, key string, ok bool) {
	rest, ok := strings.CutSuffix(path, "']")
	if !ok {
		return path, "", false
	}
	name, key, ok = strings.Cut(rest, "['")
	if !ok || name == "" {
		return path, "", false
	}
	return name, key, true
}

func (c *specCheck) resourceFieldRef(r *corev1.ResourceFieldSelector, at *field.Path, inVolume bool) {
	pages := strings.HasPrefix(r.Resource, "requests.hugepages-") || strings.HasPrefix(r.Resource, "limits.hugepages-")
	switch {
	case inVolume && r.ContainerName == "":
		c.Add(field.Required(at.Child("containerName"), ""))
	case r.Resource == "":
		c.Add(field.Required(at.Child("resource"), ""))
	case !pages && !slices.Contains(resourceFields, r.Resource):
		c.Add(field.NotSupported(at.Child("resource"), r.Resource, resourceFields))
	}
	c.divisor(r.Resource, r.Divisor, child(at, "divisor"))
}

var byteDivisors = []string{"1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"}

func (c *specCheck) divisor(name string, divisor resource.Quantity, at *field.Path) {
	if divisor.IsZero() {
		return
	}
	_, what, _ := strings.Cut(name, ".")
	switch {
	case what == "cpu":
		if d := divisor.String(); d != "1m" && d != "1" {
			c.Add(field.Invalid(at, name, "only divisor's values 1m and 1 are supported with the cpu resource"))
		}
		return
	case what == "memory":
	case what == "ephemeral-storage":
		what = "local ephemeral storage"
	case strings.HasPrefix(what, "hugepages-"):
		what = "hugepages"
	default:
		return
	}
	if !slices.Contains(byteDivisors, divisor.String()) {
		c.Add(field.Invalid(at, name, fmt.Sprintf("only divisor's values %s are supported with the %s resource", strings.Join(byteDivisors, ", "), what)))
	}
}

func (c *specCheck) envFrom(from []corev1.EnvFromSource, at *field.Path) {
	for i := range from {
		e, p := &from[i], index(at, i)
		if e.Prefix != "" {
			c.Rule(child(p, "prefix"), e.Prefix, validation.IsRelaxedEnvVarName)
		}
		sources := 0
		named := func(name string, at *field.Path) {
			sources++
			if c.Require(at, name) {
				c.Messages(at, name, apivalidation.NameIsDNSSubdomain(name, true))
			}
		}
		if e.ConfigMapRef != nil {
			named(e.ConfigMapRef.Name, child(p, "configMapRef", "name"))
		}
		if e.SecretRef != nil {
			named(e.SecretRef.Name, child(p, "secretRef", "name"))
		}
		switch {
		case sources == 0:
			c.Add(field.Invalid(at, "", "must specify one of: `configMapRef` or `secretRef`"))
		case sources > 1:
			c.Add(field.Invalid(at, "", "may not have more than one field specified at a time"))
		}
	}
}
