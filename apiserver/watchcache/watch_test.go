package watchcache

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/apiserver/storage"
)

var yes, no = true, false

// readers are the two ways in which a kind is served. What a watch says must not depend on it.
func readers(s *server) map[string]Reader {
	r := pods(newCodec())
	r.Uncached = true
	return map[string]Reader{"cached": s.pods, "uncached": s.hub.Add(r)}
}

func TestSelectorTransitions(t *testing.T) {
	s := one(t)
	for name, r := range readers(s) {
		start := fmt.Sprint(s.create(aPod("ns", "bystander-"+name)))
		t.Run(name, func(t *testing.T) {
			byLabel := watchReader(t, r, WatchOptions{ResourceVersion: start, Labels: selector(t, "app=web")})
			byField := watchReader(t, r, WatchOptions{ResourceVersion: start, Namespace: "ns", Fields: fieldSelector(t, "spec.nodeName=n1")})
			byName := watchReader(t, r, WatchOptions{ResourceVersion: start, Namespace: "ns", Fields: fieldSelector(t, "metadata.name=a")})
			other := watchReader(t, r, WatchOptions{ResourceVersion: start, Namespace: "other"})
			s.create(aPod("ns", "a", label("app", "web")))
			s.put(aPod("ns", "a", label("app", "web"), on("n1")))
			s.put(aPod("ns", "a", label("app", "db"), on("n1")))
			left := s.put(aPod("ns", "a", label("app", "db"), on("n2")))
			s.put(aPod("ns", "a", label("app", "web"), on("n1")))
			gone := s.remove(aPod("ns", "a"))
			s.create(aPod("other", "x"))

			byLabel.want("ADDED a", "MODIFIED a", "DELETED a", "ADDED a", "DELETED a")
			if byLabel.rev != gone {
				t.Errorf("a deletion at %d says %d", gone, byLabel.rev)
			}
			byField.want("ADDED a", "MODIFIED a", "DELETED a")
			if byField.rev != left {
				t.Errorf("leaving a selector at %d says %d", left, byField.rev)
			}
			byField.want("ADDED a", "DELETED a")
			byName.want("ADDED a", "MODIFIED a", "MODIFIED a", "MODIFIED a", "MODIFIED a", "DELETED a")
			other.want("ADDED x")
			s.remove(aPod("other", "x"))
		})
	}
}

func TestWhatLeavesASelectorIsShownAsItWas(t *testing.T) {
	s := one(t)
	start := fmt.Sprint(s.create(aPod("ns", "a", label("app", "web"))))
	for name, r := range readers(s) {
		w, err := r.Watch(testContext(t), WatchOptions{ResourceVersion: start, Labels: selector(t, "app=web")})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		left := s.put(aPod("ns", "a", label("app", "db")))
		events, err := w.Next(testContext(t))
		if err != nil || len(events) != 1 {
			t.Fatalf("%s: %+v, %v", name, events, err)
		}
		b, err := events[0].Object.Bytes(jsonForm)
		if err != nil || !bytes.Contains(b, []byte(`"app":"web"`)) || !bytes.Contains(b, fmt.Appendf(nil, `"resourceVersion":"%d"`, left)) {
			t.Errorf("%s: %s, %v", name, b, err)
		}
		start = fmt.Sprint(s.put(aPod("ns", "a", label("app", "web"))))
	}
}

