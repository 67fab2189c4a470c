package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/skiff-project/skiff/e2e/conformance/suite"
)

// slice is one run of `conformance slice`: a third of the tests that passed in the last full run, without those that
// need the cluster to themselves or that are slow. Another commit has another third, so that a defect that the one lets
// through meets the next. One repetition is allowed to a test that fails; it is told of and noted as a defect.
type slice struct {
	key   string
	procs int
	limit time.Duration
}

func (s slice) run(ctx context.Context) error {
	if s.key == "" {
		return errors.New("slice: --commit is missing")
	}
	passing, err := passingTests()
	if err != nil {
		return err
	}
	quick := slices.DeleteFunc(passing, func(t suite.Test) bool { return t.Serial || t.Slow() })
	tests := suite.Third(quick, s.key)
	if len(tests) == 0 {
		return fmt.Errorf("%s names no test", filepath.Join(docsDir, passingFile))
	}
	if err := build(ctx); err != nil {
		return err
	}
	session, err := begin()
	if err != nil {
		return err
	}
	fmt.Printf("a third of the %d quick tests that passed last, for %s\n", len(quick), s.key)
	ends := time.Now().Add(s.limit)
	results, err := session.on(ctx, func(ctx context.Context) (suite.Results, error) {
		runs := 0
		return s.twice(ctx, tests, ends, func(ctx context.Context, tests []suite.Test, limit time.Duration) (suite.Results, error) {
			if runs++; runs > 1 { // the first log tells what went wrong
				if err := os.Rename(filepath.Join(session.out, "e2e.log"), filepath.Join(session.out, "e2e-first.log")); err != nil {
					return nil, err
				}
			}
			return session.tests(ctx, tests, s.procs, limit)
		})
	})
	if len(results.With(suite.NotRun)) < len(results) {
		err = errors.Join(err, session.report(results))
	}
	if err != nil {
		return err
	}
	for _, t := range results.With(suite.NotRun) {
		fmt.Println("no time was left for", t.Name)
	}
	switch failed, passed := len(results.With(suite.Failed)), len(results.With(suite.Passed)); {
	case failed > 0:
		return fmt.Errorf("%d tests that passed in the last full run failed twice", failed)
	case 2*passed < len(tests):
		return fmt.Errorf("only %d of %d tests were done within %s", passed, len(tests), s.limit)
	}
	return nil
}

// runner runs tests for at most the time that it is given.
type runner func(ctx context.Context, tests []suite.Test, limit time.Duration) (suite.Results, error)

// twice runs the tests, and those that failed once more. It keeps a quarter of the time for that, and for the end.
func (s slice) twice(ctx context.Context, tests []suite.Test, ends time.Time, run runner) (suite.Results, error) {
	results, err := run(ctx, tests, time.Until(ends)*3/4)
	failed := results.With(suite.Failed)
	if err != nil || len(failed) == 0 {
		return results, err
	}
	fmt.Printf("once more, since %d tests failed\n", len(failed))
	again, err := run(ctx, failed.Tests(), max(time.Until(ends)-time.Minute, time.Minute))
	if err != nil {
		return results, err
	}
	var flaked suite.Results
	for _, second := range again {
		if second.Outcome != suite.Passed {
			continue // also who got no second answer has failed
		}
		i := slices.IndexFunc(results, func(r suite.Result) bool { return r.Name == second.Name })
		flaked = append(flaked, results[i])
		results[i] = second
	}
	return results, noteFlakes(ctx, flaked)
}

// passingTests are those of docs/conformance-passing.txt.
func passingTests() ([]suite.Test, error) {
	f, err := os.Open(filepath.Join(docsDir, passingFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var names []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if l := strings.TrimSpace(lines.Text()); l != "" && !strings.HasPrefix(l, "#") {
			names = append(names, l)
		}
	}
	tests := suite.Named(suite.All(), names)
	if len(tests) != len(names) {
		return nil, fmt.Errorf("%s: %d lines, but %d of them name tests of the suite", f.Name(), len(names), len(tests))
	}
	return tests, lines.Err()
}
