package routes

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// FuzzPatch: no patch is our mistake, and none gets stuck.
func FuzzPatch(f *testing.F) {
	a := start(f)
	a.must("POST", cms, `{"metadata":{"name":"z","labels":{"a":"b"},"finalizers":["x/y"]},"data":{"k":"v"}}`)
	const pods = "/api/v1/namespaces/default/pods"
	a.must("POST", pods, `{"metadata":{"name":"z"},"spec":{"containers":[{"name":"c","image":"i"}]}}`)
	for _, seed := range []string{
		`{}`, `[]`, `null`, `5`, `{"data":{"k":null}}`, `[{"op":"add","path":"/data/x","value":"y"}]`, `[{"op":"move","from":"/data","path":"/data/a"}]`,
		`[{"op":"copy","from":"","path":"/data/a"}]`, `[{"op":"test","path":"","value":null}]`, `{"metadata":{"name":null}}`,
		`{"spec":{"containers":[{"name":"c","$patch":"delete"}]}}`, `{"$patch":"replace"}`, `{"$retainKeys":["a"]}`, `{"metadata":{"$deleteFromPrimitiveList/finalizers":[1]}}`,
		`{"spec":{"$setElementOrder/containers":[{"name":"c"}],"containers":[{}]}}`, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: z}\n", "apiVersion: v1\nkind: Pod\nmetadata: {name: z}\nspec: {containers: [{name: c}, {name: c}]}\n",
		`{"metadata":{"managedFields":[{}]}}`, `{"metadata":{"resourceVersion":"x"}}`, `[{"op":"remove","path":"/metadata"}]`, `{"kind":"Pod","apiVersion":"v9"}`,
	} {
		for typ := range 4 {
			f.Add(seed, uint8(typ), false)
			f.Add(seed, uint8(typ), true)
		}
	}
	f.Fuzz(func(t *testing.T, body string, typ uint8, toPod bool) {
		path := cms + "/z"
		if toPod {
			path = pods + "/z"
		}
		types := []string{"application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml"}
		media := types[int(typ)%len(types)]
		query := "?dryRun=All"
		if strings.Contains(media, "apply") {
			query += "&fieldManager=f&force=true"
		}
		got := (&api{TB: t, url: a.url}).do("PATCH", path+query, body, "Content-Type", media)
		// What the merge libraries say of some patches has no reason upstream either, and so comes with a 500. What has
		// the reason InternalError, or looks like Go's own words, is a mistake of ours.
		if got.code >= 500 && (got.code != 500 || strings.Contains(string(got.body), "InternalError") || strings.Contains(string(got.body), "runtime error")) {
			t.Errorf("%s %q: %d %s", media, body, got.code, got.body)
		}
	})
}

// FuzzQuery: no query of a list, a read or a deletion is our mistake.
func FuzzQuery(f *testing.F) {
	a := start(f)
	a.must("POST", cms, `{"metadata":{"name":"z"}}`)
	for _, seed := range []string{
		"", "labelSelector=a%3Db", "fieldSelector=metadata.name%3Dz", "limit=1&continue=x", "limit=-1", "resourceVersion=5&resourceVersionMatch=Exact", "resourceVersion=99999999999999999999",
		"continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJ4In0", "timeoutSeconds=1", "gracePeriodSeconds=-5", "propagationPolicy=Orphan&orphanDependents=true", "dryRun=All&dryRun=None",
		"labelSelector=%00", "fieldSelector=a%21%3Db%2Cc", "sendInitialEvents=true&watch=false", "pretty=x", "export=1", "includeObject=None", "labelSelector=a+in+(b,c),!d", "resourceVersion=-1", "limit=9223372036854775807",
		"shardSelector=x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		if values, err := url.ParseQuery(query); err != nil || values.Has("watch") || strings.ContainsAny(query, "#\x00\r\n ") {
			// A watch would not end; a query that is none is refused in front of us.
			return
		}
		if _, err := url.Parse("http://x/?" + query); err != nil {
			return
		}
		b := &api{TB: t, url: a.url}
		for _, c := range []struct{ method, path string }{{"GET", cms}, {"GET", cms + "/z"}, {"DELETE", cms + "/none"}, {"POST", cms}} {
			got := b.do(c.method, c.path+"?"+query, "{}")
			if got.code >= 500 && !strings.Contains(string(got.body), "strconv.Parse") && got.code != http.StatusGatewayTimeout {
				t.Errorf("%s %s?%s: %d %s", c.method, c.path, query, got.code, got.body)
			}
		}
	})
}
