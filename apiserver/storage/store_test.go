package storage

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestConditions(t *testing.T) {
	s, ctx := start(t), testContext(t)
	first, err := s.Create(ctx, "/registry/x/other", []byte("1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(ctx, "/registry/x/a", []byte("1"), 0, Condition{"/registry/x/other", first}); err != nil {
		t.Errorf("a condition that holds: %v", err)
	}
	if _, err := s.Create(ctx, "/registry/x/a", []byte("1"), 0, Condition{"/registry/x/other", first}); !errors.Is(err, ErrExists) {
		t.Errorf("a second create: %v", err)
	}
	if _, err := s.Update(ctx, "/registry/x/other", []byte("2"), first, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(ctx, "/registry/x/b", []byte("1"), 0, Condition{"/registry/x/other", first}); !errors.Is(err, ErrMoved) {
		t.Errorf("a condition that does not hold: %v", err)
	}
	if _, err := s.Get(ctx, "/registry/x/b"); !errors.Is(err, ErrNotFound) {
		t.Errorf("it was written all the same: %v", err)
	}
	// That the key exists comes first: trying again would not help.
	if _, err := s.Create(ctx, "/registry/x/a", []byte("1"), 0, Condition{"/registry/x/other", first}); !errors.Is(err, ErrExists) {
		t.Errorf("neither holds: %v", err)
	}
}

func TestCompareAndSwap(t *testing.T) {
	s, ctx := start(t), testContext(t)
	created, err := s.Create(ctx, "/registry/x/a", []byte("1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(ctx, "/registry/x/a", []byte("1"), 0); !errors.Is(err, ErrExists) {
		t.Errorf("a second create: %v", err)
	}
	updated, err := s.Update(ctx, "/registry/x/a", []byte("2"), created, 0)
	if err != nil || updated <= created {
		t.Fatalf("%d after %d, %v", updated, created, err)
	}
	var conflict *Conflict
	if _, err := s.Update(ctx, "/registry/x/a", []byte("3"), created, 0); !errors.As(err, &conflict) ||
		conflict.Current == nil || string(conflict.Current.Value) != "2" || conflict.Current.Revision != updated || conflict.Current.Created != created {
		t.Errorf("an update of what is no longer there: %v, %+v", err, conflict)
	}
	if _, err := s.Delete(ctx, "/registry/x/a", created); !errors.As(err, &conflict) || conflict.Current.Revision != updated {
		t.Errorf("a deletion of what is no longer there: %v", err)
	}
	deleted, err := s.Delete(ctx, "/registry/x/a", updated)
	if err != nil || deleted <= updated {
		t.Fatalf("%d after %d, %v", deleted, updated, err)
	}
	for name, err := range map[string]error{
		"update": second(s.Update(ctx, "/registry/x/a", nil, updated, 0)),
		"delete": second(s.Delete(ctx, "/registry/x/a", updated)),
	} {
		if !errors.As(err, &conflict) || conflict.Current != nil {
			t.Errorf("%s of a key that is gone: %v", name, err)
		}
	}
	if _, err := s.Get(ctx, "/registry/x/a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("get: %v", err)
	}
}

func second(_ int64, err error) error { return err }

func TestPages(t *testing.T) {
	s, ctx := start(t), testContext(t)
	for i := range 7 {
		if _, err := s.Create(ctx, fmt.Sprintf("/registry/x/%d", i), nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Create(ctx, "/registry/xx/0", nil, 0); err != nil {
		t.Fatal(err)
	}
	first, err := s.Page(ctx, "/registry/x/", "", 3, 0)
	if err != nil || len(first.KVs) != 3 || !first.More || first.Count != 7 {
		t.Fatalf("%+v, %v", first, err)
	}
	if _, err := s.Delete(ctx, "/registry/x/4", first.KVs[0].Revision+4); err != nil {
		t.Fatal(err)
	}
	rest, err := s.Page(ctx, "/registry/x/", "/registry/x/2\x00", 0, first.Revision)
	if err != nil || len(rest.KVs) != 4 || rest.More || rest.Revision != first.Revision {
		t.Fatalf("%+v, %v", rest, err)
	}
	if _, err := s.Page(ctx, "/registry/x/", "", 0, first.Revision+100); !errors.Is(err, ErrFuture) {
		t.Errorf("a page of the future: %v", err)
	}
	if _, err := s.client.Compact(ctx, first.Revision+1); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Page(ctx, "/registry/x/", "", 0, first.Revision); !errors.Is(err, ErrCompacted) {
		t.Errorf("a page of a compacted revision: %v", err)
	}
}

func TestRevisionSeesEveryAcknowledgedWrite(t *testing.T) {
	s, ctx := start(t), testContext(t)
	var reads atomic.Int64
	read := s.index.read
	s.index.read = func(ctx context.Context) (int64, error) { reads.Add(1); return read(ctx) }
	const workers, turns = 16, 50
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range turns {
				wrote, err := s.Create(ctx, fmt.Sprintf("/registry/x/%d-%d", w, i), nil, 0)
				if err != nil {
					t.Error(err)
					return
				}
				if seen, err := s.Revision(ctx); err != nil || seen < wrote {
					t.Errorf("revision %d after a write at %d, %v", seen, wrote, err)
				}
			}
		})
	}
	wg.Wait()
	if n := reads.Load(); n >= workers*turns {
		t.Errorf("%d reads for %d askers: none was shared", n, workers*turns)
	}
}

// TestLateComersDoNotShareAReadUnderWay is the rule that makes a shared read index correct.
func TestLateComersDoNotShareAReadUnderWay(t *testing.T) {
	var r readIndex
	started, release := make(chan int64), make(chan struct{})
	var n atomic.Int64
	r.read = func(context.Context) (int64, error) {
		mine := n.Add(1)
		started <- mine
		<-release
		return mine, nil
	}
	results := make(chan int64, 4)
	ask := func() {
		v, _ := r.get(context.Background())
		results <- v
	}
	go ask()
	<-started // the first read has passed its point of no return
	for range 3 {
		go ask()
	}
	for deadline := time.Now().Add(5 * time.Second); ; {
		r.mu.Lock()
		waiting := r.next != nil
		r.mu.Unlock()
		if waiting || time.Now().After(deadline) {
			break
		}
	}
	release <- struct{}{}
	if got := <-results; got != 1 {
		t.Fatalf("the first got %d", got)
	}
	<-started
	close(release)
	for range 3 {
		select {
		case got := <-results:
			if got < 2 {
				t.Errorf("a late comer got read %d", got)
			}
		case <-started: // one that came later still has a read of its own
			if got := <-results; got < 2 {
				t.Errorf("a late comer got read %d", got)
			}
		}
	}
}

func TestKeysOfShortLife(t *testing.T) {
	s, ctx := start(t), testContext(t)
	leases := map[int64]bool{}
	for i := range 5 {
		key := fmt.Sprintf("/registry/events/%d", i)
		if _, err := s.Create(ctx, key, nil, 3600); err != nil {
			t.Fatal(err)
		}
		kv, err := s.Get(ctx, key)
		if err != nil || kv.Lease == 0 {
			t.Fatalf("%+v, %v", kv, err)
		}
		leases[kv.Lease] = true
	}
	if len(leases) != 1 {
		t.Errorf("%d leases for keys of one life", len(leases))
	}
	for id := range leases {
		left, err := s.client.TimeToLive(ctx, clientv3.LeaseID(id))
		if err != nil || left.GrantedTTL < 3600 || left.GrantedTTL > 3660 {
			t.Errorf("%+v, %v", left, err)
		}
		// A lease that etcd has ended is replaced.
		if _, err := s.client.Revoke(ctx, clientv3.LeaseID(id)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Create(ctx, "/registry/events/new", nil, 3600); err != nil {
		t.Fatal(err)
	}
	// Without a time to live the key stays.
	kv, _ := s.Get(ctx, "/registry/events/new")
	if _, err := s.Update(ctx, "/registry/events/new", nil, kv.Revision, 0); err != nil {
		t.Fatal(err)
	}
	if kv, _ = s.Get(ctx, "/registry/events/new"); kv.Lease != 0 {
		t.Error("an update without a time to live kept the lease")
	}
	if _, err := s.Create(ctx, "/registry/events/short", nil, 1); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err := s.Get(ctx, "/registry/events/short"); errors.Is(err, ErrNotFound) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a key outlives its time")
		}
	}
}

func TestCompactorsShareTheWork(t *testing.T) {
	s, ctx := start(t), testContext(t)
	a, b := NewCompactor(s, time.Hour, nil), NewCompactor(New(s.client, Config{}), time.Hour, nil)
	write := func() int64 {
		kv, err := s.Get(ctx, "/registry/x/a")
		if errors.Is(err, ErrNotFound) {
			rev, _ := s.Create(ctx, "/registry/x/a", nil, 0)
			return rev
		}
		rev, err := s.Update(ctx, "/registry/x/a", nil, kv.Revision, 0)
		if err != nil {
			t.Fatal(err)
		}
		return rev
	}
	tick := func(c *Compactor) int64 {
		to, err := c.tick(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return to
	}
	first := write()
	if tick(a) != 0 || tick(b) != 0 {
		t.Error("the first tick compacted")
	}
	write()
	if to := tick(a); to < first {
		t.Errorf("compacted to %d, the revision of the last tick was %d or more", to, first)
	}
	if to := tick(b); to != 0 {
		t.Errorf("the other compacted to %d in the same interval", to)
	}
	// a dies; b takes over at its next tick.
	write()
	if to := tick(b); to <= first {
		t.Errorf("nobody compacts after one has died: %d", to)
	}
	kv, err := s.client.Get(ctx, "compact_rev_key")
	if err != nil || len(kv.Kvs) != 1 || kv.Kvs[0].Version != 3 {
		t.Fatalf("%+v, %v", kv, err)
	}
	if _, err := s.Page(ctx, "/registry/", "", 0, first); !errors.Is(err, ErrCompacted) {
		t.Errorf("a read before the compaction: %v", err)
	}
	running, cancel := context.WithCancel(ctx)
	done := make(chan error)
	go func() { done <- NewCompactor(s, time.Hour, nil).Run(running) }()
	for deadline := time.Now().Add(10 * time.Second); fmt.Sprint(s.Compacted()) != string(kv.Kvs[0].Value); {
		if time.Now().After(deadline) {
			t.Fatalf("it does not learn of others' compactions: %d", s.Compacted())
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAnotherPrefix(t *testing.T) {
	s, ctx := start(t), testContext(t)
	other := New(s.client, Config{Prefix: "elsewhere/k8s/"})
	stream := other.Watch(ctx, "/registry/", 0, false)
	defer stream.Close()
	rev, err := other.Create(ctx, "/registry/x/a", []byte("v"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(ctx, "/registry/x/a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("it is below /registry: %v", err)
	}
	if kv, err := s.client.Get(ctx, "/elsewhere/k8s/x/a"); err != nil || len(kv.Kvs) != 1 {
		t.Errorf("%v, %v", kv, err)
	}
	if kv, err := other.Get(ctx, "/registry/x/a"); err != nil || kv.Key != "/registry/x/a" {
		t.Errorf("%+v, %v", kv, err)
	}
	b, err := stream.Next(ctx)
	if err != nil || len(b.Changes) != 1 || b.Changes[0].Key != "/registry/x/a" || b.Revision != rev {
		t.Errorf("%+v, %v", b, err)
	}
}

func TestStreams(t *testing.T) {
	s, ctx := start(t), testContext(t)
	a, _ := s.Create(ctx, "/registry/x/a", []byte("1"), 0)
	b, _ := s.Update(ctx, "/registry/x/a", []byte("2"), a, 0)
	c, _ := s.Delete(ctx, "/registry/x/a", b)
	stream := s.Watch(ctx, "/registry/x/", a, true)
	var changes []Change
	for len(changes) < 2 {
		batch, err := stream.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		changes = append(changes, batch.Changes...)
	}
	if ch := changes[0]; ch.Revision != b || string(ch.Value) != "2" || string(ch.Before.Value) != "1" || ch.Deleted {
		t.Errorf("%+v", ch)
	}
	if ch := changes[1]; ch.Revision != c || !ch.Deleted || string(ch.Before.Value) != "2" {
		t.Errorf("%+v", ch)
	}
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	if _, err := stream.Next(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nothing happens: %v", err)
	}
	d, _ := s.Create(ctx, "/registry/y/a", nil, 0)
	var reached int64
	for deadline := time.Now().Add(10 * time.Second); reached < d && time.Now().Before(deadline); {
		if err := stream.Progress(); err != nil {
			t.Fatal(err)
		}
		if batch, err := stream.Next(ctx); err != nil {
			t.Fatal(err)
		} else {
			reached = batch.Revision
		}
	}
	if reached < d {
		t.Errorf("progress to %d, etcd is at %d", reached, d)
	}
	stream.Close()
	if _, err := stream.Next(ctx); err == nil {
		t.Error("a closed stream goes on")
	}
	if _, err := s.client.Compact(ctx, c); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Watch(ctx, "/registry/", a, false).Next(ctx); !errors.Is(err, ErrCompacted) {
		t.Errorf("a watch from before a compaction: %v", err)
	}
}

func TestAnEtcdThatDoesNotAnswer(t *testing.T) {
	dir := t.TempDir()
	e, err := StartEmbedded(EmbeddedConfig{DataDir: dir + "/d", Socket: dir + "/s", NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	client, err := Dial(ExternalConfig{Servers: []string{"unix://" + dir + "/s"}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s, ctx := New(client, Config{Timeout: 300 * time.Millisecond}), testContext(t)
	if _, err := s.Create(ctx, "/registry/x/a", nil, 0); err != nil {
		t.Fatal(err)
	}
	e.Close()
	for name, err := range map[string]error{
		"get":      third(s.Get(ctx, "/registry/x/a")),
		"create":   second(s.Create(ctx, "/registry/x/b", nil, 0)),
		"revision": second(s.Revision(ctx)),
	} {
		if !errors.Is(err, ErrTimeout) && !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func third(_ KV, err error) error { return err }

func TestTooLargeAValue(t *testing.T) {
	s := start(t)
	if _, err := s.Create(testContext(t), "/registry/x/a", make([]byte, 4<<20), 0); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
}

func TestADataFolderIsUsedOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	e, err := StartEmbedded(EmbeddedConfig{DataDir: dir, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(e.Client, Config{}).Create(testContext(t), "/registry/x/a", []byte("kept"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := StartEmbedded(EmbeddedConfig{DataDir: dir}); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("a second etcd on the folder: %v", err)
	}
	e.Close()
	again, err := StartEmbedded(EmbeddedConfig{DataDir: dir, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if kv, err := New(again.Client, Config{}).Get(testContext(t), "/registry/x/a"); err != nil || string(kv.Value) != "kept" {
		t.Errorf("after a restart: %+v, %v", kv, err)
	}
}
