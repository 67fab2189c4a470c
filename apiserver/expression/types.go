package expression

import (
	"sync"

	kcel "k8s.io/apiserver/pkg/cel"
)

// Names of what expressions may refer to.
const (
	Object          = "object"
	OldObject       = "oldObject"
	Params          = "params"
	Request         = "request"
	NamespaceObject = "namespaceObject"
	Authorizer      = "authorizer"
	RequestResource = "authorizer.requestResource"
	Variables       = "variables"
)

type declaredTypes struct{ request, namespace *kcel.DeclType }

// fields of a declared type: name, type, and whether it is always there.
type fieldList []struct {
	name     string
	typ      *kcel.DeclType
	required bool
}

func objectType(name string, list fieldList) *kcel.DeclType {
	fields := map[string]*kcel.DeclField{}
	for _, f := range list {
		fields[f.name] = kcel.NewDeclField(f.name, f.typ, f.required, nil, nil)
	}
	return kcel.NewObjectType(name, fields)
}

// admissionTypes are the types of request and namespaceObject. Their names and fields are upstream's: an AdmissionRequest
// without its uid and objects, and a Namespace without managed fields and owners.
var admissionTypes = sync.OnceValue(func() declaredTypes {
	text, texts := kcel.StringType, kcel.NewListType(kcel.StringType, -1)
	pairs := kcel.NewMapType(text, text, -1)
	kind := objectType("kubernetes.GroupVersionKind", fieldList{{"group", text, true}, {"version", text, true}, {"kind", text, true}})
	resource := objectType("kubernetes.GroupVersionResource", fieldList{{"group", text, true}, {"version", text, true}, {"resource", text, true}})
	user := objectType("kubernetes.UserInfo", fieldList{
		{"username", text, false}, {"uid", text, false}, {"groups", texts, false}, {"extra", kcel.NewMapType(text, texts, -1), false},
	})
	condition := objectType("kubernetes.NamespaceCondition", fieldList{
		{"type", text, true}, {"status", text, true}, {"reason", text, true}, {"message", text, true}, {"lastTransitionTime", kcel.TimestampType, true},
	})
	metadata := objectType("kubernetes.NamespaceMetadata", fieldList{
		{"name", text, true}, {"generateName", text, true}, {"namespace", text, true}, {"labels", pairs, true}, {"annotations", pairs, true},
		{"UID", text, true}, {"creationTimestamp", kcel.TimestampType, true}, {"deletionGracePeriodSeconds", kcel.IntType, true},
		{"deletionTimestamp", kcel.TimestampType, true}, {"generation", kcel.IntType, true}, {"resourceVersion", text, true}, {"finalizers", texts, true},
	})
	return declaredTypes{
		request: objectType("kubernetes.AdmissionRequest", fieldList{
			{"kind", kind, true}, {"resource", resource, true}, {"subResource", text, false},
			{"requestKind", kind, true}, {"requestResource", resource, true}, {"requestSubResource", text, false},
			{"name", text, true}, {"namespace", text, false}, {"operation", text, true}, {"userInfo", user, true},
			{"dryRun", kcel.BoolType, false}, {"options", kcel.DynType, false},
		}),
		namespace: objectType("kubernetes.Namespace", fieldList{
			{"metadata", metadata, true},
			{"spec", objectType("kubernetes.NamespaceSpec", fieldList{{"finalizers", texts, true}}), true},
			{"status", objectType("kubernetes.NamespaceStatus", fieldList{{"phase", text, true}, {"conditions", kcel.NewListType(condition, -1), true}}), true},
		}),
	}
})