func TestWaysToBegin(t *testing.T) {
	s := one(t)
	s.list(ListOptions{})
	s.create(aPod("ns", "a", label("app", "web")))
	rev := s.create(aPod("ns", "b"))
	at := fmt.Sprint(rev)
	for name, r := range readers(s) {
		t.Run(name, func(t *testing.T) {
			begin := func(opts WatchOptions) *watching { return watchReader(t, r, opts) }
			unset := begin(WatchOptions{})
			zero := begin(WatchOptions{ResourceVersion: "0", Bookmarks: true})
			exact := begin(WatchOptions{ResourceVersion: at})
			before := begin(WatchOptions{ResourceVersion: fmt.Sprint(rev - 1)})
			initial := begin(WatchOptions{SendInitialEvents: &yes, Match: metav1.ResourceVersionMatchNotOlderThan, Bookmarks: true})
			quiet := begin(WatchOptions{SendInitialEvents: &yes, Match: metav1.ResourceVersionMatchNotOlderThan, ResourceVersion: at})
			none := begin(WatchOptions{SendInitialEvents: &no, Match: metav1.ResourceVersionMatchNotOlderThan, Bookmarks: true})
			some := begin(WatchOptions{SendInitialEvents: &yes, Bookmarks: true, Labels: selector(t, "app=web")})
			future := begin(WatchOptions{ResourceVersion: fmt.Sprint(rev + 1)})
			s.create(aPod("ns", "c"))
			s.remove(aPod("ns", "c"))
			unset.want("ADDED a", "ADDED b", "ADDED c", "DELETED c")
			zero.want("ADDED a", "ADDED b", "ADDED c", "DELETED c")
			exact.want("ADDED c", "DELETED c")
			before.want("ADDED b", "ADDED c", "DELETED c")
			initial.want("ADDED a", "ADDED b", "BOOKMARK end")
			if initial.rev < rev {
				t.Errorf("the initial state ends at %d, before %d", initial.rev, rev)
			}
			initial.want("ADDED c", "DELETED c")
			quiet.want("ADDED a", "ADDED b", "ADDED c", "DELETED c")
			none.want("ADDED c", "DELETED c")
			some.want("ADDED a", "BOOKMARK end")
			future.want("DELETED c")
			at, rev = fmt.Sprint(rev+2), rev+2
			if _, err := r.Watch(testContext(t), WatchOptions{ResourceVersion: "abc"}); err == nil ||
				err.Error() != `resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax` {
				t.Error(err)
			}
		})
		// The second kind of reader begins where the first ended: before's first event is then the deletion of c.
		s.remove(aPod("ns", "b"))
		rev = s.create(aPod("ns", "b"))
		at = fmt.Sprint(rev)
	}
}

func TestInitialEventsOfManyObjects(t *testing.T) {
	s := one(t)
	const n = 3*batch + 7
	for i := range n {
		s.create(aPod("ns", fmt.Sprintf("p%04d", i), on(fmt.Sprintf("n%d", i%2))))
	}
	for name, r := range readers(s) {
		all := watchReader(t, r, WatchOptions{SendInitialEvents: &yes, Bookmarks: true})
		half := watchReader(t, r, WatchOptions{SendInitialEvents: &yes, Bookmarks: true, Fields: fieldSelector(t, "spec.nodeName=n1")})
		// What changes while the initial state is told comes after it.
		s.put(aPod("ns", "p0001", on("n1"), note("late")))
		for i := range n {
			all.want(fmt.Sprintf("ADDED p%04d", i))
			if i%2 == 1 {
				half.want(fmt.Sprintf("ADDED p%04d", i))
			}
		}
		all.want("BOOKMARK end", "MODIFIED p0001")
		half.want("BOOKMARK end", "MODIFIED p0001")
		t.Log(name)
	}
}

func TestSlowWatcherIsToldToListAgain(t *testing.T) {
	s := one(t, func(c *Config) { c.ringMost = 20 })
	start := s.create(aPod("ns", "a", on("n1")))
	slow := s.watch(WatchOptions{ResourceVersion: fmt.Sprint(start)})
	narrow := s.watch(WatchOptions{ResourceVersion: fmt.Sprint(start), Fields: fieldSelector(t, "spec.nodeName=n1")})
	for i := range 30 {
		s.create(aPod("ns", fmt.Sprintf("p%d", i), on("n2")))
	}
	s.list(ListOptions{})
	slow.want("ERROR 410", "EOF")
	s.put(aPod("ns", "a", on("n1"), note("x")))
	narrow.want("MODIFIED a") // it has missed nothing of what it watches
	late := s.watch(WatchOptions{ResourceVersion: fmt.Sprint(start)})
	events, err := late.w.Next(testContext(t))
	if err != nil || events[0].Status == nil || events[0].Status.Message != fmt.Sprintf("too old resource version: %d (%d)", start, s.pods.ring.since) ||
		events[0].Status.Reason != metav1.StatusReasonExpired {
		t.Fatalf("%+v, %v", events, err)
	}
	if late.next() != "EOF" {
		t.Error("a watch goes on after its error")
	}
}

func TestRingIsBoundedByBytesAndAge(t *testing.T) {
	now := time.Now()
	s := one(t, func(c *Config) { c.ringBytes = 100_000; c.clock = func() time.Time { return now } })
	s.create(aPod("ns", "a"))
	s.list(ListOptions{}) // the kind is loaded now: what happens before that is no event
	for i := range 40 {
		s.put(aPod("ns", "a", note(strings.Repeat("x", 5_000)+fmt.Sprint(i))))
	}
	s.list(ListOptions{})
	if r := &s.pods.ring; r.bytes > 100_000 || r.len() < 3 || r.len() > 20 {
		t.Errorf("%d events hold %d bytes", r.len(), r.bytes)
	}
	for i := range 300 {
		s.put(aPod("ns", "a", note(fmt.Sprint(i))))
	}
	s.list(ListOptions{})
	now = now.Add(ringAge + time.Second)
	s.pods.sweep(0)
	if n := s.pods.ring.len(); n != ringLeast {
		t.Errorf("%d events are left after %s", n, ringAge)
	}
}

