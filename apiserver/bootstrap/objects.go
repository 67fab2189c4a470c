package bootstrap

import (
	"bytes"
	"embed"
	"fmt"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

//go:embed objects/*.yaml
var files embed.FS

// read decodes one of the embedded files. They are compiled in: an error is a mistake in the tree, and a test's to find.
func read(file string) ([]kinds.Object, error) {
	text, err := files.ReadFile("objects/" + file)
	if err != nil {
		return nil, err
	}
	var out []kinds.Object
	for doc := range bytes.SplitSeq(text, []byte("\n---\n")) {
		if bytes.HasPrefix(doc, []byte("#")) {
			continue // the file's comment
		}
		var head runtime.TypeMeta
		if err := yaml.Unmarshal(doc, &head); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		obj, err := kinds.Scheme.New(schema.FromAPIVersionAndKind(head.APIVersion, head.Kind))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if err := yaml.UnmarshalStrict(doc, obj); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out = append(out, obj.(kinds.Object))
	}
	return out, nil
}

// NodeRules are what every node's agent may do: the rules of the role system:node.
func NodeRules() ([]rbacv1.PolicyRule, error) {
	objects, err := read("roles.yaml")
	if err != nil {
		return nil, err
	}
	for _, o := range objects {
		if role, ok := o.(*rbacv1.ClusterRole); ok && role.Name == "system:node" {
			return role.Rules, nil
		}
	}
	return nil, fmt.Errorf("there is no role system:node")
}

// FlowControl are the flow schemas and priority levels that a server shares itself by until it has read the cluster's.
func FlowControl() ([]*flowcontrolv1.FlowSchema, []*flowcontrolv1.PriorityLevelConfiguration, error) {
	objects, err := read("flowcontrol.yaml")
	if err != nil {
		return nil, nil, err
	}
	var schemas []*flowcontrolv1.FlowSchema
	var levels []*flowcontrolv1.PriorityLevelConfiguration
	for _, o := range objects {
		switch o := o.(type) {
		case *flowcontrolv1.FlowSchema:
			schemas = append(schemas, o)
		case *flowcontrolv1.PriorityLevelConfiguration:
			levels = append(levels, o)
		}
	}
	return schemas, levels, nil
}
