package expressions

import apicel "k8s.io/apiserver/pkg/cel"

// shape builds an object type; required fields are there at run time whatever the request was.
func shape(name string, required, optional map[string]*apicel.DeclType) *apicel.DeclType {
	fields := map[string]*apicel.DeclField{}
	for n, t := range required {
		fields[n] = apicel.NewDeclField(n, t, true, nil, nil)
	}
	for n, t := range optional {
		fields[n] = apicel.NewDeclField(n, t, false, nil, nil)
	}
	return apicel.NewObjectType(name, fields)
}

type types = map[string]*apicel.DeclType

func list(of *apicel.DeclType) *apicel.DeclType { return apicel.NewListType(of, -1) }

func dictionary(of *apicel.DeclType) *apicel.DeclType {
	return apicel.NewMapType(apicel.StringType, of, -1)
}

// requestType is the variable "request": an AdmissionRequest without its objects.
func requestType() *apicel.DeclType {
	text := apicel.StringType
	kind := shape("kubernetes.GroupVersionKind", types{"group": text, "version": text, "kind": text}, nil)
	resource := shape("kubernetes.GroupVersionResource", types{"group": text, "version": text, "resource": text}, nil)
	user := shape("kubernetes.UserInfo", nil, types{"username": text, "uid": text, "groups": list(text), "extra": dictionary(list(text))})
	return shape("kubernetes.AdmissionRequest",
		types{"kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource, "name": text, "operation": text, "userInfo": user},
		types{"subResource": text, "requestSubResource": text, "namespace": text, "dryRun": apicel.BoolType, "options": apicel.DynType})
}

// namespaceType is the variable "namespaceObject".
func namespaceType() *apicel.DeclType {
	text, time, number := apicel.StringType, apicel.TimestampType, apicel.IntType
	condition := shape("kubernetes.NamespaceCondition", types{"status": text, "type": text, "lastTransitionTime": time, "message": text, "reason": text}, nil)
	return shape("kubernetes.Namespace", types{
		"spec":   shape("kubernetes.NamespaceSpec", types{"finalizers": list(text)}, nil),
		"status": shape("kubernetes.NamespaceStatus", types{"conditions": list(condition), "phase": text}, nil),
		"metadata": shape("kubernetes.NamespaceMetadata", types{
			"name": text, "generateName": text, "namespace": text, "labels": dictionary(text), "annotations": dictionary(text), "UID": text,
			"creationTimestamp": time, "deletionGracePeriodSeconds": number, "deletionTimestamp": time, "generation": number,
			"resourceVersion": text, "finalizers": list(text),
		}, nil),
	}, nil)
}