func TestScopesEndWithTheirWatchers(t *testing.T) {
	s := one(t, func(c *Config) { c.ringMost = 50 })
	s.list(ListOptions{})
	created := fmt.Sprint(s.create(aPod("ns", "a", on("n1"))))
	var all []*watching
	for range 5 {
		all = append(all, s.watch(WatchOptions{ResourceVersion: created, Fields: fieldSelector(t, "spec.nodeName=n1")}),
			s.watch(WatchOptions{Namespace: "ns"}), s.watch(WatchOptions{Namespace: "ns", Name: "a"}))
	}
	for i := range 200 {
		s.put(aPod("ns", "a", on(fmt.Sprintf("n%d", i%3))))
	}
	s.list(ListOptions{})
	s.pods.mu.RLock()
	for k, sc := range s.pods.scopes {
		if len(sc.numbers) > 50 {
			t.Errorf("scope %v keeps %d events of a ring of 50", k, len(sc.numbers))
		}
	}
	if n := len(s.pods.scopes); n != 3 {
		t.Errorf("%d scopes", n)
	}
	s.pods.mu.RUnlock()
	for _, w := range all {
		w.w.Close()
	}
	if n := len(s.pods.scopes); n != 0 {
		t.Errorf("%d scopes are left", n)
	}
}

func TestLaterWatchersOfAScopeSeeWhatWasBefore(t *testing.T) {
	s := one(t)
	s.list(ListOptions{}) // loaded: what follows are events
	s.create(aPod("ns", "other", on("n2")))
	start := s.create(aPod("ns", "a", on("n1")))
	middle := int64(0)
	for i := range 6 {
		rev := s.put(aPod("ns", "a", on("n1"), note(fmt.Sprint(i))))
		s.put(aPod("ns", "other", on("n2"), note(fmt.Sprint(i))))
		if i == 2 {
			middle = rev
		}
	}
	s.list(ListOptions{})
	node := func(revision int64) *watching {
		return s.watch(WatchOptions{ResourceVersion: fmt.Sprint(revision), Fields: fieldSelector(t, "spec.nodeName=n1")})
	}
	// The scope is made for the present, then reaches back twice; its earlier watchers stay where they are.
	now, half, whole := s.watch(WatchOptions{Fields: fieldSelector(t, "spec.nodeName=n1")}), node(middle), node(start)
	now.want("ADDED a")
	for range 3 {
		half.want("MODIFIED a")
	}
	for range 6 {
		whole.want("MODIFIED a")
	}
	s.put(aPod("ns", "a", on("n2")))
	for _, w := range []*watching{now, half, whole} {
		w.want("DELETED a")
	}
}

func TestBookmarks(t *testing.T) {
	var mu sync.Mutex
	var ahead time.Duration
	s := one(t, func(c *Config) {
		c.clock = func() time.Time { mu.Lock(); defer mu.Unlock(); return time.Now().Add(ahead) }
	})
	s.create(aPod("ns", "a"))
	for name, r := range readers(s) {
		t.Run(name, func(t *testing.T) {
			rev := s.create(aPod("ns", "b"))
			w := watchReader(t, r, WatchOptions{Namespace: "ns", ResourceVersion: fmt.Sprint(rev), Bookmarks: true})
			deaf := watchReader(t, r, WatchOptions{Namespace: "ns", ResourceVersion: fmt.Sprint(rev)})
			// Nothing in this namespace changes, but the cluster's revision moves.
			other := s.create(aPod("other", "x"))
			s.list(ListOptions{})
			mu.Lock()
			ahead += bookmarkEvery + time.Second
			mu.Unlock()
			w.want("BOOKMARK")
			if w.rev < other {
				t.Errorf("a bookmark at %d when all was told up to %d", w.rev, other)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			if events, err := deaf.w.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a watch without bookmarks was told %+v, %v", events, err)
			}
			// One comes before the end that the context sets.
			ctx, cancel = context.WithDeadline(context.Background(), time.Now().Add(bookmarkEarly+100*time.Millisecond))
			defer cancel()
			mu.Lock()
			ahead = 0
			mu.Unlock()
			early := watchReader(t, r, WatchOptions{Namespace: "ns", ResourceVersion: fmt.Sprint(rev), Bookmarks: true})
			events, err := early.w.Next(ctx)
			if err != nil || len(events) != 1 || events[0].Type != "BOOKMARK" {
				t.Errorf("%+v, %v", events, err)
			}
			if _, err := early.w.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("another bookmark before the end: %v", err)
			}
			s.remove(aPod("ns", "b"))
			s.remove(aPod("other", "x"))
		})
	}
}

