package watchcache

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/apiserver/storage"
)

func TestAWriteIsReadAtOnce(t *testing.T) {
	s := one(t)
	for i := range 200 {
		pod := aPod("ns", fmt.Sprintf("p%d", i))
		rev := s.create(pod)
		o, err := s.pods.Get(testContext(t), "ns", pod.Name, Latest)
		if err != nil || o.Revision != rev {
			t.Fatalf("read %+v, %v after a write at %d", o, err, rev)
		}
		if rev = s.remove(pod); i%2 == 0 {
			continue
		}
		if _, err := s.pods.Get(testContext(t), "ns", pod.Name, Latest); !errors.Is(err, storage.ErrNotFound) {
			t.Fatalf("read after the deletion at %d: %v", rev, err)
		}
	}
}

func TestForeignKeysDoNotStallReads(t *testing.T) {
	e := startEtcd(t)
	s := serve(t, e.Client)
	s.create(aPod("ns", "a"))
	for range 5 {
		if _, err := e.Client.Put(testContext(t), "compact_rev_key", "1"); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if got := names(s.list(ListOptions{}).Items); got != "a" {
			t.Fatal(got)
		}
		took := time.Since(began)
		if t.Logf("%s", took); took > 2*time.Second {
			t.Fatal("a change outside our prefix holds up reads")
		}
	}
}

