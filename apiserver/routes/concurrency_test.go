package routes

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// TestNoUpdateIsLost lets many writers through two servers change one object at once, by patches that the server repeats
// and by updates that the client repeats.
func TestNoUpdateIsLost(t *testing.T) {
	a := start(t)
	b := another(t, a.prefix)
	a.must("POST", cms, `{"metadata":{"name":"n"},"data":{"count":"0"}}`)
	const writers, each = 6, 15
	var wg sync.WaitGroup
	for w := range writers {
		server := []*api{a, b}[w%2]
		wg.Go(func() {
			for i := range each {
				if w < writers/2 {
					got := server.do("PATCH", cms+"/n", fmt.Sprintf(`{"data":{"w%d-%d":"x"}}`, w, i), "Content-Type", "application/merge-patch+json")
					if got.code != http.StatusOK {
						t.Errorf("patch: %d %s", got.code, got.body)
					}
					continue
				}
				for {
					obj := server.must("GET", cms+"/n", "")
					n, _ := strconv.Atoi(at(obj, "data", "count").(string))
					obj["data"].(map[string]any)["count"] = strconv.Itoa(n + 1)
					got := server.do("PUT", cms+"/n", string(marshal(t, obj)))
					if got.code == http.StatusOK {
						break
					}
					if got.code != http.StatusConflict {
						t.Errorf("put: %d %s", got.code, got.body)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	for _, server := range []*api{a, b} {
		data := server.must("GET", cms+"/n", "")["data"].(map[string]any)
		if want := strconv.Itoa((writers - writers/2) * each); data["count"] != want {
			t.Errorf("count %v, want %s", data["count"], want)
		}
		if want := writers/2*each + 1; len(data) != want {
			t.Errorf("%d keys, want %d", len(data), want)
		}
	}
}

// TestOneCreatorWins: of many that create a name, through either server, by POST or by apply, exactly one makes it.
func TestOneCreatorWins(t *testing.T) {
	a := start(t)
	b := another(t, a.prefix)
	for round := range 5 {
		var made atomic.Int32
		var wg sync.WaitGroup
		for w := range 8 {
			server := []*api{a, b}[w%2]
			wg.Go(func() {
				name := fmt.Sprintf("r%d", round)
				var got answer
				if w < 4 {
					got = server.do("POST", cms, fmt.Sprintf(`{"metadata":{"name":%q},"data":{"by":"%d"}}`, name, w))
				} else {
					got = server.do("PATCH", cms+"/"+name+"?fieldManager=same", fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\n", name), "Content-Type", "application/apply-patch+yaml")
				}
				switch got.code {
				case http.StatusCreated:
					made.Add(1)
				case http.StatusConflict, http.StatusOK:
				default:
					t.Errorf("%d %s", got.code, got.body)
				}
			})
		}
		wg.Wait()
		if made.Load() != 1 {
			t.Errorf("round %d: made %d times", round, made.Load())
		}
	}
}

// TestWritesAreReadAtOnceElsewhere: what one server has acknowledged the other shows.
func TestWritesAreReadAtOnceElsewhere(t *testing.T) {
	a := start(t)
	b := another(t, a.prefix)
	for i := range 30 {
		name := fmt.Sprintf("x%d", i)
		a.must("POST", cms, fmt.Sprintf(`{"metadata":{"name":%q}}`, name))
		if got := b.do("GET", cms+"/"+name, ""); got.code != http.StatusOK {
			t.Fatalf("%s is not there: %s", name, got.body)
		}
		if got := b.do("GET", cms+"?resourceVersion=0", ""); !strings.Contains(string(got.body), `"`+name+`"`) {
			t.Fatalf("%s is not listed", name)
		}
		b.must("DELETE", cms+"/"+name, "")
		if got := a.do("GET", cms+"/"+name, ""); got.code != http.StatusNotFound {
			t.Fatalf("%s is still there", name)
		}
		// Refused by what is true now, not by what this server has seen last.
		a.must("POST", cms, fmt.Sprintf(`{"metadata":{"name":%q}}`, name))
	}
}
