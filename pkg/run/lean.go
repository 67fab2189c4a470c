package run

import (
	"bytes"
	"context"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Lean trades a little processor time for memory: the heap is collected when it has grown by half instead of doubled. For
// processes that wait most of the time. GOGC in the environment has the last word.
func Lean() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
}

// GiveBack returns to the system what only the start has needed: freed heap, and the pages of the program itself. A client
// of the API runs through most of its 30 MB of code and tables once, in its initializers, and through a few of them ever
// again; those come back from the page cache when touched.
func GiveBack() {
	debug.FreeOSMemory()
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	for line := range bytes.Lines(maps) {
		if from, size, ok := ownPages(string(line), self); ok {
			// Private, read-only and from a file: dropping them loses nothing. What fails stays as it was.
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, from, size, unix.MADV_DONTNEED)
		}
	}
}

// GiveBackWhenIdle gives back after the start and again after each time of work, once the process has been quiet for a
// while. It returns when ctx ends.
func GiveBackWhenIdle(ctx context.Context) {
	const (
		look  = 5 * time.Second
		quiet = look / 40 // of processor time between two looks: a collection alone may take one percent
		work  = 500 * time.Millisecond
	)
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	last, given := time.Duration(0), time.Duration(-work)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := processorTime()
		if now-last < quiet && now-given > work {
			GiveBack()
			given = processorTime()
			now = given
		}
		last = now
	}
}

// processorTime is what this process has used so far.
func processorTime() time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// ownPages reads a line of /proc/self/maps. It answers only mappings of the program file that cannot have been written to.
func ownPages(line, self string) (from, size uintptr, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 6 || fields[5] != self || len(fields[1]) != 4 || fields[1][1] != '-' || fields[1][3] != 'p' {
		return 0, 0, false
	}
	low, high, found := strings.Cut(fields[0], "-")
	if !found {
		return 0, 0, false
	}
	start, err := strconv.ParseUint(low, 16, 64)
	if err != nil {
		return 0, 0, false
	}
	end, err := strconv.ParseUint(high, 16, 64)
	if err != nil || end <= start {
		return 0, 0, false
	}
	return uintptr(start), uintptr(end - start), true
}
