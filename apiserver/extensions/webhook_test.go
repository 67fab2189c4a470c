package extensions_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/apitest"
)

const hosts = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: hosts.net.example.com}
spec:
  group: net.example.com
  scope: Namespaced
  names: {plural: hosts, kind: Host}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {address: {type: string}}}}
  - name: v2
    served: true
    storage: false
    selectableFields: [{jsonPath: .port}]
    additionalPrinterColumns: [{name: Port, type: string, jsonPath: .port}]
    schema: {openAPIV3Schema: {type: object, required: [port], properties: {host: {type: string}, port: {type: string, default: "80"}}}}
  conversion: %s
`

var (
	hostsV1 = schema.GroupVersionResource{Group: "net.example.com", Version: "v1", Resource: "hosts"}
	hostsV2 = schema.GroupVersionResource{Group: "net.example.com", Version: "v2", Resource: "hosts"}
)

// hook converts between address (v1) and host and port (v2), and counts what it is asked.
type hook struct {
	mu      sync.Mutex
	sizes   []int
	refuses string
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	review := &apiextensionsv1.ConversionReview{}
	if err := json.NewDecoder(r.Body).Decode(review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	h.sizes = append(h.sizes, len(review.Request.Objects))
	review.Response = &apiextensionsv1.ConversionResponse{UID: review.Request.UID, Result: metav1.Status{Status: metav1.StatusSuccess}}
	if h.refuses != "" {
		review.Response.Result = metav1.Status{Status: metav1.StatusFailure, Message: h.refuses}
	}
	for _, raw := range review.Request.Objects {
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON(raw.Raw); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if strings.HasSuffix(review.Request.DesiredAPIVersion, "/v2") {
			host, port, _ := strings.Cut(fmt.Sprint(u.Object["address"]), ":")
			u.Object["host"], u.Object["port"] = host, port
			delete(u.Object, "address")
		} else {
			u.Object["address"] = fmt.Sprintf("%v:%v", u.Object["host"], u.Object["port"])
			delete(u.Object, "host")
			delete(u.Object, "port")
		}
		u.SetAPIVersion(review.Request.DesiredAPIVersion)
		u.SetResourceVersion("1") // a webhook cannot change metadata but labels and annotations
		u.SetLabels(map[string]string{"converted": "yes"})
		out, err := u.MarshalJSON()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		review.Response.ConvertedObjects = append(review.Response.ConvertedObjects, runtime.RawExtension{Raw: out})
	}
	review.Request = nil
	_ = json.NewEncoder(w).Encode(review)
}

func (h *hook) asked() []int {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := h.sizes
	h.sizes = nil
	return out
}

func TestConversionByWebhook(t *testing.T) {
	h := &hook{}
	server := httptest.NewTLSServer(h)
	defer server.Close()
	bundle := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	api := apitest.Start(t)
	c := client(t, api.Config)
	ctx := context.Background()
	define(t, c, fmt.Sprintf(hosts, fmt.Sprintf(`{strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {url: %q, caBundle: %q}}}`, server.URL, bundle)))
	v1, v2 := c.Resource(hostsV1).Namespace("default"), c.Resource(hostsV2).Namespace("default")

	create := func(name, port string) {
		u := parse(t, fmt.Sprintf(`{apiVersion: net.example.com/v2, kind: Host, metadata: {name: %s}, host: example.com}`, name))
		if port != "" {
			u.Object["port"] = port
		}
		got, err := v2.Create(ctx, u, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got.GetAPIVersion() != "net.example.com/v2" || got.Object["host"] != "example.com" {
			t.Errorf("created: %v", got.Object)
		}
	}
	create("a", "")
	create("b", "81")
	create("c", "82")
	got, err := v1.Get(ctx, "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Object["address"] != "example.com:80" || got.Object["host"] != nil || got.GetResourceVersion() == "1" {
		t.Errorf("as v1, with the default of v2: %v", got.Object)
	}
	if _, err := v1.Create(ctx, parse(t, `{apiVersion: net.example.com/v1, kind: Host, metadata: {name: d}, address: "example.com:83"}`), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	h.asked()
	// Three were answered in v2 when they were made, and are kept so: one is to be converted, and another time none.
	for _, want := range []string{"[1]", "[]"} {
		list, err := v2.List(ctx, metav1.ListOptions{})
		if err != nil || len(list.Items) != 4 || list.Items[3].Object["port"] != "83" {
			t.Fatalf("%v, %v", list, err)
		}
		if got := fmt.Sprint(h.asked()); got != want {
			t.Errorf("objects asked about: %s instead of %s", got, want)
		}
	}
	list, err := v2.List(ctx, metav1.ListOptions{FieldSelector: "port=83"})
	if err != nil || len(list.Items) != 1 || list.Items[0].GetName() != "d" {
		t.Errorf("selected by a field of v2: %v, %v", list, err)
	}
	h.asked()
	_, _, body := request(t, api, "GET", "/apis/net.example.com/v2/hosts", "", "", "Accept", "application/json;as=Table;g=meta.k8s.io;v=v1")
	if !strings.Contains(body, `"cells":["d","83"]`) || fmt.Sprint(h.asked()) != "[4]" {
		t.Errorf("table: %s", body)
	}
	h.mu.Lock()
	h.refuses = "no"
	h.mu.Unlock()
	_, err = v2.Create(ctx, parse(t, `{apiVersion: net.example.com/v2, kind: Host, metadata: {name: e}, host: x}`), metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), `conversion webhook for net.example.com/v2, Kind=Host failed: no`) {
		t.Errorf("refused: %v", err)
	}
}

// Objects that are stored in another version are served again once the webhook answers, however long it did not.
func TestSilentWebhook(t *testing.T) {
	h := &hook{}
	server := httptest.NewTLSServer(h)
	defer server.Close()
	bundle := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	api := apitest.Start(t)
	c := client(t, api.Config)
	ctx := context.Background()
	definition := define(t, c, fmt.Sprintf(hosts, fmt.Sprintf(`{strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {url: %q, caBundle: %q}}}`, server.URL, bundle)))
	if _, err := c.Resource(hostsV1).Namespace("default").Create(ctx, parse(t, `{apiVersion: net.example.com/v1, kind: Host, metadata: {name: a, labels: {a: b}}, address: "x:1"}`), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	refuse := func(why string) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.refuses = why
	}
	refuse("not now")
	versions, _, _ := unstructured.NestedSlice(definition.Object, "spec", "versions")
	versions[0].(map[string]any)["storage"], versions[1].(map[string]any)["storage"] = false, true
	if err := unstructured.SetNestedSlice(definition.Object, versions, "spec", "versions"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Resource(definitions).Update(ctx, definition, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the list is refused", func() bool {
		_, err := c.Resource(hostsV2).List(ctx, metav1.ListOptions{})
		return err != nil && strings.Contains(err.Error(), "not now")
	})
	refuse("")
	list, err := c.Resource(hostsV2).List(ctx, metav1.ListOptions{LabelSelector: "a=b"})
	if err != nil || len(list.Items) != 1 || list.Items[0].Object["port"] != "1" {
		t.Errorf("%v, %v", list, err)
	}
}

// Objects that were stored in another version than is stored now are still read, from versions that are no longer served
// too, and by conversion None only change their name.
func TestStoredVersionChanges(t *testing.T) {
	api := apitest.Start(t)
	c := client(t, api.Config)
	ctx := context.Background()
	definition := define(t, c, fmt.Sprintf(hosts, `{strategy: None}`))
	if _, err := c.Resource(hostsV1).Namespace("default").Create(ctx, parse(t, `{apiVersion: net.example.com/v1, kind: Host, metadata: {name: a}, address: x}`), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	versions, _, _ := unstructured.NestedSlice(definition.Object, "spec", "versions")
	versions[0].(map[string]any)["storage"], versions[0].(map[string]any)["served"] = false, false
	versions[1].(map[string]any)["storage"] = true
	if err := unstructured.SetNestedSlice(definition.Object, versions, "spec", "versions"); err != nil {
		t.Fatal(err)
	}
	definition, err := c.Resource(definitions).Update(ctx, definition, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if stored, _, _ := unstructured.NestedStringSlice(definition.Object, "status", "storedVersions"); fmt.Sprint(stored) != "[v1 v2]" {
		t.Errorf("stored versions: %v", stored)
	}
	eventually(t, "v1 is no longer served", func() bool {
		code, _, _ := request(t, api, "GET", "/apis/net.example.com/v1/hosts", "", "")
		return code == http.StatusNotFound
	})
	got, err := c.Resource(hostsV2).Namespace("default").Get(ctx, "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.GetAPIVersion() != "net.example.com/v2" || got.Object["address"] != nil {
		t.Errorf("as v2: %v", got.Object)
	}
}