func TestRemovedKindEndsItsWatches(t *testing.T) {
	s := one(t)
	s.create(aPod("ns", "a"))
	w := s.watch(WatchOptions{})
	w.want("ADDED a")
	done := make(chan string)
	go func() { done <- w.next() }()
	s.hub.Remove("/registry/pods/")
	if got := <-done; got != "EOF" {
		t.Errorf("got %s", got)
	}
	if _, err := s.pods.Get(testContext(t), "ns", "a", Latest); err == nil {
		t.Error("a removed kind is still read")
	}
	again := s.hub.Add(pods(newCodec()))
	if o, err := again.Get(testContext(t), "ns", "a", Latest); err != nil || o.Name != "a" {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestFrames(t *testing.T) {
	s := one(t)
	rev := s.create(aPod("ns", "a", label("app", "web")))
	o := s.list(ListOptions{}).Items[0]
	for _, e := range []Event{{Type: "ADDED", Object: o}, {Type: "DELETED", Object: o.as(77)}, bookmark(s.codec, 99, true), errorEvent(tooOld(1, 2))} {
		f, err := e.Frame(jsonForm)
		if err != nil {
			t.Fatal(err)
		}
		line := f.AppendTo(nil)
		if len(line) != f.Len() || bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' {
			t.Errorf("not one line: %q", line)
		}
		var fromJSON metav1.WatchEvent
		if err := json.Unmarshal(line, &fromJSON); err != nil {
			t.Fatal(err)
		}
		if f, err = e.Frame(pbForm); err != nil {
			t.Fatal(err)
		}
		frame := f.AppendTo(nil)
		if n := binary.BigEndian.Uint32(frame); int(n) != len(frame)-4 {
			t.Errorf("a frame of %d says %d", len(frame)-4, n)
		}
		var fromProto metav1.WatchEvent
		if err := fromProto.Unmarshal(frame[4:]); err != nil {
			t.Fatal(err)
		}
		if fromJSON.Type != string(e.Type) || fromProto.Type != string(e.Type) || !bytes.HasPrefix(fromProto.Object.Raw, []byte("k8s\x00")) {
			t.Errorf("%+v, %+v", fromJSON, fromProto)
		}
		if e.Status != nil {
			var status metav1.Status
			if err := json.Unmarshal(fromJSON.Object.Raw, &status); err != nil || status.Code != 410 || status.Kind != "Status" {
				t.Errorf("%s, %v", fromJSON.Object.Raw, err)
			}
			continue
		}
		var pod corev1.Pod
		if err := json.Unmarshal(fromJSON.Object.Raw, &pod); err != nil || pod.ResourceVersion != fmt.Sprint(e.Object.Revision) {
			t.Errorf("revision %d: %s, %v", e.Object.Revision, fromJSON.Object.Raw, err)
		}
	}
	if o.Revision != rev {
		t.Error("a ghost changed its object")
	}
}

func TestManyWritersManyWatchersOneOrder(t *testing.T) {
	e := startEtcd(t)
	a, b := serve(t, e.Client), serve(t, e.Client)
	const writers, writes, watchers = 8, 50, 6
	var watched [watchers]*watching
	for i := range watched {
		watched[i] = []*server{a, b}[i%2].watch(WatchOptions{})
	}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			s := []*server{a, b}[w%2]
			pod := aPod("ns", fmt.Sprintf("p%d", w))
			s.create(pod)
			for i := range writes {
				s.put(aPod("ns", pod.Name, note(fmt.Sprint(i))))
				if i%10 == 5 {
					s.remove(pod)
					s.create(pod)
				}
			}
			s.remove(pod)
		})
	}
	var seen [watchers]string
	for i, w := range watched {
		wg.Go(func() {
			var told []string
			for deleted := 0; deleted < writers*(1+writes/10); {
				e := w.next()
				told = append(told, fmt.Sprintf("%s@%d", e, w.rev))
				if strings.HasPrefix(e, "DELETED") {
					deleted++
				}
			}
			seen[i] = strings.Join(told, "\n")
		})
	}
	wg.Wait()
	for i := range seen {
		if seen[i] != seen[0] {
			t.Fatalf("watcher %d saw another order", i)
		}
	}
	if n := strings.Count(seen[0], "\n") + 1; n != writers*(writes+2+2*writes/10) {
		t.Errorf("%d events", n)
	}
}

