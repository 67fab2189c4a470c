package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/skiff-project/skiff/e2e/conformance/suite"
)

func TestATestMayFailOnce(t *testing.T) {
	inDocs(t)
	all := suite.All()[:4]
	steady, flaky, broken, unreached := all[0].Name, all[1].Name, all[2].Name, all[3].Name
	outcomes := []map[string]suite.Outcome{
		{steady: suite.Passed, flaky: suite.Failed, broken: suite.Failed, unreached: suite.NotRun},
		{flaky: suite.Passed, broken: suite.Failed},
	}
	ends := time.Now().Add(16 * time.Minute)
	runs := 0
	results, err := slice{}.twice(context.Background(), all, ends, func(_ context.Context, tests []suite.Test, limit time.Duration) (suite.Results, error) {
		want := outcomes[runs]
		runs++
		if len(tests) != len(want) || limit <= 0 || time.Now().Add(limit).After(ends) {
			t.Errorf("run %d of %d tests for %s", runs, len(tests), limit)
		}
		var r suite.Results
		for _, one := range tests {
			r = append(r, suite.Result{Test: one, Outcome: want[one.Name], Line: "line of run " + string(rune('0'+runs))})
		}
		return r, nil
	})
	if err != nil || runs != 2 {
		t.Fatal(runs, err)
	}
	for i, want := range []suite.Outcome{suite.Passed, suite.Passed, suite.Failed, suite.NotRun} {
		if results[i].Outcome != want {
			t.Errorf("%s: %s, want %s", results[i].Name, results[i].Outcome, want)
		}
	}
	page, err := os.ReadFile(docsDir + "/" + flakesFile)
	if err != nil || !strings.Contains(string(page), cell(flaky)) || !strings.Contains(string(page), "line of run 1") || strings.Contains(string(page), cell(broken)) {
		t.Errorf("%s, %v", page, err)
	}
}

func TestARepetitionThatCannotBeRunCountsForNothing(t *testing.T) {
	inDocs(t)
	all := suite.All()[:1]
	runs := 0
	results, err := slice{}.twice(context.Background(), all, time.Now().Add(time.Minute), func(context.Context, []suite.Test, time.Duration) (suite.Results, error) {
		if runs++; runs == 2 {
			return nil, errors.New("the cluster is gone")
		}
		return suite.Results{{Test: all[0], Outcome: suite.Failed}}, nil
	})
	if err == nil || len(results.With(suite.Failed)) != 1 {
		t.Errorf("%v, %v", results, err)
	}
}
