package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/skiff-project/skiff/e2e/lab"
)

// benchmark is a piece of work that is done with a cluster of each side.
type benchmark struct {
	name  string
	limit time.Duration // for one run of one side
	run   func(ctx context.Context, b *bench) error
}

// bench is one run of a benchmark with one side.
type bench struct {
	*options
	name string
	side lab.Side
	rec  *record
}

// direction says which figures are good.
type direction int

const (
	more direction = iota
	less
)

// report notes a figure and shows it.
func (b *bench) report(what, unit string, good direction, value float64) {
	b.rec.add(b.name, what, unit, good, b.side, value)
	fmt.Fprintf(os.Stderr, "    %-58s %10s %s\n", what, number(value), unit)
}

// say shows what is going on.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "    "+format+"\n", args...)
}

// start makes a lab for this run.
func (b *bench) start(ctx context.Context, parts lab.Parts) (*lab.Lab, error) {
	return lab.Start(ctx, lab.Config{Name: b.name + "-" + string(b.side), Bin: b.skiff, Peers: b.peers, Parts: parts})
}

// stop ends a lab, and tells of components that did not stay up.
func (b *bench) stop(l *lab.Lab) {
	if bad := l.Failing(nil); len(bad) > 0 {
		b.say("note: %s", bad)
	}
	if err := l.Stop(); err != nil {
		b.say("note: %v", err)
	}
}

// used runs f and returns the processor time that a component took meanwhile.
func used(l *lab.Lab, component string, f func() error) (time.Duration, error) {
	pid, err := l.PID(component)
	if err != nil {
		return 0, err
	}
	if pid == 0 {
		return 0, fmt.Errorf("%s does not run", component)
	}
	before, err := lab.CPU(pid)
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := lab.CPU(pid)
	return after - before, err
}
