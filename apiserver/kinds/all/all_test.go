package all

import (
	"encoding/json"
	"os"
	"reflect"
	"sort"
	"strings"
	"testing"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// served is every version of every kind, by "group/version/resource".
func served() map[string]*kinds.Kind {
	out := map[string]*kinds.Kind{}
	for _, k := range All {
		if k.Internal {
			continue
		}
		for _, v := range k.Served {
			out[v.GVK.GroupVersion().String()+"/"+k.Resource] = k
		}
	}
	return out
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/upstream/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func lines(t *testing.T, name string) [][]string {
	var out [][]string
	for _, line := range strings.Split(strings.TrimSpace(string(read(t, name))), "\n")[1:] {
		out = append(out, strings.Split(line, "\t"))
	}
	return out
}

func TestTheTableHasUpstreamsColumns(t *testing.T) {
	var upstream map[string][]metav1.TableColumnDefinition
	if err := json.Unmarshal(read(t, "columns.json"), &upstream); err != nil {
		t.Fatal(err)
	}
	have := served()
	for name, want := range upstream {
		k := have[name]
		if k == nil {
			t.Errorf("%s is not in the list of kinds", name)
			continue
		}
		if !reflect.DeepEqual(k.Columns, want) {
			for i := range max(len(want), len(k.Columns)) {
				var a, b metav1.TableColumnDefinition
				if i < len(want) {
					a = want[i]
				}
				if i < len(k.Columns) {
					b = k.Columns[i]
				}
				if a != b {
					t.Errorf("%s column %d:\nhave %+v\nwant %+v", name, i, b, a)
				}
			}
		}
	}
}

func TestDiscoveryShowsUpstreamsResources(t *testing.T) {
	var upstream map[string]apidiscoveryv2.APIGroupDiscoveryList
	if err := json.Unmarshal(read(t, "discovery-v2.json"), &upstream); err != nil {
		t.Fatal(err)
	}
	have := served()
	seen := map[string]bool{}
	for _, list := range upstream {
		for _, group := range list.Items {
			for _, version := range group.Versions {
				for _, want := range version.Resources {
					name := schema.GroupVersion{Group: group.Name, Version: version.Version}.String() + "/" + want.Resource
					seen[name] = true
					k := have[name]
					if k == nil {
						t.Errorf("%s is not in the list of kinds", name)
						continue
					}
					compareResource(t, name, k, want)
				}
			}
		}
	}
	for name := range have {
		if !seen[name] {
			t.Errorf("%s is not upstream's", name)
		}
	}
}

func compareResource(t *testing.T, name string, k *kinds.Kind, want apidiscoveryv2.APIResourceDiscovery) {
	t.Helper()
	equal := func(what string, have, want any) {
		t.Helper()
		if !reflect.DeepEqual(have, want) {
			t.Errorf("%s: %s: have %v, want %v", name, what, have, want)
		}
	}
	equal("singular", k.Singular, want.SingularResource)
	equal("namespaced", bool(k.Scope), want.Scope == apidiscoveryv2.ScopeNamespace)
	equal("short names", k.ShortNames, want.ShortNames)
	equal("categories", k.Categories, want.Categories)
	equal("verbs", k.Verbs, want.Verbs)
	equal("kind", k.GVK.Kind, want.ResponseKind.Kind)
	subs := map[string]bool{}
	for _, sub := range want.Subresources {
		subs[sub.Subresource] = true
		s := k.Subresources[sub.Subresource]
		if s == nil {
			t.Errorf("%s has no %s", name, sub.Subresource)
			continue
		}
		equal(sub.Subresource+" verbs", s.Verbs, sub.Verbs)
		equal(sub.Subresource+" kind", s.GVK.Kind, sub.ResponseKind.Kind)
	}
	for sub := range k.Subresources {
		if !subs[sub] {
			t.Errorf("%s: upstream has no %s", name, sub)
		}
	}
}

func TestKeysInEtcdAreUpstreams(t *testing.T) {
	byPrefix := map[string]*kinds.Kind{}
	for _, k := range All {
		if !k.Virtual {
			byPrefix[k.KeyPrefix("")] = k
		}
	}
	// Not kinds of the API: the address book of API servers, ranges of ports, and the corpus's own custom resource.
	internal := map[string]bool{"/registry/masterleases/": true, "/registry/peerserverleases/": true,
		"/registry/golden.golden.example/things/": true}
	for _, line := range lines(t, "etcd-keys.tsv") {
		key, version, kind, encoding := line[0], line[1], line[2], line[3]
		prefix := key[:strings.Index(key, "{")]
		if internal[prefix] {
			continue
		}
		k := byPrefix[prefix]
		if k == nil {
			t.Errorf("nothing is stored below %s", prefix)
			continue
		}
		if got := k.Stored.GVK.GroupVersion().String(); got != version || k.GVK.Kind != kind {
			t.Errorf("%s: have %s %s, want %s %s", prefix, got, k.GVK.Kind, version, kind)
		}
		if k.StoredJSON != (encoding == "json") {
			t.Errorf("%s: stored as JSON: %v, upstream: %s", prefix, k.StoredJSON, encoding)
		}
		if namespaced := strings.Contains(key, "{namespace}"); bool(k.Scope) != namespaced {
			t.Errorf("%s: namespaced %v", prefix, k.Scope)
		}
	}
}

func TestFieldSelectorsAreUpstreams(t *testing.T) {
	have := served()
	for _, line := range lines(t, "field-selectors.tsv") {
		name := line[1] + "/" + line[0]
		k := have[name]
		if k == nil {
			t.Errorf("%s is not in the list of kinds", name)
			continue
		}
		got := map[string]bool{}
		for _, v := range k.Served {
			if v.GVK.GroupVersion().String() == line[1] && v.FieldAliases != nil {
				for alias := range v.FieldAliases {
					got[alias] = true
				}
			} else if v.GVK.GroupVersion().String() == line[1] {
				for _, f := range k.FieldNames {
					got[f] = true
				}
			}
		}
		var names, want []string
		for f := range got {
			names = append(names, f)
		}
		for _, f := range strings.Fields(line[2]) {
			// These two belong to every kind; package registry adds them.
			if f != "metadata.name" && f != "metadata.namespace" {
				want = append(want, f)
			}
		}
		sort.Strings(names)
		sort.Strings(want)
		if strings.Join(names, " ") != strings.Join(want, " ") {
			t.Errorf("%s: have %v, want %v", name, names, want)
		}
	}
}
