package admission

import (
	"context"
	"errors"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	podsecurity "k8s.io/pod-security-admission/admission"
	"k8s.io/pod-security-admission/admission/api/load"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/metrics"
	"k8s.io/pod-security-admission/policy"

	"github.com/skiff-project/skiff/apiserver/request"
)

// PodSecurity holds pods to the security level that their namespace's labels name. The levels are the library's.
func PodSecurity(o *Objects) Rule {
	check := &podsecurity.Admission{Metrics: noMetrics{}, PodSpecExtractor: podsecurity.DefaultPodSpecExtractor{},
		NamespaceGetter: namespaces{o}, PodLister: pods{o}}
	// Both fail on a configuration that contradicts itself alone, which ReadConfigurations has refused.
	config, err := load.LoadFromData(o.Configs["PodSecurity"])
	if err == nil {
		check.Configuration = config
		check.Evaluator, err = policy.NewEvaluator(policy.DefaultChecks(), nil)
	}
	if err == nil {
		err = check.CompleteConfiguration()
	}
	if err == nil {
		err = check.ValidateConfiguration()
	}
	if err != nil {
		panic("admission: PodSecurity: " + err.Error())
	}
	return Rule{Name: "PodSecurity", Validate: func(ctx context.Context, a *Attributes) error {
		gr := a.Kind.GroupResource()
		if a.Operation != Create && a.Operation != Update || gr != core("namespaces") && !check.PodSpecExtractor.HasPodSpec(gr) {
			return nil
		}
		answer := check.Validate(ctx, securityAttributes{a})
		for _, w := range answer.Warnings {
			request.Warn(ctx, w)
		}
		for k, v := range answer.AuditAnnotations {
			a.Annotate(api.AuditAnnotationPrefix+k, v)
		}
		if answer.Allowed {
			return nil
		}
		return podSecurityRefusal(a, answer)
	}}
}

func podSecurityRefusal(a *Attributes, answer *admissionv1.AdmissionResponse) error {
	refusal := forbidden(a, "Not allowed by PodSecurity")
	var status *apierrors.StatusError
	if !errors.As(refusal, &status) || answer.Result == nil {
		return refusal
	}
	to, from := &status.ErrStatus, answer.Result
	if from.Message != "" {
		to.Message = from.Message
	}
	if from.Reason != "" {
		to.Reason = from.Reason
	}
	if from.Details != nil {
		to.Details = from.Details
	}
	if from.Code != 0 {
		to.Code = from.Code
	}
	return refusal
}

// securityAttributes are Attributes in the library's terms.
type securityAttributes struct{ a *Attributes }

func (s securityAttributes) GetName() string      { return s.a.Name }
func (s securityAttributes) GetNamespace() string { return s.a.Namespace }
func (s securityAttributes) GetResource() schema.GroupVersionResource {
	return s.a.Kind.GVR()
}
func (s securityAttributes) GetKind() schema.GroupVersionKind { return s.a.Kind.GVK }
func (s securityAttributes) GetSubresource() string           { return s.a.Subresource }
func (s securityAttributes) GetOperation() admissionv1.Operation {
	return admissionv1.Operation(s.a.Operation)
}
func (s securityAttributes) GetObject() (runtime.Object, error)    { return s.a.Object, nil }
func (s securityAttributes) GetOldObject() (runtime.Object, error) { return s.a.Old, nil }
func (s securityAttributes) GetUserName() string {
	if s.a.User == nil {
		return ""
	}
	return s.a.User.Name
}

type namespaces struct{ o *Objects }

func (n namespaces) GetNamespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	obj, err := n.o.get(ctx, core("namespaces"), "", name)
	if err != nil {
		return nil, err
	}
	return obj.(*corev1.Namespace), nil
}

type pods struct{ o *Objects }

func (p pods) ListPods(ctx context.Context, namespace string) ([]*corev1.Pod, error) {
	list, err := p.o.list(ctx, core("pods"), namespace)
	out := make([]*corev1.Pod, len(list))
	for i, obj := range list {
		out[i] = obj.(*corev1.Pod)
	}
	return out, err
}

// noMetrics: the library's recorder would bring its own registry.
type noMetrics struct{}

func (noMetrics) RecordEvaluation(metrics.Decision, api.LevelVersion, metrics.Mode, api.Attributes) {}
func (noMetrics) RecordExemption(api.Attributes)                                                    {}
func (noMetrics) RecordError(bool, api.Attributes)                                                  {}
