package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
)

// optional are rules that --enable-admission-plugins turns on.
var optional = []string{"AlwaysPullImages", "DenyServiceExternalIPs", eventRateLimit}

// makeOptional makes one of them.
func makeOptional(o *Objects, name string) (Rule, error) {
	switch name {
	case "AlwaysPullImages":
		return AlwaysPullImages(), nil
	case "DenyServiceExternalIPs":
		return DenyServiceExternalIPs(), nil
	}
	return EventRateLimit(o.Configs[eventRateLimit])
}

// AlwaysPullImages makes every container's image be pulled at each start, so that nobody runs an image because it
// happens to lie on a node.
func AlwaysPullImages() Rule {
	return Rule{Name: "AlwaysPullImages", Mutate: func(_ context.Context, a *Attributes) error {
		if !a.Is("", "pods", "") || a.Operation != Create && a.Operation != Update {
			return nil
		}
		pod := a.Object.(*corev1.Pod)
		for i := range pod.Spec.InitContainers {
			pod.Spec.InitContainers[i].ImagePullPolicy = corev1.PullAlways
		}
		for i := range pod.Spec.Containers {
			pod.Spec.Containers[i].ImagePullPolicy = corev1.PullAlways
		}
		return nil
	}}
}

// DenyServiceExternalIPs refuses new external addresses of Services, by which somebody could draw the traffic of others.
func DenyServiceExternalIPs() Rule {
	return Rule{Name: "DenyServiceExternalIPs", Validate: func(_ context.Context, a *Attributes) error {
		if !a.Is("", "services", "") || a.Operation != Create && a.Operation != Update {
			return nil
		}
		have := map[string]bool{}
		if old, ok := a.Old.(*corev1.Service); ok {
			for _, ip := range old.Spec.ExternalIPs {
				have[ip] = true
			}
		}
		for _, ip := range a.Object.(*corev1.Service).Spec.ExternalIPs {
			if !have[ip] {
				return forbidden(a, "use of external IPs is denied by admission control")
			}
		}
		return nil
	}}
}
