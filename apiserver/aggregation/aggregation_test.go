package aggregation_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregator "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/apiserver/apitest"
)

// extension is another API server, with one kind.
func extension(t *testing.T, broken *atomic.Bool) *httptest.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("/apis/wardle.example.com/v1", func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			http.Error(w, "no", http.StatusInternalServerError)
			return
		}
		json.NewEncoder(w).Encode(metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: "wardle.example.com/v1",
			APIResources: []metav1.APIResource{{Name: "flunders", SingularName: "flunder", Kind: "Flunder", Namespaced: true, Verbs: []string{"get", "list"}}}})
	})
	mux.HandleFunc("/apis/wardle.example.com/v1/namespaces/default/flunders", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"kind":"FlunderList","apiVersion":"wardle.example.com/v1","items":[],"user":%q,"groups":%q,"token":%q,"query":%q}`,
			r.Header.Get("X-Remote-User"), strings.Join(r.Header["X-Remote-Group"], ","), r.Header.Get("Authorization"), r.URL.RawQuery)
	})
	mux.HandleFunc("/openapi/v3/apis/wardle.example.com/v1", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"openapi":"3.0.0","info":{"title":"wardle","version":"v1"},"paths":{}}`)
	})
	s := httptest.NewTLSServer(mux)
	t.Cleanup(s.Close)
	return s
}

func TestAggregation(t *testing.T) {
	api := apitest.Start(t)
	c := api.Client()
	ctx := t.Context()
	services := aggregator.NewForConfigOrDie(api.Config).ApiregistrationV1().APIServices()
	soon := func(what string, f func() error) {
		t.Helper()
		var err error
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			if err = f(); err == nil {
				return
			}
		}
		t.Fatalf("%s: %v", what, err)
	}
	condition := func(status apiregistrationv1.ConditionStatus, reason string) func() error {
		return func() error {
			s, err := services.Get(ctx, "v1.wardle.example.com", metav1.GetOptions{})
			if err != nil {
				return err
			}
			for _, c := range s.Status.Conditions {
				if c.Type == apiregistrationv1.Available && c.Status == status && c.Reason == reason {
					return nil
				}
			}
			return fmt.Errorf("conditions %+v", s.Status.Conditions)
		}
	}

	soon("own groups", func() error {
		for name, priority := range map[string]int32{"v1.": 18000, "v1.apps": 17800, "v2.autoscaling": 17500} {
			s, err := services.Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if s.Spec.GroupPriorityMinimum != priority || len(s.Status.Conditions) != 1 || s.Status.Conditions[0].Reason != "Local" {
				return fmt.Errorf("%s: %+v", name, s)
			}
		}
		return nil
	})

	var broken atomic.Bool
	other := extension(t, &broken)
	service := &apiregistrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: "v1.wardle.example.com"}, Spec: apiregistrationv1.APIServiceSpec{
		Group: "wardle.example.com", Version: "v1", GroupPriorityMinimum: 2000, VersionPriority: 200,
		Service: &apiregistrationv1.ServiceReference{Namespace: "default", Name: "wardle", Port: ptr.To[int32](7443)},
		// The certificate of httptest names example.com, not the Service.
		InsecureSkipTLSVerify: true,
	}}
	if _, err := services.Create(ctx, service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	soon("no service", condition(apiregistrationv1.ConditionFalse, "ServiceNotFound"))
	if err := get(c.Discovery().RESTClient(), "/apis/wardle.example.com/v1/namespaces/default/flunders", nil); err == nil || !strings.Contains(err.Error(), "currently unable to handle the request") {
		t.Errorf("a server that is not there: %v", err)
	}

	// An ExternalName is the one way to loopback: endpoints may not name it.
	_, port, err := net.SplitHostPort(other.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	external := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "wardle"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"}}
	if _, err := c.CoreV1().Services("default").Create(ctx, external, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	number, err := net.LookupPort("tcp", port)
	if err != nil {
		t.Fatal(err)
	}
	soon("port", func() error {
		s, err := services.Get(ctx, service.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		s.Spec.Service.Port = ptr.To(int32(number))
		_, err = services.Update(ctx, s, metav1.UpdateOptions{})
		return err
	})
	soon("available", condition(apiregistrationv1.ConditionTrue, "Passed"))

	var answer struct{ Kind, User, Groups, Token, Query string }
	if err := get(c.Discovery().RESTClient(), "/apis/wardle.example.com/v1/namespaces/default/flunders?limit=5", &answer); err != nil {
		t.Fatal(err)
	}
	if answer.Kind != "FlunderList" || answer.User != "admin" || !strings.Contains(answer.Groups, "system:masters") || answer.Token != "" || answer.Query != "limit=5" {
		t.Errorf("handed on as %+v", answer)
	}
	if err := get(api.ClientFor(api.As("nobody")).Discovery().RESTClient(), "/apis/wardle.example.com/v1/namespaces/default/flunders", nil); !apierrors.IsForbidden(err) {
		t.Errorf("without rights: %v", err)
	}

	soon("discovery", func() error {
		_, lists, err := c.Discovery().ServerGroupsAndResources()
		if err != nil {
			return err
		}
		for _, l := range lists {
			if l.GroupVersion == "wardle.example.com/v1" && len(l.APIResources) == 1 && l.APIResources[0].Kind == "Flunder" {
				return nil
			}
		}
		return fmt.Errorf("flunders are not in discovery")
	})
	var document struct {
		Info struct{ Title string }
	}
	soon("OpenAPI", func() error {
		err := get(c.Discovery().RESTClient(), "/openapi/v3/apis/wardle.example.com/v1", &document)
		if err == nil && document.Info.Title != "wardle" {
			err = fmt.Errorf("%+v", document)
		}
		return err
	})

	broken.Store(true)
	// It is asked again within half a minute; a change of the APIService has it asked at once.
	soon("asked again", func() error {
		s, err := services.Get(ctx, service.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		s.Spec.VersionPriority++
		_, err = services.Update(ctx, s, metav1.UpdateOptions{})
		return err
	})
	soon("unavailable", condition(apiregistrationv1.ConditionFalse, "FailedDiscoveryCheck"))

	if err := services.Delete(ctx, service.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	soon("gone from discovery", func() error {
		groups, err := c.Discovery().ServerGroups()
		if err != nil {
			return err
		}
		for _, g := range groups.Groups {
			if g.Name == "wardle.example.com" {
				return fmt.Errorf("still there")
			}
		}
		return nil
	})
}

func get(c rest.Interface, path string, into any) error {
	path, query, _ := strings.Cut(path, "?")
	r := c.Get().AbsPath(path)
	if name, value, ok := strings.Cut(query, "="); ok {
		r = r.Param(name, value)
	}
	body, err := r.DoRaw(context.Background())
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal(body, into)
}
