package suite

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Progress follows a run by Ginkgo's output. (The suite's own --progress-report-url tells nothing about single tests.)
type Progress struct {
	out   io.Writer
	live  bool // one line that changes, for terminals
	procs int
	began time.Time

	mu      sync.Mutex
	open    map[string]Test
	passed  map[string]bool
	failed  map[string]bool
	last    time.Time // since when every test that is left and not serial runs
	partial []byte    // of a line of output
	outcome string    // of the test that the next line names
	width   int       // of the line that stands there
}

// NewProgress follows these tests. live makes one line that changes; else a line is written now and then.
func NewProgress(tests []Test, procs int, out io.Writer, live bool) *Progress {
	p := &Progress{out: out, live: live, procs: procs, began: time.Now(), open: map[string]Test{}, passed: map[string]bool{}, failed: map[string]bool{}}
	for _, t := range tests {
		p.open[t.Name] = t
	}
	return p
}

// In Ginkgo's verbose output a test that ended has a line of its outcome, and its name and labels on the next one.
var (
	outcomeLine = regexp.MustCompile(`^[•↺SP] (?:\[([A-Z!]+)\] )?\[[0-9.]+ seconds\]`)
	// failedIn is put into the name of a test that failed, in front of the part that did.
	failedIn = regexp.MustCompile(`\[(It|BeforeEach|JustBeforeEach|AfterEach|JustAfterEach|DeferCleanup[^\]]*)\] `)
)

// Write reads Ginkgo's verbose output as it comes.
func (p *Progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, piece := range bytes.SplitAfter(b, []byte("\n")) {
		p.partial = append(p.partial, piece...)
		if bytes.HasSuffix(p.partial, []byte("\n")) {
			p.read(strings.TrimSuffix(string(p.partial), "\n"))
			p.partial = p.partial[:0]
		}
	}
	return len(b), nil
}

// read takes one line. It needs mu.
func (p *Progress) read(line string) {
	outcome := p.outcome
	p.outcome = ""
	if m := outcomeLine.FindStringSubmatch(line); m != nil {
		p.outcome = "PASSED"
		if m[1] != "" {
			p.outcome = m[1]
		}
		return
	}
	if outcome == "" {
		return
	}
	line = failedIn.ReplaceAllString(line, "")
	for name := range p.open {
		if rest, ok := strings.CutPrefix(line, name); ok && (rest == "" || strings.HasPrefix(rest, " [")) {
			p.ended(name, outcome)
			return
		}
	}
}

// ended needs mu.
func (p *Progress) ended(name, outcome string) {
	delete(p.open, name)
	switch outcome {
	case "PASSED":
		p.passed[name] = true
	case "SKIPPED", "PENDING", "INTERRUPTED":
		p.line("%s  %s", outcome, name)
	default:
		p.failed[name] = true
		p.line("%s  %s", outcome, name)
	}
	if p.live {
		p.status()
	}
}

// Known is what has been reported until now: all that there is when a run is cut short.
func (p *Progress) Known(tests []Test) Results {
	p.mu.Lock()
	defer p.mu.Unlock()
	var known Results
	for _, t := range tests {
		r := Result{Test: t, Outcome: NotRun}
		if p.passed[t.Name] {
			r.Outcome = Passed
		} else if p.failed[t.Name] {
			r.Outcome, r.Line = Failed, "the run was cut short before it was told why"
		}
		known = append(known, r)
	}
	return known
}

// Show writes the line of progress until done is closed.
func (p *Progress) Show(done <-chan struct{}) {
	every := time.Minute
	if p.live {
		every = time.Second
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.mu.Lock()
			p.status()
			p.mu.Unlock()
		case <-done:
			p.mu.Lock()
			p.status()
			if p.live {
				fmt.Fprintln(p.out)
			}
			p.mu.Unlock()
			return
		}
	}
}

// status needs mu.
func (p *Progress) status() {
	running, left := p.rest()
	text := fmt.Sprintf("%s  passed %d, failed %d, running %d, waiting %d", clock(time.Since(p.began)), len(p.passed), len(p.failed), running, len(p.open)-running)
	if len(p.open) > 0 {
		text += fmt.Sprintf("; about %s left", clock(left))
	}
	if !p.live {
		fmt.Fprintln(p.out, text)
		return
	}
	fmt.Fprintf(p.out, "\r%-*s", p.width, text)
	p.width = len(text)
}

// line writes a line above that of the progress. It needs mu.
func (p *Progress) line(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if p.live {
		fmt.Fprintf(p.out, "\r%-*s\n", p.width, text)
		return
	}
	fmt.Fprintln(p.out, text)
}

// rest says how many tests run now, and how long it may take until all have: first those that run side by side, then
// the serial ones, one after the other. It needs mu.
func (p *Progress) rest() (running int, left time.Duration) {
	var parallel, serial, longest time.Duration
	n := 0
	for _, t := range p.open {
		if t.Serial {
			serial += t.Estimate
			continue
		}
		n++
		parallel += t.Estimate
		longest = max(longest, t.Estimate)
	}
	switch {
	case n > p.procs:
		running = p.procs
	case n > 0:
		running = n
		if p.last.IsZero() {
			p.last = time.Now()
		}
		longest = max(longest-time.Since(p.last), 0)
		parallel = 0
	case len(p.open) > 0:
		running = 1
	}
	return running, max(parallel/time.Duration(p.procs), longest) + serial
}

// clock writes minutes and seconds.
func clock(d time.Duration) string {
	s := int(d.Round(time.Second).Seconds())
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}