func TestSelections(t *testing.T) {
	s := one(t)
	s.create(aPod("a", "one", label("app", "web"), on("n1")))
	s.create(aPod("a", "two", label("app", "db"), on("n2")))
	s.create(aPod("ab", "three", label("app", "web"), on("n1")))
	s.create(aPod("b", "one", label("app", "web")))
	for _, c := range []struct {
		name string
		opts ListOptions
		want string
	}{
		{"everything, in the order of keys", ListOptions{}, "one two three one"},
		{"a namespace, not one whose name it begins", ListOptions{Namespace: "a"}, "one two"},
		{"an unknown namespace", ListOptions{Namespace: "none"}, ""},
		{"labels", ListOptions{Labels: selector(t, "app=web")}, "one three one"},
		{"labels in a namespace", ListOptions{Namespace: "a", Labels: selector(t, "app in (web)")}, "one"},
		{"an indexed field", ListOptions{Fields: fieldSelector(t, "spec.nodeName=n1")}, "one three"},
		{"an indexed field that is empty", ListOptions{Fields: fieldSelector(t, "spec.nodeName=")}, "one"},
		{"an indexed field in a namespace", ListOptions{Namespace: "ab", Fields: fieldSelector(t, "spec.nodeName=n1")}, "three"},
		{"another value of an indexed field", ListOptions{Fields: fieldSelector(t, "spec.nodeName!=n1")}, "two one"},
		{"an indexed field and labels", ListOptions{Fields: fieldSelector(t, "spec.nodeName=n2"), Labels: selector(t, "app=web")}, ""},
		{"a name in a namespace", ListOptions{Namespace: "a", Name: "two"}, "two"},
		{"a name everywhere", ListOptions{Name: "one"}, "one one"},
		{"a name by a field", ListOptions{Fields: fieldSelector(t, "metadata.name=one,metadata.namespace=b")}, "one"},
		{"what the server knows", ListOptions{Cached: true}, "one two three one"},
	} {
		if got := names(s.list(c.opts).Items); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestPagesAreOfOneRevision(t *testing.T) {
	s := one(t)
	for i := range 10 {
		s.create(aPod("ns", fmt.Sprintf("p%d", i)))
		s.create(aPod("other", fmt.Sprintf("q%d", i)))
	}
	other := serve(t, startSibling(s)) // a server that has not begun the list
	for _, reader := range []*server{s, other} {
		if err := reader.hub.Ready(testContext(t)); err != nil {
			t.Fatal(err)
		}
	}
	for _, reader := range []*server{s, other} {
		first := s.list(ListOptions{Namespace: "ns", Limit: 4})
		if *first.Remaining != 6 || names(first.Items) != "p0 p1 p2 p3" {
			t.Fatalf("%s, %d remain", names(first.Items), *first.Remaining)
		}
		s.remove(aPod("ns", "p5"))
		s.remove(aPod("ns", "p2"))
		s.put(aPod("ns", "p6", note("changed")))
		s.create(aPod("ns", "p55"))
		second := reader.list(ListOptions{Namespace: "ns", Limit: 4, Continue: first.Continue})
		if *second.Remaining != 2 || names(second.Items) != "p4 p5 p6 p7" || second.Revision != first.Revision {
			t.Fatalf("%s at %d, %d remain", names(second.Items), second.Revision, *second.Remaining)
		}
		last := reader.list(ListOptions{Namespace: "ns", Continue: second.Continue})
		if last.Remaining != nil || last.Continue != "" || names(last.Items) != "p8 p9" {
			t.Fatalf("%s", names(last.Items))
		}
		s.remove(aPod("ns", "p55"))
		s.create(aPod("ns", "p5"))
		s.create(aPod("ns", "p2"))
	}
}

func TestRemainingIsNotSaidWithSelectors(t *testing.T) {
	s := one(t)
	for i := range 6 {
		s.create(aPod("ns", fmt.Sprintf("p%d", i), label("odd", fmt.Sprint(i%2))))
	}
	l := s.list(ListOptions{Limit: 2, Labels: selector(t, "odd=1")})
	if l.Remaining != nil || l.Continue == "" || names(l.Items) != "p1 p3" {
		t.Fatalf("%+v", l)
	}
	if l = s.list(ListOptions{Limit: 2, Labels: selector(t, "odd=1"), Continue: l.Continue}); l.Continue != "" || names(l.Items) != "p5" {
		t.Fatalf("%+v", l)
	}
}

func TestExactRevisions(t *testing.T) {
	s := one(t)
	a := s.create(aPod("ns", "a"))
	b := s.create(aPod("ns", "b", on("n1")))
	s.put(aPod("ns", "b", on("n2")))
	gone := s.remove(aPod("ns", "a"))
	restarted := serve(t, startSibling(s)) // knows nothing of the past and asks etcd
	for who, reader := range map[string]*server{"the server": s, "another server": restarted} {
		for _, c := range []struct {
			revision int64
			fields   string
			want     string
		}{{a, "", "a"}, {b, "", "a b"}, {b, "spec.nodeName=n1", "b"}, {b, "spec.nodeName=n2", ""}, {gone, "", "b"}, {gone - 1, "spec.nodeName=n2", "b"}} {
			l := reader.list(ListOptions{ResourceVersion: fmt.Sprint(c.revision), Match: metav1.ResourceVersionMatchExact,
				Fields: fieldSelector(t, c.fields)})
			if names(l.Items) != c.want || l.Revision != c.revision {
				t.Errorf("%s at %d with %q: got %q at %d, want %q", who, c.revision, c.fields, names(l.Items), l.Revision, c.want)
			}
		}
		limited := reader.list(ListOptions{ResourceVersion: fmt.Sprint(b), Limit: 1})
		if names(limited.Items) != "a" || limited.Revision != b || *limited.Remaining != 1 {
			t.Errorf("%s: a limit with a revision means exactly that revision, got %+v", who, limited)
		}
	}
}

func TestRevisionsOfTheFuture(t *testing.T) {
	s := one(t)
	rev := s.create(aPod("ns", "a"))
	_, err := s.pods.List(testContext(t), ListOptions{ResourceVersion: fmt.Sprint(rev + 1000), Match: metav1.ResourceVersionMatchExact})
	if !apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge) {
		t.Errorf("exact: %v", err)
	}
	began := time.Now()
	_, err = s.pods.Get(testContext(t), "ns", "a", Fresh(rev+1000))
	if want := fmt.Sprintf("Timeout: Too large resource version: %d, current: %d", rev+1000, rev); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if took := time.Since(began); took < futureWait {
		t.Errorf("gave up after %s", took)
	}
	go func() {
		time.Sleep(50 * time.Millisecond)
		s.create(aPod("ns", "b"))
	}()
	if l := s.list(ListOptions{ResourceVersion: fmt.Sprint(rev + 1), Match: metav1.ResourceVersionMatchNotOlderThan}); names(l.Items) != "a b" {
		t.Errorf("a revision that comes soon is waited for, got %q", names(l.Items))
	}
}

func TestBadOptionsAreWordedAsUpstream(t *testing.T) {
	s := one(t)
	s.create(aPod("ns", "a"))
	s.create(aPod("ns", "b"))
	token := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	good := s.list(ListOptions{Limit: 1}).Continue
	for _, c := range []struct {
		opts ListOptions
		want string
	}{
		{ListOptions{ResourceVersion: "-1"}, `invalid resource version: resourceVersion: Invalid value: "-1": strconv.ParseUint: parsing "-1": invalid syntax`},
		{ListOptions{Continue: "abc", ResourceVersion: "1"}, `invalid continue token: continue key is not valid: invalid character 'i' looking for beginning of value`},
		{ListOptions{Continue: "{limit}"}, `invalid continue token: continue key is not valid: illegal base64 data at input byte 0`},
		{ListOptions{Continue: good, ResourceVersion: "5"}, `specifying resource version is not allowed when using continue`},
		{ListOptions{Continue: token(`{"v":"meta.k8s.io/v2","rv":1,"start":"a"}`)}, `invalid continue token: continue key is not valid: server does not recognize this encoded version meta.k8s.io/v2`},
		{ListOptions{Continue: token(`{"v":"meta.k8s.io/v1","rv":0,"start":"a"}`)}, `invalid continue token: continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)`},
		{ListOptions{Continue: token(`{"v":"meta.k8s.io/v1","rv":3}`)}, `invalid continue token: continue key is not valid: encoded start key empty (version meta.k8s.io/v1)`},
		{ListOptions{Continue: token(`{"v":"meta.k8s.io/v1","rv":3,"start":"../secrets/x"}`)}, `invalid continue token: continue key is not valid: ../secrets/x`},
	} {
		_, err := s.pods.List(testContext(t), c.opts)
		if !apierrors.IsBadRequest(err) || err.Error() != c.want {
			t.Errorf("%+v: got %v, want %s", c.opts, err, c.want)
		}
	}
}

func TestResourceVersionZeroIsFresh(t *testing.T) {
	s := one(t)
	rev := s.create(aPod("ns", "a"))
	restarted := serve(t, startSibling(s))
	l := restarted.list(ListOptions{ResourceVersion: "0", Limit: 1})
	if names(l.Items) != "a" || l.Revision < rev {
		t.Fatalf("%q at %d after a write at %d", names(l.Items), l.Revision, rev)
	}
	s.create(aPod("ns", "b"))
	if l := restarted.list(ListOptions{ResourceVersion: "0", Limit: 1}); names(l.Items) != "a b" || l.Continue != "" {
		t.Fatalf("%q", names(l.Items))
	}
}

func TestCompactionExpiresPages(t *testing.T) {
	e := startEtcd(t)
	s := serve(t, e.Client)
	for i := range 5 {
		s.create(aPod("ns", fmt.Sprintf("p%d", i)))
	}
	first := s.list(ListOptions{Namespace: "ns", Limit: 2})
	s.create(aPod("ns", "p33"))
	s.remove(aPod("ns", "p4"))
	restarted := serve(t, e.Client)
	restarted.list(ListOptions{})
	if _, err := e.Client.Compact(testContext(t), restarted.hub.Revision()); err != nil {
		t.Fatal(err)
	}
	_, err := restarted.pods.List(testContext(t), ListOptions{Namespace: "ns", Limit: 2, Continue: first.Continue})
	if !apierrors.IsResourceExpired(err) || !strings.HasPrefix(err.Error(), "The provided continue parameter is too old") {
		t.Fatal(err)
	}
	status := apierrors.APIStatus(nil)
	errors.As(err, &status)
	rest := restarted.list(ListOptions{Namespace: "ns", Continue: status.Status().Continue})
	if names(rest.Items) != "p2 p3 p33" {
		t.Fatalf("the inconsistent rest: %q", names(rest.Items))
	}
	_, err = restarted.pods.List(testContext(t), ListOptions{ResourceVersion: fmt.Sprint(first.Revision), Match: metav1.ResourceVersionMatchExact})
	if !apierrors.IsResourceExpired(err) || err.Error() != "The resourceVersion for the provided list is too old." {
		t.Fatal(err)
	}
}

func TestCompactionExpiresWhatIsStillAtHand(t *testing.T) {
	e := startEtcd(t)
	s := serve(t, e.Client)
	s.create(aPod("ns", "a"))
	s.create(aPod("ns", "b"))
	first := s.list(ListOptions{Limit: 1})
	compactor := storage.NewCompactor(s.store, 20*time.Millisecond, nil)
	go func() { _ = compactor.Run(testContext(t)) }()
	for deadline := time.Now().Add(10 * time.Second); ; {
		// The cluster lives on meanwhile, or there is nothing to compact.
		s.put(aPod("ns", "b", note(time.Now().String())))
		_, err := s.pods.List(testContext(t), ListOptions{Limit: 1, Continue: first.Continue})
		if apierrors.IsResourceExpired(err) {
			return
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("a page never expires: %v", err)
		}
	}
}

func TestBrokenObjectsAreNotHidden(t *testing.T) {
	s := one(t)
	s.create(aPod("ns", "a"))
	if _, err := s.store.Create(testContext(t), "/registry/pods/ns/b", []byte("not a pod"), 0); err != nil {
		t.Fatal(err)
	}
	s.create(aPod("zz", "c"))
	if _, err := s.pods.List(testContext(t), ListOptions{Labels: selector(t, "app=web")}); err == nil {
		t.Error("a list passed over an object that cannot be read")
	}
	if _, err := s.pods.Get(testContext(t), "ns", "b", Latest); err == nil || errors.Is(err, storage.ErrNotFound) {
		t.Errorf("get: %v", err)
	}
	if got := names(s.list(ListOptions{Namespace: "zz"}).Items); got != "c" {
		t.Errorf("another namespace: %q", got)
	}
	s.remove(aPod("ns", "b"))
	if got := names(s.list(ListOptions{}).Items); got != "a c" {
		t.Errorf("after its deletion: %q", got)
	}
}

func TestBytesAreMadeOnce(t *testing.T) {
	s := one(t)
	s.create(aPod("ns", "a", label("app", "web")))
	o := s.list(ListOptions{}).Items[0]
	before := s.codec.encodes.Load()
	var first []byte
	for range 10 {
		b, err := o.Bytes(jsonForm)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = b
		}
		if &b[0] != &first[0] {
			t.Fatal("another copy of the bytes")
		}
	}
	if _, err := o.Bytes(metaForm); err != nil {
		t.Fatal(err)
	}
	if n := s.codec.encodes.Load() - before; n != 2 {
		t.Errorf("%d encodings of two forms", n)
	}
	mine, err := o.Decoded()
	if err != nil {
		t.Fatal(err)
	}
	mine.(*corev1.Pod).Labels["app"] = "changed"
	if shared, _ := o.Shared(); shared.(*corev1.Pod).Labels["app"] != "web" {
		t.Error("a copy is not the caller's own")
	}
}

