package request

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/fields"
)

// Info is what a URL and a method mean to the API. It is never changed after Parse.
type Info struct {
	// IsResource tells API objects from other paths (/healthz, /version, /apis, /apis/apps).
	IsResource bool
	// Path is the URL's path as it came.
	Path string
	// Verb is the API's verb for a resource (get, list, watch, create, update, patch, delete, deletecollection, proxy),
	// the method in lower case otherwise.
	Verb string

	// APIPrefix is "api" or "apis".
	APIPrefix string
	Group     string
	Version   string
	Namespace string
	Resource  string
	// Subresource is the one path element behind the name ("status"); what follows it is in Parts.
	Subresource string
	// Name is the object's name, or the one that a list's or watch's fieldSelector metadata.name=NAME fixes.
	Name string
	// Parts are the path elements from the resource on.
	Parts []string

	// LabelSelector and FieldSelector are those of a list, watch or deletecollection, as they came.
	LabelSelector string
	FieldSelector string
}

// namespaceSubresources are the path elements that belong to a Namespace itself; everything else behind
// /namespaces/NAME/ is a resource within it.
var namespaceSubresources = map[string]bool{"status": true, "finalize": true}

// Parse reads a request. Paths:
//
//	/api/VERSION/RESOURCE[/NAME[/SUBRESOURCE]]        /apis/GROUP/VERSION/...
//	/api/VERSION/namespaces/NAMESPACE/RESOURCE/...    /api/VERSION/watch/...
//
// Everything that is shorter is a path of its own and no resource.
func Parse(r *http.Request) (*Info, error) {
	info := &Info{Path: r.URL.Path, Verb: strings.ToLower(r.Method)}
	parts := split(r.URL.Path)
	if len(parts) < 3 || parts[0] != "api" && parts[0] != "apis" {
		return info, nil
	}
	info.APIPrefix, parts = parts[0], parts[1:]
	if info.APIPrefix == "apis" {
		if len(parts) < 3 {
			return info, nil
		}
		info.Group, parts = parts[0], parts[1:]
	}
	info.IsResource = true
	info.Version, parts = parts[0], parts[1:]

	switch first := parts[0]; first {
	case "proxy", "watch":
		if len(parts) < 2 {
			return info, fmt.Errorf("unable to determine kind and namespace from url, %v", r.URL)
		}
		info.Verb, parts = first, parts[1:]
	default:
		info.Verb = methodVerb(r.Method)
	}

	if parts[0] == "namespaces" && len(parts) > 1 {
		info.Namespace = parts[1]
		if len(parts) > 2 && !namespaceSubresources[parts[2]] {
			parts = parts[2:]
		}
	}
	info.Parts = parts
	info.Resource = parts[0]
	if len(parts) > 1 {
		info.Name = parts[1]
	}
	if len(parts) > 2 && info.Verb != "proxy" {
		info.Subresource = parts[2]
	}
	info.collection(r.URL)
	return info, nil
}

// collection settles what a get or delete without a name means, and which names its selectors leave.
func (i *Info) collection(u *url.URL) {
	if i.Name != "" {
		return
	}
	switch i.Verb {
	case "get", "watch":
		query := u.Query()
		if i.Verb == "get" {
			i.Verb = "list"
			if isTrue(query, "watch") {
				i.Verb = "watch"
			}
		}
		i.selectors(query)
		i.Name = exactName(i.FieldSelector)
	case "delete":
		i.Verb = "deletecollection"
		i.selectors(u.Query())
	}
}

func (i *Info) selectors(query url.Values) {
	i.LabelSelector, i.FieldSelector = query.Get("labelSelector"), query.Get("fieldSelector")
}

// exactName is the name that a field selector fixes; a role may be restricted to it (resourceNames).
func exactName(selector string) string {
	if selector == "" {
		return ""
	}
	parsed, err := fields.ParseSelector(selector)
	if err != nil {
		return ""
	}
	name, ok := parsed.RequiresExactMatch("metadata.name")
	if !ok || len(path.IsValidPathSegmentName(name)) != 0 {
		return ""
	}
	return name
}

// isTrue reads a boolean parameter as the API always has: present without a value is true, and so is all that is not
// plainly false.
func isTrue(query url.Values, key string) bool {
	values, ok := query[key]
	if !ok || len(values) == 0 {
		return false
	}
	switch strings.ToLower(values[0]) {
	case "false", "0":
		return false
	case "":
		return true
	}
	if b, err := strconv.ParseBool(values[0]); err == nil {
		return b
	}
	return true
}

func methodVerb(method string) string {
	switch method {
	case http.MethodPost:
		return "create"
	case http.MethodGet, http.MethodHead:
		return "get"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		return "delete"
	}
	return ""
}

func split(p string) []string {
	p = strings.Trim(p, "/")
	if p == "" {
		return nil
	}
	return strings.Split(p, "/")
}

// LongRunning says that a request has no natural end, so that neither time-outs nor the limit on requests in flight
// apply to it: watches, and connections into pods and nodes.
func (i *Info) LongRunning() bool {
	if !i.IsResource {
		return strings.HasPrefix(i.Path, "/debug/pprof/")
	}
	switch i.Verb {
	case "watch", "proxy":
		return true
	}
	switch i.Subresource {
	case "attach", "exec", "proxy", "log", "portforward":
		return true
	}
	return false
}

// ReadOnly says that the request cannot change anything.
func (i *Info) ReadOnly() bool {
	switch i.Verb {
	case "get", "list", "watch", "head":
		return true
	}
	return false
}
