package apiserver

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"
)

// What lives in this process is mostly bytes that the garbage collector need not look into, so that a collection costs
// little more when the heap is large; and what is dropped is some 60 kB a write, however large the heap is. So the room
// between two collections is a number of bytes, rather than a part of the heap as the runtime has it: a server of a few
// objects is not collected twenty times a second, and one of many does not take twice what it holds.
//
// A server that has little to do is collected more often: what it would leave lying around in that room for minutes is more than
// all that it holds.
const (
	gcRoom    = 32 << 20
	gcQuiet   = 4 << 20
	gcLeast   = 20 // percent of the live heap: a large one changes more
	gcMost    = 400
	gcNothing = 4 << 20 // the live heap is taken for at least that
)

var (
	pacing sync.Once
	// quiet says that little was allocated lately.
	quiet atomic.Bool
	// collectedAt is when the last collection was, in nanoseconds, allocatedBy how much had been allocated by then.
	collectedAt, allocatedBy atomic.Int64
)

// gcSoon is how soon the room of a quiet server is used up by one that is quiet no longer.
const gcSoon = time.Second

// paceCollector keeps the collector's target at that room. GOGC in the environment has the last word.
func paceCollector() {
	if os.Getenv("GOGC") == "" {
		pacing.Do(afterCollection)
	}
}

type collected struct{ _ *byte }

// afterCollection is called again after each collection, by the end of a value that nothing refers to.
func afterCollection() {
	allocs := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(allocs)
	now, allocated := time.Now().UnixNano(), int64(allocs[0].Value.Uint64())
	soon := now-collectedAt.Swap(now) < int64(gcSoon)
	if much := allocated-allocatedBy.Swap(allocated) > gcQuiet/2; soon && much {
		quiet.Store(false)
	}
	setPace()
	runtime.SetFinalizer(&collected{}, func(*collected) { afterCollection() })
}

// setPace sets the collector's target.
func setPace() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	room := uint64(gcRoom)
	if quiet.Load() {
		room = gcQuiet
	}
	debug.SetGCPercent(gcPercent(live[0].Value.Uint64(), room))
}

func gcPercent(live, room uint64) int {
	return int(min(max(room*100/max(live, gcNothing), gcLeast), gcMost))
}

const (
	slackLook = 3 * time.Second
	slackMost = 16 << 20
	// slackBusy is how much is allocated between two looks by a server that has better things to do: what it has left
	// free it will need again.
	slackBusy = 8 * gcRoom
	// slackQuiet is how much is allocated between two looks by a server that has next to nothing to do.
	slackQuiet = 8 << 20
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
		if allocated-before < slackQuiet && !quiet.Swap(true) && os.Getenv("GOGC") == "" {
			setPace()
			debug.FreeOSMemory()
		} else if free > slackMost && allocated-before < slackBusy {
			debug.FreeOSMemory()
		}
		before = allocated
	}
}
