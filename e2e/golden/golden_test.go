package main

import (
	"log/slog"
	"slices"
	"testing"
)

// TestSample holds a sample of the corpus against the figures that were reached before; `make golden` plays all of it.
func TestSample(t *testing.T) {
	cases, err := readCases(corpusFile)
	if err != nil {
		t.Fatal(err)
	}
	reached, err := readRatchet(ratchetFile)
	if err != nil {
		t.Fatal(err)
	}
	if len(reached[sample]) == 0 {
		t.Fatal("the ratchet has no figures for the sample: make golden RECORD=1")
	}
	cases = slices.DeleteFunc(cases, func(c *Case) bool { return !inSample(c) })

	a, err := serve(slog.New(slog.NewTextHandler(output{t}, &slog.HandlerOptions{Level: slog.LevelError})))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.stop(); err != nil {
			t.Error(err)
		}
	}()
	server, err := newTarget(a.config)
	if err != nil {
		t.Fatal(err)
	}
	verdicts, _, fell, _ := hold(server, cases, 6, reached, sample)
	for row, line := range fell {
		t.Error(line)
		for _, c := range inRows(cases, map[string]bool{row: true}) {
			if s := describe(c, verdicts[c]); s != "" {
				t.Log(s)
			}
		}
	}
}

// output shows what a server says among the output of the test.
type output struct{ t *testing.T }

func (o output) Write(b []byte) (int, error) {
	o.t.Log(string(b))
	return len(b), nil
}
