package match

import (
	admissionapi "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/skiff-project/skiff/apiserver/admission"
	"github.com/skiff-project/skiff/apiserver/kinds"
)

// Request describes a write as webhooks and expressions are told of it, in one of its versions, without its objects.
func Request(a *admission.Attributes, v *kinds.Version) *admissionapi.AdmissionRequest {
	spoken := a.Spoken()
	kind, spokenKind := metav1.GroupVersionKind(a.ObjectKind(v)), metav1.GroupVersionKind(a.ObjectKind(spoken))
	resource, spokenResource := metav1.GroupVersionResource(a.ResourceIn(v)), metav1.GroupVersionResource(a.ResourceIn(spoken))
	dryRun := a.DryRun
	r := &admissionapi.AdmissionRequest{
		Kind: kind, Resource: resource, SubResource: a.Subresource,
		RequestKind: &spokenKind, RequestResource: &spokenResource, RequestSubResource: a.Subresource,
		Name: a.Name, Namespace: a.Namespace, Operation: admissionapi.Operation(a.Operation), DryRun: &dryRun,
		Options: runtime.RawExtension{Object: options(a.Options)},
	}
	if a.User != nil {
		r.UserInfo = authenticationv1.UserInfo{Username: a.User.Name, UID: a.User.UID, Groups: a.User.Groups, Extra: map[string]authenticationv1.ExtraValue{}}
		for key, values := range a.User.Extra {
			r.UserInfo.Extra[key] = values
		}
	}
	return r
}

// options gives the options of a request the kind that they are sent with.
func options(obj runtime.Object) runtime.Object {
	name := ""
	switch obj.(type) {
	case *metav1.CreateOptions:
		name = "CreateOptions"
	case *metav1.UpdateOptions:
		name = "UpdateOptions"
	case *metav1.PatchOptions:
		name = "PatchOptions"
	case *metav1.DeleteOptions:
		name = "DeleteOptions"
	default:
		return obj
	}
	if !obj.GetObjectKind().GroupVersionKind().Empty() {
		return obj
	}
	obj = obj.DeepCopyObject()
	obj.GetObjectKind().SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind(name))
	return obj
}