func TestTheHubSurvivesAnEtcdRestart(t *testing.T) {
	x := startExternal(t)
	s := serve(t, x.client(), func(c *Config) { c.Patience = time.Second })
	s.create(aPod("ns", "a"))
	w := s.watch(WatchOptions{})
	w.want("ADDED a")
	x.stop()
	if _, err := s.pods.Get(testContext(t), "ns", "a", Latest); err == nil {
		t.Error("a read was answered while nobody could say whether it is fresh")
	}
	x.start()
	second := serve(t, x.client())
	second.create(aPod("ns", "b"))
	w.want("ADDED b")
	for deadline := time.Now().Add(20 * time.Second); ; {
		l, err := s.pods.List(testContext(t), ListOptions{})
		if err == nil {
			if names(l.Items) != "a b" {
				t.Errorf("it lists %q", names(l.Items))
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	w.w.Close()
}

func TestAGapInHistoryIsTold(t *testing.T) {
	x := startExternal(t)
	client := x.client()
	s := serve(t, client, func(c *Config) { c.Patience = time.Second })
	start := s.create(aPod("ns", "a"))
	w := s.watch(WatchOptions{})
	w.want("ADDED a")
	narrow := s.watch(WatchOptions{ResourceVersion: fmt.Sprint(start), Namespace: "quiet"})
	page := s.list(ListOptions{ResourceVersion: fmt.Sprint(start)})
	// The hub's watch stands still while others write and compact.
	x.stop()
	x.start()
	direct := x.etcd.Client
	other := serve(t, direct)
	other.remove(aPod("ns", "a"))
	rev := other.create(aPod("ns", "a", note("another")))
	if _, err := direct.Compact(testContext(t), rev); err != nil {
		t.Fatal(err)
	}
	first := w.next()
	if first == "DELETED a" { // the client was quick enough to take the watch up before the compaction
		w.want("ADDED a")
	} else if first != "ERROR 410" {
		t.Errorf("got %s", first)
	} else {
		narrow.want("ERROR 410")
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		o, err := s.pods.Get(testContext(t), "ns", "a", Latest)
		if err == nil && o.Revision == rev {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v, %v", o, err)
		}
	}
	_ = page
}

func TestAHistoryThatWentBackIsReadAgain(t *testing.T) {
	s := one(t)
	s.create(aPod("ns", "a"))
	w := s.watch(WatchOptions{})
	w.want("ADDED a")
	// As after a restored backup: etcd's revision is lower than what was seen.
	s.hub.revision.Add(1000)
	if _, err := s.pods.Get(testContext(t), "ns", "a", Latest); err == nil {
		t.Error("a read was answered from a history that is not etcd's")
	}
	w.want("ERROR 410", "EOF")
	for deadline := time.Now().Add(10 * time.Second); ; {
		if _, err := s.pods.Get(testContext(t), "ns", "a", Latest); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if s.hub.Revision() > 1000 {
		t.Errorf("still at %d", s.hub.Revision())
	}
}

func TestWatchOfAClosedContext(t *testing.T) {
	s := one(t)
	s.create(aPod("ns", "a"))
	for name, r := range readers(s) {
		w, err := r.Watch(testContext(t), WatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := w.Next(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		if events, err := w.Next(testContext(t)); err != nil || len(events) != 1 {
			t.Errorf("%s: nothing is lost by it: %v, %v", name, events, err)
		}
		w.Close()
		if _, err := w.Next(testContext(t)); err != io.EOF {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUncachedWatchBehindCompaction(t *testing.T) {
	e := startEtcd(t)
	s := serve(t, e.Client)
	start := s.create(aPod("ns", "a"))
	rev := s.put(aPod("ns", "a", note("x")))
	if _, err := e.Client.Compact(testContext(t), rev); err != nil {
		t.Fatal(err)
	}
	w := watchReader(t, readers(s)["uncached"], WatchOptions{ResourceVersion: fmt.Sprint(start - 1)})
	events, err := w.w.Next(testContext(t))
	if err != nil || events[0].Status == nil || !apierrors.IsResourceExpired(&apierrors.StatusError{ErrStatus: *events[0].Status}) {
		t.Fatalf("%+v, %v", events, err)
	}
	w.want("EOF")
}

func TestReadsOfAStoppedHubFailAtOnce(t *testing.T) {
	s := one(t)
	s.list(ListOptions{})
	s.stop()
	s.create(aPod("ns", "a"))
	began := time.Now()
	if _, err := s.pods.Get(testContext(t), "ns", "a", Latest); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("after %s", took)
	}
}
