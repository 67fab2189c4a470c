package hostile

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	"k8s.io/apimachinery/pkg/api/meta"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/skiff-project/skiff/apiserver/apitest"
	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/all"
)

// caller sends requests as an administrator.
type caller struct {
	api  *apitest.Server
	http *http.Client
}

func start(t testing.TB) *caller {
	api := apitest.Start(t)
	client, err := rest.HTTPClientFor(api.Config)
	if err != nil {
		t.Fatal(err)
	}
	c := &caller{api, client}
	// Pods need one, and no controller makes it here.
	if code := c.send(t, "POST", "/api/v1/namespaces/default/serviceaccounts", "application/json", []byte(`{"metadata":{"name":"default"}}`)); code != http.StatusCreated {
		t.Fatalf("service account: %d", code)
	}
	return c
}

// send fails the test if the answer blames the server. What upstream's libraries say without a reason of their own comes
// with a 500 there, too (patches, mostly), and is let pass.
func (c *caller) send(t testing.TB, method, path, contentType string, body []byte) int {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, c.api.URL+path, bytes.NewReader(body))
	if err != nil {
		return 0 // not even a request
	}
	r.Header.Set("Content-Type", contentType)
	resp, err := c.http.Do(r)
	if err != nil {
		t.Errorf("%s %s %q: %v", method, path, body, err)
		return 0
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(resp.Body)
	library := method == http.MethodPatch && resp.StatusCode == http.StatusInternalServerError && !bytes.Contains(answer, []byte(`"reason"`))
	if resp.StatusCode >= 500 && resp.StatusCode != http.StatusGatewayTimeout && !library {
		t.Errorf("%s %s %s %.3000q: %d %s", method, path, contentType, body, resp.StatusCode, answer)
	}
	return resp.StatusCode
}

// door is a place where objects of a kind are made.
type door struct {
	kind    *kinds.Kind
	version *kinds.Version
	path    string
}

// doors are those of every version of every kind.
func doors() (out []door) {
	for _, k := range all.All {
		if k.Internal {
			continue
		}
		for i := range k.Served {
			v := &k.Served[i]
			path := "/api/" + v.GVK.Version
			if v.GVK.Group != "" {
				path = "/apis/" + v.GVK.Group + "/" + v.GVK.Version
			}
			if k.Scope == kinds.Namespaced {
				path += "/namespaces/default"
			}
			out = append(out, door{k, v, path + "/" + k.Resource})
		}
	}
	return out
}

var media = []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}

// FuzzBodies: no body, of any format, for any kind, is the server's mistake.
func FuzzBodies(f *testing.F) {
	c, doors := start(f), doors()
	for i, d := range doors {
		f.Add([]byte(fmt.Sprintf(`{"kind":%q,"apiVersion":%q,"metadata":{"name":"x","namespace":"default"},"spec":{},"status":{}}`, d.version.GVK.Kind, d.version.GVK.GroupVersion())), uint16(i), uint8(0))
		f.Add([]byte(`{"metadata":{"name":"x"},"spec":null,"data":[]}`), uint16(i), uint8(1))
	}
	for _, seed := range [][]byte{nil, []byte("k8s\x00"), []byte("k8s\x00\x0a\x05\x0a\x01v\x12\x00"), []byte("---\n---\n"), []byte(strings.Repeat(`{"spec":`, 5000)), []byte(strings.Repeat("[", 9999)), []byte("a: " + strings.Repeat("[", 9999))} {
		for m := range media {
			f.Add(seed, uint16(0), uint8(m))
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, which uint16, format uint8) {
		d := doors[int(which)%len(doors)]
		c.send(t, "POST", d.path+"?dryRun=All&fieldValidation=Strict", media[int(format)%len(media)], body)
	})
}

