package watchcache

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/apiserver/storage"
)

type operation struct {
	write    bool
	revision int64 // expected by a write, zero to create
	text     string
}

type outcome struct {
	ok       bool
	revision int64
	text     string
}

// register is one object as its clients may see it: a write succeeds exactly if it expects the current revision, and a read
// shows the last write.
var register = porcupine.Model{
	Init: func() any { return outcome{} },
	Step: func(state, input, output any) (bool, any) {
		now, in, out := state.(outcome), input.(operation), output.(outcome)
		if !in.write {
			return out == now, now
		}
		if in.revision != now.revision {
			return !out.ok, now
		}
		return out.ok && out.revision > now.revision, outcome{ok: true, revision: out.revision, text: in.text}
	},
}

// TestReadsThroughTwoServersAreLinearizable has clients write through one server and read through the other, and asks
// whether all that they saw can be put in one order.
func TestReadsThroughTwoServersAreLinearizable(t *testing.T) {
	x := startExternal(t)
	servers := []*server{serve(t, x.client()), serve(t, x.client())}
	const clients, turns = 6, 60
	var mu sync.Mutex
	var history []porcupine.Operation
	began := time.Now()
	do := func(client int, in operation, call func() outcome) outcome {
		start := time.Since(began)
		out := call()
		end := time.Since(began)
		mu.Lock()
		defer mu.Unlock()
		history = append(history, porcupine.Operation{ClientId: client, Input: in, Call: int64(start), Output: out, Return: int64(end)})
		return out
	}
	read := func(s *server, mode int) outcome {
		var o *Object
		var err error
		switch mode {
		case 0:
			o, err = s.pods.Get(testContext(t), "ns", "x", Latest)
		default:
			var l *List
			if l, err = s.pods.List(testContext(t), ListOptions{ResourceVersion: []string{"", "0"}[mode-1]}); err == nil {
				if len(l.Items) == 0 {
					return outcome{}
				}
				o = l.Items[0]
			}
		}
		if errors.Is(err, storage.ErrNotFound) {
			return outcome{}
		}
		if err != nil {
			t.Error(err)
			return outcome{}
		}
		obj, err := o.Shared()
		if err != nil {
			t.Error(err)
			return outcome{}
		}
		return outcome{true, o.Revision, obj.(*corev1.Pod).Annotations["note"]}
	}
	write := func(s *server, in operation) outcome {
		pod := aPod("ns", "x", note(in.text))
		stored := marshal(t, pod)
		p := s.pods.Prepare(key(pod), stored, pod)
		defer p.Drop()
		var rev int64
		var err error
		if in.revision == 0 {
			rev, err = s.store.Create(testContext(t), key(pod), stored, 0)
		} else {
			rev, err = s.store.Update(testContext(t), key(pod), stored, in.revision, 0)
		}
		if conflict := (*storage.Conflict)(nil); errors.Is(err, storage.ErrExists) || errors.As(err, &conflict) {
			return outcome{}
		}
		if err != nil {
			t.Error(err)
			return outcome{}
		}
		return outcome{true, p.Done(rev).Revision, in.text}
	}
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for turn := range turns {
				reader, writer := servers[(c+turn)%2], servers[(c+turn+1)%2]
				seen := do(c, operation{}, func() outcome { return read(reader, turn%3) })
				in := operation{write: true, revision: seen.revision, text: fmt.Sprintf("%d/%d", c, turn)}
				if out := do(c, in, func() outcome { return write(writer, in) }); out.ok {
					// A write acknowledged through one server is read through the other at once.
					if again := do(c, operation{}, func() outcome { return read(reader, turn%3) }); again.revision < out.revision {
						t.Errorf("written at %d, read at %d", out.revision, again.revision)
					}
				}
			}
		})
	}
	wg.Wait()
	if got := porcupine.CheckOperationsTimeout(register, history, 20*time.Second); got != porcupine.Ok {
		t.Fatalf("the history of %d operations is %s", len(history), got)
	}
}
