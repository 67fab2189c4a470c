package run

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// journal is a list of what happened, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

func untilStopped(j *journal, name string) func(context.Context) error {
	return func(ctx context.Context) error {
		<-ctx.Done()
		j.add(name)
		return nil
	}
}

func TestGroup(t *testing.T) {
	boom := errors.New("boom")
	tests := []struct {
		name    string
		bad     func(context.Context) error
		cancel  bool
		want    string
		stopped []string
	}{
		{name: "asked to stop: last part first, no error", cancel: true, bad: func(ctx context.Context) error { <-ctx.Done(); return nil }, stopped: []string{"b", "a"}},
		{name: "a part that fails takes the others with it", bad: func(context.Context) error { return boom }, want: "bad: boom", stopped: []string{"b", "a"}},
		{name: "a part that merely returns is a reason too", bad: func(context.Context) error { return nil }, want: "bad ended without being asked to", stopped: []string{"b", "a"}},
		{name: "a panic becomes an error", bad: func(context.Context) error { panic("oh") }, want: "bad: panic: oh", stopped: []string{"b", "a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var j journal
			g := Group{Grace: time.Second}
			g.Add("a", untilStopped(&j, "a"))
			g.Add("b", untilStopped(&j, "b"))
			g.Add("bad", tt.bad)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			if tt.cancel {
				cancel()
			}
			err := g.Run(ctx)
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("Run: %v", err)
			case tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)):
				t.Errorf("Run: %v, want %s", err, tt.want)
			}
			if !slices.Equal(j.lines, tt.stopped) {
				t.Errorf("stopped %v, want %v", j.lines, tt.stopped)
			}
		})
	}
}

func TestGroupLeavesAPartThatHangs(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	g := Group{Grace: 20 * time.Millisecond}
	g.Add("stuck", func(context.Context) error { <-release; return nil })
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := g.Run(ctx); err == nil || !strings.Contains(err.Error(), "stuck did not stop") {
		t.Errorf("Run: %v", err)
	}
}
