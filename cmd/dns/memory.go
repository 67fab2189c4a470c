package main

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// giveBack returns to the system what only the start and times of much work have needed, whenever the process has been quiet for a
// while: freed heap and the pages of the program. CoreDNS runs through most of its 50 MB of code and tables once, in initializers,
// and through a fraction of them ever again; those come back from the page cache when touched. It is what package run of the main
// module does for the components; that module's dependencies would change CoreDNS's, so it is told again here in short.
func giveBack() {
	const (
		look  = 5 * time.Second
		quiet = look / 100 // of processor time between two looks
		work  = 500 * time.Millisecond
	)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	last, given := time.Duration(0), -work
	for range time.Tick(look) {
		now := processorTime()
		if now-last < quiet && now-given > work/2 {
			debug.FreeOSMemory()
			dropProgram()
			given = processorTime()
			now = given
		}
		last = now
	}
}

func processorTime() time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// dropProgram drops the mapped pages of the program file that cannot have been written to, so that nothing is lost.
func dropProgram() {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(maps)) {
		f := strings.Fields(line) // from-to rwxp offset device inode path
		if len(f) < 6 || f[5] != self || f[1][1] != '-' || f[1][3] != 'p' {
			continue
		}
		low, high, _ := strings.Cut(f[0], "-")
		from, err := strconv.ParseUint(low, 16, 64)
		to, err2 := strconv.ParseUint(high, 16, 64)
		if err == nil && err2 == nil && to > from {
			// What fails stays as it was.
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(from), uintptr(to-from), unix.MADV_DONTNEED)
		}
	}
}