func TestUnusedFormsAreDropped(t *testing.T) {
	s := one(t)
	s.create(aPod("ns", "a"))
	o := s.list(ListOptions{}).Items[0]
	_, _ = o.Bytes(jsonForm)
	_, _ = o.Bytes(pbForm)
	now := sweeps.Add(1)
	_, _ = o.Bytes(pbForm) // used again
	if freed := s.pods.sweep(now); freed == 0 || o.encoded(jsonForm) != nil || o.encoded(pbForm) == nil {
		t.Errorf("%d bytes freed", freed)
	}
}

func TestFormsArePackedAndServedAsTheyWere(t *testing.T) {
	s := one(t)
	s.create(bigPod("a", "node"))
	o := s.list(ListOptions{}).Items[0]
	want, _ := o.Bytes(jsonForm)
	_, _ = o.Bytes(metaForm)
	before, _ := s.pods.thin(sweeps.Load()+1, true)
	after, _ := s.pods.thin(sweeps.Load()+1, false)
	if o.encoded(jsonForm) != nil || o.Has(jsonForm) || after >= before {
		t.Errorf("%d bytes of encodings, packed %d", before, after)
	}
	encodes := s.codec.encodes.Load()
	for range 2 {
		got, err := o.Bytes(jsonForm)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%s, %v", got, err)
		}
	}
	if n := s.codec.encodes.Load() - encodes; n != 0 || !o.Has(jsonForm) {
		t.Errorf("encoded %d times again", n)
	}
	_, _ = s.pods.thin(sweeps.Load()+1, false)
	if s.pods.sweep(sweeps.Load() + 1); o.forms.Load() != nil {
		t.Error("what is packed is kept for ever")
	}
}

