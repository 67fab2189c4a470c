package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/skiff-project/skiff/e2e/conformance/suite"
)

// results have one failure.
func results() suite.Results {
	var r suite.Results
	for i, t := range suite.All() {
		one := suite.Result{Test: t, Outcome: suite.Passed, Took: time.Second}
		if i == 3 {
			one.Outcome, one.Line, one.Where = suite.Failed, "got a|b, want <nil>", "pods.go:7"
		}
		r = append(r, one)
	}
	return r
}

// inDocs runs the test in a folder that has docs/ with the page of flakes.
func inDocs(t *testing.T) {
	t.Helper()
	page, err := os.ReadFile("../../docs/" + flakesFile)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := os.Mkdir(docsDir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(docsDir+"/"+flakesFile, page, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestWhatAFullRunWrites(t *testing.T) {
	inDocs(t)
	if err := document(context.Background(), results(), time.Now(), 5); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(docsDir + "/" + resultsFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"**461 of 462**", "| storage | emptyDir |", `| got a\|b, want &lt;nil> |`, "with 5 tests at a time"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("%q is not in\n%s", want, page)
		}
	}
	// What is written for the next slice is what it reads.
	passing, err := passingTests()
	if err != nil || len(passing) != 461 {
		t.Errorf("%d tests, %v", len(passing), err)
	}
}

func TestPassingTestsMustBeOfTheSuite(t *testing.T) {
	inDocs(t)
	if _, err := passingTests(); err == nil {
		t.Error("no list was read")
	}
	body := suite.All()[0].Name + "\n[sig-x] a test of another version [Conformance]\n"
	if err := os.WriteFile(docsDir+"/"+passingFile, []byte(body), 0o644); err != nil {
		t.Fatal(err)
	}
	if tests, err := passingTests(); err == nil {
		t.Errorf("read %v", tests)
	}
}

func TestFlakesAreNoted(t *testing.T) {
	inDocs(t)
	read := func() string {
		page, err := os.ReadFile(docsDir + "/" + flakesFile)
		if err != nil {
			t.Fatal(err)
		}
		return string(page)
	}
	before := read()
	if err := noteFlakes(context.Background(), nil); err != nil || read() != before {
		t.Errorf("nothing flaked: %v", err)
	}
	if err := noteFlakes(context.Background(), results().With(suite.Failed)); err != nil {
		t.Fatal(err)
	}
	added, ok := strings.CutPrefix(read(), before)
	if !ok || strings.Count(added, "\n") != 1 || !strings.Contains(added, `pods.go:7: got a\|b, want &lt;nil>`) {
		t.Errorf("added %q", added)
	}
}
