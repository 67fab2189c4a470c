package podspec

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateAppArmor checks a profile of a pod or container.
func validateAppArmor(p *corev1.AppArmorProfile, at *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	const longestPath = 4095
	var errs field.ErrorList
	named := child(at, "localhostProfile")
	switch p.Type {
	case corev1.AppArmorProfileTypeLocalhost:
		if p.LocalhostProfile == nil {
			return append(errs, field.Required(named, "must be set when AppArmor type is Localhost"))
		}
		name := *p.LocalhostProfile
		if trimmed := strings.TrimSpace(name); trimmed != name {
			errs = append(errs, field.Invalid(named, name, "must not be padded with whitespace"))
		} else if trimmed == "" {
			errs = append(errs, field.Required(named, "must be set when AppArmor type is Localhost"))
		}
		if len(name) > longestPath {
			errs = append(errs, field.TooLong(named, "", longestPath))
		}
	case corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined:
		if p.LocalhostProfile != nil {
			errs = append(errs, field.Invalid(named, p.LocalhostProfile, "can only be set when AppArmor type is Localhost"))
		}
	case "":
		errs = append(errs, field.Required(at.Child("type"), "type is required when appArmorProfile is set"))
	default:
		errs = append(errs, field.NotSupported(at.Child("type"), p.Type, []corev1.AppArmorProfileType{
			corev1.AppArmorProfileTypeLocalhost, corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined}))
	}
	return errs
}