// examples are objects to change; what a change may do is checked by other code than what a new object may be.
var examples = map[string]string{
	"/api/v1/namespaces/default/pods":                   `{"metadata":{"name":"x"},"spec":{"containers":[{"name":"c","image":"i"}],"automountServiceAccountToken":false}}`,
	"/api/v1/namespaces/default/services":               `{"metadata":{"name":"x"},"spec":{"ports":[{"port":1}],"selector":{"a":"b"}}}`,
	"/api/v1/namespaces/default/configmaps":             `{"metadata":{"name":"x"},"data":{"a":"b"}}`,
	"/api/v1/namespaces/default/secrets":                `{"metadata":{"name":"x"},"data":{"a":"Yg=="}}`,
	"/api/v1/namespaces/default/persistentvolumeclaims": `{"metadata":{"name":"x"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}`,
	"/api/v1/namespaces/default/resourcequotas":         `{"metadata":{"name":"x"},"spec":{"hard":{"count/jobs.batch":"5"}}}`,
	"/api/v1/nodes":                                                    `{"metadata":{"name":"x"}}`,
	"/api/v1/persistentvolumes":                                        `{"metadata":{"name":"x"},"spec":{"capacity":{"storage":"1Gi"},"accessModes":["ReadWriteOnce"],"hostPath":{"path":"/x"}}}`,
	"/apis/apps/v1/namespaces/default/deployments":                     `{"metadata":{"name":"x"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}`,
	"/apis/apps/v1/namespaces/default/statefulsets":                    `{"metadata":{"name":"x"},"spec":{"serviceName":"x","selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}`,
	"/apis/apps/v1/namespaces/default/daemonsets":                      `{"metadata":{"name":"x"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}`,
	"/apis/batch/v1/namespaces/default/jobs":                           `{"metadata":{"name":"x"},"spec":{"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i"}]}}}}`,
	"/apis/batch/v1/namespaces/default/cronjobs":                       `{"metadata":{"name":"x"},"spec":{"schedule":"* * * * *","jobTemplate":{"spec":{"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i"}]}}}}}}`,
	"/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers": `{"metadata":{"name":"x"},"spec":{"maxReplicas":2,"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"x"}}}`,
	"/apis/policy/v1/namespaces/default/poddisruptionbudgets":          `{"metadata":{"name":"x"},"spec":{"minAvailable":1,"selector":{"matchLabels":{"a":"b"}}}}`,
	"/apis/networking.k8s.io/v1/namespaces/default/ingresses":          `{"metadata":{"name":"x"},"spec":{"defaultBackend":{"service":{"name":"s","port":{"number":1}}}}}`,
	"/apis/networking.k8s.io/v1/namespaces/default/networkpolicies":    `{"metadata":{"name":"x"},"spec":{"podSelector":{}}}`,
	"/apis/discovery.k8s.io/v1/namespaces/default/endpointslices":      `{"metadata":{"name":"x"},"addressType":"IPv4","endpoints":[]}`,
	"/apis/storage.k8s.io/v1/storageclasses":                           `{"metadata":{"name":"x"},"provisioner":"example.com/x"}`,
	"/apis/coordination.k8s.io/v1/namespaces/default/leases":           `{"metadata":{"name":"x"},"spec":{"holderIdentity":"a"}}`,
	"/apis/rbac.authorization.k8s.io/v1/clusterroles":                  `{"metadata":{"name":"x"},"rules":[]}`,
	"/apis/scheduling.k8s.io/v1/priorityclasses":                       `{"metadata":{"name":"x"},"value":5}`,
}

// TestRandomObjects sends objects of every kind with random fields, well-formed and senseless, as new ones and in the
// place of sensible ones: what decodes must be defaulted, converted, compared and refused without a panic.
func TestRandomObjects(t *testing.T) {
	c := start(t)
	for path, body := range examples {
		if code := c.send(t, "POST", path, "application/json", []byte(body)); code != http.StatusCreated {
			t.Errorf("%s: %d", path, code)
		}
	}
	for i, d := range doors() {
		for n := range 12 {
			c.random(t, d, int64(i*1000+n))
		}
	}
}

// FuzzObjects is TestRandomObjects for as long as one likes.
func FuzzObjects(f *testing.F) {
	c, doors := start(f), doors()
	for path, body := range examples {
		c.send(f, "POST", path, "application/json", []byte(body))
	}
	f.Add(int64(1), uint16(3))
	f.Fuzz(func(t *testing.T, seed int64, which uint16) { c.random(t, doors[int(which)%len(doors)], seed) })
}

// random makes one object from a seed and sends it in both formats.
func (c *caller) random(t testing.TB, d door, seed int64) {
	t.Helper()
	obj, err := scheme.Scheme.New(d.version.GVK)
	if err != nil {
		return // extensions of the API bring types of their own
	}
	// Half of the objects have nearly everything set, the others little: what is empty is a case, too.
	filler := fuzzer.FuzzerFor(metafuzzer.Funcs, rand.NewSource(seed), serializer.NewCodecFactory(scheme.Scheme)).NilChance(float64(uint64(seed)%4)/4).NumElements(0, 3).MaxDepth(12)
	filler.Fill(obj)
	m, err := meta.Accessor(obj)
	if err != nil {
		return
	}
	m.SetName("x")
	m.SetGenerateName("")
	m.SetNamespace("")
	m.SetResourceVersion("")
	m.SetManagedFields(nil)
	if d.kind.Scope == kinds.Namespaced {
		m.SetNamespace(metav1.NamespaceDefault)
	}
	obj.GetObjectKind().SetGroupVersionKind(d.version.GVK)
	body, err := json.Marshal(obj)
	if err != nil {
		return
	}
	info, ok := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	var proto bytes.Buffer
	if !ok || scheme.Codecs.EncoderForVersion(info.Serializer, d.version.GVK.GroupVersion()).Encode(obj, &proto) != nil {
		return
	}
	for _, b := range []struct {
		media string
		body  []byte
	}{{"application/json", body}, {"application/vnd.kubernetes.protobuf", proto.Bytes()}} {
		c.send(t, "POST", d.path+"?dryRun=All", b.media, b.body)
		if d.kind.Virtual {
			continue
		}
		c.send(t, "PUT", d.path+"/x?dryRun=All", b.media, b.body)
		for name := range d.kind.Subresources {
			if name == "status" || name == "scale" || name == "approval" || name == "resize" || name == "ephemeralcontainers" {
				c.send(t, "PUT", d.path+"/x/"+name+"?dryRun=All", b.media, b.body)
			}
		}
		if b.media == "application/json" {
			c.send(t, "PATCH", d.path+"/x?dryRun=All", "application/merge-patch+json", b.body)
			c.send(t, "PATCH", d.path+"/x?dryRun=All", "application/strategic-merge-patch+json", b.body)
			c.send(t, "PATCH", d.path+"/x?dryRun=All&fieldManager=f&force=true", "application/apply-patch+yaml", b.body)
		}
	}
}

