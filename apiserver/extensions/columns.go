package extensions

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metatable "k8s.io/apimachinery/pkg/api/meta/table"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/jsonpath"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// ageColumn is what a version shows that names no columns.
var ageColumn = apiextensionsv1.CustomResourceColumnDefinition{Name: "Age", Type: "date", JSONPath: ".metadata.creationTimestamp",
	Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"]}

// table is how a version is printed.
type table struct {
	headers []kinds.ColumnDefinition
	// mu guards paths, which cannot be used by several at once.
	mu    sync.Mutex
	paths []*jsonpath.JSONPath
}

func newTable(columns []apiextensionsv1.CustomResourceColumnDefinition) *table {
	if len(columns) == 0 {
		columns = []apiextensionsv1.CustomResourceColumnDefinition{ageColumn}
	}
	t := &table{headers: []kinds.ColumnDefinition{{Name: "Name", Type: "string", Format: "name", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"]}}}
	for _, c := range columns {
		path := jsonpath.New(c.Name)
		if path.Parse("{"+c.JSONPath+"}") != nil {
			break // as upstream: what comes before it is shown
		}
		description := c.Description
		if description == "" {
			description = fmt.Sprintf("Custom resource definition column (in JSONPath format): %s", c.JSONPath)
		}
		t.paths = append(t.paths, path.AllowMissingKeys(true))
		t.headers = append(t.headers, kinds.ColumnDefinition{Name: c.Name, Type: c.Type, Format: c.Format, Description: description, Priority: c.Priority})
	}
	return t
}

// cells is the row of an object of the version. Nil stands for what is not there.
func (t *table) cells(u *unstructured.Unstructured) []any {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]any, 1, len(t.headers))
	out[0] = u.GetName()
	for i, path := range t.paths {
		out = append(out, cell(t.headers[i+1].Type, path, u))
	}
	return out
}

func cell(kind string, path *jsonpath.JSONPath, u *unstructured.Unstructured) any {
	found, err := path.FindResults(u.Object)
	if err != nil || len(found) == 0 || len(found[0]) == 0 {
		return nil
	}
	value := found[0][0].Interface()
	if kind == "string" {
		var text bytes.Buffer
		if path.PrintResults(&text, []reflect.Value{reflect.ValueOf(value)}) != nil {
			return nil
		}
		return text.String()
	}
	return typedCell(kind, value)
}

func typedCell(kind string, value any) any {
	switch kind {
	case "integer":
		switch n := value.(type) {
		case int64:
			return n
		case float64:
			return int64(n)
		case json.Number:
			if i, err := n.Int64(); err == nil {
				return i
			}
		}
	case "number":
		switch n := value.(type) {
		case int64:
			return float64(n)
		case float64:
			return n
		case json.Number:
			if f, err := n.Float64(); err == nil {
				return f
			}
		}
	case "boolean":
		if b, ok := value.(bool); ok {
			return b
		}
	case "date":
		if text, ok := value.(string); ok {
			var at metav1.Time
			if at.UnmarshalQueryParameter(text) != nil {
				return "<invalid>"
			}
			return metatable.ConvertToHumanReadableDateType(at)
		}
	}
	return nil
}