func TestReplacedObjectsLoseTheirForms(t *testing.T) {
	now := time.Now()
	s := one(t, func(c *Config) { c.clock = func() time.Time { return now } })
	rev := s.create(aPod("ns", "a"))
	w := s.watch(WatchOptions{ResourceVersion: fmt.Sprint(rev)})
	old := s.list(ListOptions{}).Items[0]
	_, _ = old.Bytes(jsonForm)
	s.put(aPod("ns", "a", note("new")))
	fresh := s.list(ListOptions{}).Items[0]
	_, _ = fresh.Bytes(jsonForm)
	if s.pods.retire() != 0 || old.encoded(jsonForm) == nil {
		t.Error("watchers that are a moment behind need the encoding")
	}
	now = now.Add(retireAge + time.Second)
	if s.pods.retire() == 0 || old.encoded(jsonForm) != nil || fresh.encoded(jsonForm) == nil {
		t.Error("a replaced object keeps its encodings, or a current one does not")
	}
	w.want("MODIFIED a")
	if _, err := old.Bytes(jsonForm); err != nil {
		t.Error(err)
	}
}

func TestAnnouncedWritesAreServedAsTheyAre(t *testing.T) {
	s := one(t)
	s.list(ListOptions{})
	decodes := s.codec.decodes.Load()
	for i := range 100 {
		pod := aPod("ns", fmt.Sprintf("p%d", i), label("app", "web"))
		stored := marshal(t, pod)
		p := s.pods.Prepare(key(pod), stored, pod)
		rev, err := s.store.Create(testContext(t), key(pod), stored, 0)
		if err != nil {
			t.Fatal(err)
		}
		answered := p.Done(rev)
		p.Drop()
		served, err := s.pods.Get(testContext(t), "ns", pod.Name, Latest)
		if err != nil || served != answered || answered.Revision != rev {
			t.Fatalf("answered %+v, serves %+v, %v", answered, served, err)
		}
		if shared, _ := served.Shared(); shared.(*corev1.Pod).ResourceVersion != fmt.Sprint(rev) {
			t.Fatalf("it says resourceVersion %s at %d", shared.(*corev1.Pod).ResourceVersion, rev)
		}
	}
	// Once each, for Shared above, and a few again when the garbage collector came between.
	if n := s.codec.decodes.Load() - decodes; n > 120 {
		t.Errorf("100 announced writes were decoded %d times", n)
	}
	if n := s.pods.pending.count.Load(); n != 0 {
		t.Errorf("%d announced writes are still waited for", n)
	}
	failed := s.pods.Prepare("/registry/pods/ns/p0", []byte("x"), aPod("ns", "p0"))
	failed.Drop()
	if n := s.pods.pending.count.Load(); n != 0 {
		t.Errorf("%d announced writes are waited for after a refusal", n)
	}
}

func TestTwoWritesOfTheSameBytes(t *testing.T) {
	s := one(t)
	pod := aPod("ns", "a")
	stored := marshal(t, pod)
	first := s.pods.Prepare(key(pod), stored, pod)
	second := s.pods.Prepare(key(pod), stored, pod.DeepCopy())
	rev, err := s.store.Create(testContext(t), key(pod), stored, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.list(ListOptions{})
	rev2, err := s.store.Update(testContext(t), key(pod), stored, rev, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, b := first.Done(rev), second.Done(rev2)
	if a.Revision != rev || b.Revision != rev2 {
		t.Errorf("written at %d and %d, answered %d and %d", rev, rev2, a.Revision, b.Revision)
	}
	if o, _ := s.pods.Get(testContext(t), "ns", "a", Latest); o.Revision != rev2 {
		t.Errorf("serves %d", o.Revision)
	}
}
