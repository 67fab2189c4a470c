package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/skiff-project/skiff/e2e/conformance/suite"
)

func TestOneRunAtATime(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lock", "run")
	first, err := lock(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(file); err == nil {
		t.Error("a second run could begin")
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := lock(file)
	if err != nil {
		t.Fatalf("after the first one's end: %v", err)
	}
	again.Close()
}

func TestWhichTestsARunIsAbout(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := (whole{failed: true}).tests(); err == nil {
		t.Error("what failed last was found, though nothing has run")
	}
	last := filepath.Join(outDir, "last")
	if err := os.MkdirAll(last, 0o755); err != nil {
		t.Fatal(err)
	}
	r := results() // one of them failed
	if err := r.Write(last); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		run  whole
		want int
	}{
		{"all", whole{}, 462},
		{"serial ones", whole{focus: `\[Serial\]`}, 29},
		{"all but serial ones", whole{skip: `\[Serial\]`}, 433},
		{"what failed last", whole{failed: true}, 1},
		{"what failed last, if it matches", whole{failed: true, focus: "no such test"}, 0},
	} {
		if got, err := test.run.tests(); err != nil || len(got) != test.want {
			t.Errorf("%s: %d tests, %v", test.name, len(got), err)
		}
	}
	if err := r.With(suite.Passed).Write(last); err != nil {
		t.Fatal(err)
	}
	if _, err := (whole{failed: true}).tests(); err == nil {
		t.Error("a run that failed nowhere has something to repeat")
	}
}