// FuzzTokens: no token is more than refused.
func FuzzTokens(f *testing.F) {
	api := apitest.Start(f)
	client, err := rest.HTTPClientFor(api.Anonymous())
	if err != nil {
		f.Fatal(err)
	}
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	const issuer = `"iss":"https://kubernetes.default.svc.cluster.local"`
	for _, seed := range []string{"", "a.b", "abcdef.0123456789abcdef", "..", part(`{"alg":"none"}`) + "." + part("{"+issuer+"}") + ".",
		part(`{"alg":"RS256","kid":"x"}`) + "." + part("{"+issuer+`,"aud":5,"exp":"x"}`) + "." + part("x"),
		part(`{"alg":"RS256"}`) + "." + part(`{"iss":"kubernetes/serviceaccount"}`) + ".AA", part(strings.Repeat("[", 20000)) + ".." + "a", "é.è.ê"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		r, err := http.NewRequest("GET", api.URL+"/api/v1/namespaces/default/pods", nil)
		if err != nil {
			t.Fatal(err)
		}
		if strings.ContainsFunc(token, func(c rune) bool { return c < ' ' || c > '~' }) {
			return // no header
		}
		r.Header.Set("Authorization", "Bearer "+token)
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		// Without a token one is anonymous, and may not.
		if resp.StatusCode != http.StatusUnauthorized && (resp.StatusCode != http.StatusForbidden || strings.TrimSpace(token) != "") {
			t.Errorf("%q: %d", token, resp.StatusCode)
		}
	})
}

// FuzzCSR: no request for a certificate is more than refused.
func FuzzCSR(f *testing.F) {
	c := start(f)
	for _, seed := range []string{"", "x", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
		"-----BEGIN CERTIFICATE REQUEST-----\nMIHPMHUCAQAwEzERMA8GA1UEAxMIc3lzdGVtOngwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQ=\n-----END CERTIFICATE REQUEST-----\n"} {
		for signer := range 3 {
			f.Add([]byte(seed), uint8(signer))
		}
	}
	signers := []string{"kubernetes.io/kube-apiserver-client", "kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving"}
	f.Fuzz(func(t *testing.T, request []byte, signer uint8) {
		body, err := json.Marshal(map[string]any{"metadata": map[string]string{"name": "x"}, "spec": map[string]any{
			"request": request, "signerName": signers[int(signer)%3], "usages": []string{"client auth", "digital signature"}}})
		if err != nil {
			t.Fatal(err)
		}
		c.send(t, "POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests?dryRun=All", "application/json", body)
	})
}

// FuzzHeaders: no header of an otherwise good list is more than a 4xx.
func FuzzHeaders(f *testing.F) {
	c := start(f)
	for _, seed := range []string{"*/*", "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=Table;v=v9;g=x", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
		"application/cbor", "application/vnd.kubernetes.protobuf;stream=watch", "a/b;q=2,;;", "text/html", ";", "application/json;as=;v=;g="} {
		f.Add(seed, "gzip;q=x", "includeObject=Object")
	}
	f.Fuzz(func(t *testing.T, accept, encoding, query string) {
		r, err := http.NewRequest("GET", c.api.URL+"/api/v1/namespaces?"+query, nil)
		if err != nil || r.URL.Query().Has("watch") || strings.ContainsFunc(accept+encoding, func(c rune) bool { return c < ' ' || c > '~' }) {
			return
		}
		r.Header.Set("Accept", accept)
		r.Header.Set("Accept-Encoding", encoding)
		r.Header.Set("Impersonate-Extra-"+"x", encoding)
		resp, err := c.http.Do(r)
		if err != nil {
			return // the client's library refuses the query
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode >= 500 && resp.StatusCode != http.StatusGatewayTimeout && !bytes.Contains(body, []byte("strconv.Parse")) {
			t.Errorf("%q %q %q: %d %s", accept, encoding, query, resp.StatusCode, body)
		}
	})
}
