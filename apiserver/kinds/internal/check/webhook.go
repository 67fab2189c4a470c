package check

import (
	"fmt"
	"net/url"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// WebhookURL complains about addresses that a server would not call.
func (l *List) WebhookURL(at *field.Path, text string) {
	const form = "; desired format: https://host[/path]"
	u, err := url.Parse(text)
	if err != nil {
		l.Add(field.Required(at, "url must be a valid URL: "+err.Error()+form))
		return
	}
	if u.Scheme != "https" {
		l.Add(field.Invalid(at, u.Scheme, "'https' is the only allowed URL scheme"+form))
	}
	if u.Host == "" {
		l.Add(field.Invalid(at, u.Host, "host must be specified"+form))
	}
	if u.User != nil {
		l.Add(field.Invalid(at, u.User.String(), "user information is not permitted in the URL"))
	}
	if u.Fragment != "" {
		l.Add(field.Invalid(at, u.Fragment, "fragments are not permitted in the URL"))
	}
	if u.RawQuery != "" {
		l.Add(field.Invalid(at, u.RawQuery, "query parameters are not permitted in the URL"))
	}
}

// WebhookService complains about references to Services that a server would not call. path and port may be nil.
func (l *List) WebhookService(at *field.Path, namespace, name string, path *string, port *int32) {
	l.Require(at.Child("name"), name)
	l.Require(at.Child("namespace"), namespace)
	number := int32(0)
	if port != nil {
		number = *port
	}
	if errs := validation.IsValidPortNum(int(number)); errs != nil {
		l.Add(field.Invalid(at.Child("port"), number, "port is not valid: "+strings.Join(errs, ", ")))
	}
	if path != nil {
		l.webhookPath(at.Child("path"), *path)
	}
}

func (l *List) webhookPath(at *field.Path, path string) {
	switch path {
	case "", "/":
		return
	case "//":
		l.Add(field.Invalid(at, path, "segment[0] may not be empty"))
		return
	}
	if !strings.HasPrefix(path, "/") {
		l.Add(field.Invalid(at, path, "must start with a '/'"))
	}
	// The first character is taken for the slash that should be there.
	for i, step := range strings.Split(strings.TrimSuffix(path[1:], "/"), "/") {
		if step == "" {
			l.Add(field.Invalid(at, path, fmt.Sprintf("segment[%d] may not be empty", i)))
			continue
		}
		for _, m := range validation.IsDNS1123Subdomain(step) {
			l.Add(field.Invalid(at, path, fmt.Sprintf("segment[%d]: %v", i, m)))
		}
	}
}
