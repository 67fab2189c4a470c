package podspec

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

// tolerationsAnnotation held tolerations before they had a field.
const tolerationsAnnotation = corev1.TolerationsAnnotationKey

// seccompDockerDefault is what the runtime's default profile was called once.
const seccompDockerDefault = corev1.DeprecatedSeccompProfileDockerDefault

// ValidateAnnotations checks the annotations of a template once more, for kinds that upstream does it for.
func ValidateAnnotations(annotations map[string]string, spec *corev1.PodSpec, at *field.Path) field.ErrorList {
	return validateAnnotations(annotations, spec, at)
}

// validateAnnotations checks the annotations that mean something to pods.
func validateAnnotations(annotations map[string]string, spec *corev1.PodSpec, at *field.Path) field.ErrorList {
	var l check.List
	if value, mirror := annotations[corev1.MirrorPodAnnotationKey]; mirror && spec.NodeName == "" {
		l.Add(field.Invalid(at.Key(corev1.MirrorPodAnnotationKey), value, "must set spec.nodeName if mirror pod annotation is set"))
	}
	if text := annotations[tolerationsAnnotation]; text != "" {
		var list []corev1.Toleration
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			l.Add(field.Invalid(at, tolerationsAnnotation, err.Error()))
		} else {
			l.All(Tolerations(list, at.Child(tolerationsAnnotation)))
		}
	}
	if text, set := annotations[corev1.PodDeletionCost]; set && !deletionCost(text) {
		l.Add(field.Invalid(at.Key(corev1.PodDeletionCost), text, "must be a 32bit integer"))
	}
	for key, value := range annotations {
		switch {
		case key == corev1.SeccompPodAnnotationKey, strings.HasPrefix(key, corev1.SeccompContainerAnnotationKeyPrefix):
			seccompAnnotation(&l, value, at.Child(key))
		case strings.HasPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix):
			appArmorAnnotation(&l, spec, strings.TrimPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix), value, at.Key(key))
		}
	}
	return l.ErrorList
}

// deletionCost: numbers are written plainly, without plus or leading zeros.
func deletionCost(text string) bool {
	if strings.HasPrefix(text, "+") || len(text) > 1 && strings.HasPrefix(text, "0") || strings.HasPrefix(text, "-0") {
		return false
	}
	_, err := strconv.ParseInt(text, 10, 32)
	return err == nil
}

func seccompAnnotation(l *check.List, value string, at *field.Path) {
	switch {
	case value == corev1.SeccompProfileRuntimeDefault, value == seccompDockerDefault, value == corev1.SeccompProfileNameUnconfined:
	case strings.HasPrefix(value, corev1.SeccompLocalhostProfileNamePrefix):
		l.Descending(at, strings.TrimPrefix(value, corev1.SeccompLocalhostProfileNamePrefix))
	default:
		l.Add(field.Invalid(at, value, "must be a valid seccomp profile"))
	}
}

func appArmorAnnotation(l *check.List, spec *corev1.PodSpec, container, value string, at *field.Path) {
	found := false
	Containers(spec, nil, func(c *corev1.Container, _ *field.Path) { found = found || c.Name == container })
	if !found {
		l.Add(field.Invalid(at, container, "container not found"))
	}
	if value != "" && value != corev1.DeprecatedAppArmorBetaProfileRuntimeDefault && value != corev1.DeprecatedAppArmorBetaProfileNameUnconfined &&
		!strings.HasPrefix(value, corev1.DeprecatedAppArmorBetaProfileNamePrefix) {
		l.Add(field.Invalid(at, value, fmt.Sprintf("invalid AppArmor profile name: %q", value)))
	}
}

// annotationsAgree: where a profile stands both in an annotation of old and in its field, both say the same.
func annotationsAgree(annotations map[string]string, spec *corev1.PodSpec, at *field.Path) field.ErrorList {
	return withPaths(at, func(at *field.Path) []*field.Error { return checkAnnotations(annotations, spec, at) })
}

func checkAnnotations(annotations map[string]string, spec *corev1.PodSpec, at *field.Path) field.ErrorList {
	var l check.List
	var whole *corev1.AppArmorProfile
	if s := spec.SecurityContext; s != nil {
		whole = s.AppArmorProfile
		if text, set := annotations[corev1.SeccompPodAnnotationKey]; set {
			seccompAgrees(&l, text, s.SeccompProfile, at.Child("securityContext").Child("seccompProfile"))
		}
	}
	windows := spec.OS != nil && spec.OS.Name == corev1.Windows
	Containers(spec, at, func(c *corev1.Container, at *field.Path) {
		profile := whole
		if s := c.SecurityContext; s != nil {
			if s.AppArmorProfile != nil {
				profile = s.AppArmorProfile
			}
			if text, set := annotations[corev1.SeccompContainerAnnotationKeyPrefix+c.Name]; set {
				seccompAgrees(&l, text, s.SeccompProfile, at.Child("securityContext").Child("seccompProfile"))
			}
		}
		if text, set := annotations[corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix+c.Name]; set && profile != nil && !windows {
			appArmorAgrees(&l, text, profile, at.Child("securityContext").Child("appArmorProfile"))
		}
	})
	return l.ErrorList
}

func seccompAgrees(l *check.List, text string, p *corev1.SeccompProfile, at *field.Path) {
	if p == nil {
		return
	}
	agree := true
	switch p.Type {
	case corev1.SeccompProfileTypeUnconfined:
		agree = text == corev1.SeccompProfileNameUnconfined
	case corev1.SeccompProfileTypeRuntimeDefault:
		agree = text == corev1.SeccompProfileRuntimeDefault || text == seccompDockerDefault
	case corev1.SeccompProfileTypeLocalhost:
		name, local := strings.CutPrefix(text, corev1.SeccompLocalhostProfileNamePrefix)
		agree = local
		if local && (p.LocalhostProfile == nil || *p.LocalhostProfile != name) {
			l.Add(field.Forbidden(at.Child("localhostProfile"), "seccomp profile in annotation and field must match"))
		}
	}
	if !agree {
		l.Add(field.Forbidden(at.Child("type"), "seccomp type in annotation and field must match"))
	}
}

func appArmorAgrees(l *check.List, text string, p *corev1.AppArmorProfile, at *field.Path) {
	agree := true
	switch p.Type {
	case corev1.AppArmorProfileTypeUnconfined:
		agree = text == corev1.DeprecatedAppArmorBetaProfileNameUnconfined
	case corev1.AppArmorProfileTypeRuntimeDefault:
		agree = text == corev1.DeprecatedAppArmorBetaProfileRuntimeDefault
	case corev1.AppArmorProfileTypeLocalhost:
		name, local := strings.CutPrefix(text, corev1.DeprecatedAppArmorBetaProfileNamePrefix)
		agree = local
		if local && (p.LocalhostProfile == nil || *p.LocalhostProfile != name) {
			l.Add(field.Forbidden(at.Child("localhostProfile"), "apparmor profile in annotation and field must match"))
		}
	}
	if !agree {
		l.Add(field.Forbidden(at.Child("type"), "apparmor type in annotation and field must match"))
	}
}
