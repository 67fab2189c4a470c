package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progress tells a waiting person what has happened and when.
type progress struct {
	out   io.Writer
	mu    sync.Mutex
	start time.Time
}

func (p *progress) begin() { p.start = time.Now() }

func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "%5.1fs  %s\n", time.Since(p.start).Seconds(), fmt.Sprintf(format, args...))
}
