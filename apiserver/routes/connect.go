package routes

import (
	"context"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/skiff-project/skiff/apiserver/request"
)

// connect hands a request to whoever makes connections.
func (c *call) connect() {
	verb := map[string]string{http.MethodGet: "get", http.MethodHead: "get", http.MethodPost: "create", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete", http.MethodOptions: "get"}[c.r.Method]
	plain := c.r.Method != http.MethodHead && c.r.Method != http.MethodOptions
	if !slices.Contains(c.sub.Verbs, verb) || !plain && c.sub.Connect != "proxy" {
		c.fail(noSuchMethod())
		return
	}
	if c.r.URL.RawQuery != "" && c.sub.Connect != "proxy" && len(c.r.URL.Query()["dryRun"]) > 0 {
		c.fail(apierrors.NewBadRequest("dryRun is not supported"))
		return
	}
	if c.Connector == nil {
		c.fail(apierrors.NewServiceUnavailable("connections to nodes are not configured"))
		return
	}
	w := c.write()
	c.Connector.Connect(c.w, c.r, &Connection{
		Kind: c.res.Kind, Namespace: w.Namespace, Name: w.Name, Connect: c.sub.Connect, Path: c.rest(),
		User: request.UserFrom(c.r.Context()),
		Admit: func(ctx context.Context, options runtime.Object) error {
			return c.res.AdmitConnect(ctx, w, options)
		},
	})
}

// rest is what follows the subresource in the URL, its slash at the end included, since a proxied server may care.
func (c *call) rest() string {
	var path string
	if len(c.info.Parts) > 3 {
		path = "/" + strings.Join(c.info.Parts[3:], "/")
	}
	if strings.HasSuffix(c.info.Path, "/") && !strings.HasSuffix(path, "/") {
		path += "/"
	}
	return path
}
