package apiserver

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// What lives in this process is mostly bytes that the garbage collector need not look into, so that a collection costs
// little more when the heap is large; and what is dropped is some 60 kB a write, however large the heap is. So the room
// between two collections is a number of bytes, rather than a part of the heap as the runtime has it: a server of a few
// objects is not collected twenty times a second, and one of many does not take twice what it holds.
const (
	gcRoom    = 32 << 20
	gcLeast   = 20 // percent of the live heap: a large one changes more
	gcMost    = 400
	gcNothing = 4 << 20 // the live heap is taken for at least that
)

var pacing sync.Once

// paceCollector keeps the collector's target at that room. GOGC in the environment has the last word.
func paceCollector() {
	if os.Getenv("GOGC") == "" {
		pacing.Do(afterCollection)
	}
}

type collected struct{ _ *byte }

// afterCollection is called again after each collection, by the end of a value that nothing refers to.
func afterCollection() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	debug.SetGCPercent(gcPercent(live[0].Value.Uint64()))
	runtime.SetFinalizer(&collected{}, func(*collected) { afterCollection() })
}

func gcPercent(live uint64) int {
	return int(min(max(gcRoom*100/max(live, gcNothing), gcLeast), gcMost))
}

const (
	slackLook = 3 * time.Second
	slackMost = 16 << 20
	// slackBusy is how much is allocated between two looks by a server that has better things to do: what it has left
	// free it will need again.
	slackBusy = 8 * gcRoom
)

// returnSlack returns to the system what a burst has left free in the heap. The runtime does that, too, at its leisure:
// for minutes a server that has answered a few large lists would look like one that needs them.
func returnSlack(ctx context.Context) error {
	ticker := time.NewTicker(slackLook)
	defer ticker.Stop()
	now := []metrics.Sample{{Name: "/memory/classes/heap/free:bytes"}, {Name: "/gc/heap/allocs:bytes"}}
	var before uint64
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		metrics.Read(now)
		free, allocated := now[0].Value.Uint64(), now[1].Value.Uint64()
		if free > slackMost && allocated-before < slackBusy {
			debug.FreeOSMemory()
		}
		before = allocated
	}
}
