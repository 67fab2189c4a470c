package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/skiff-project/skiff/e2e/conformance/suite"
)

// whole is one run of `conformance run`.
type whole struct {
	focus, skip string
	failed      bool
	procs       int
	limit       time.Duration
}

func (w whole) run(ctx context.Context) error {
	tests, err := w.tests()
	if err != nil {
		return err
	}
	if len(tests) == 0 {
		return fmt.Errorf("none of the %d tests is chosen by FOCUS=%q SKIP=%q", len(suite.All()), w.focus, w.skip)
	}
	if err := build(ctx); err != nil {
		return err
	}
	s, err := begin()
	if err != nil {
		return err
	}
	began := time.Now()
	results, err := s.on(ctx, func(ctx context.Context) (suite.Results, error) {
		return s.tests(ctx, tests, w.procs, w.limit)
	})
	if len(results.With(suite.NotRun)) < len(results) {
		err = errors.Join(err, s.report(results))
	}
	if err != nil {
		return err
	}
	if len(results.With(suite.NotRun)) > 0 {
		return fmt.Errorf("%d tests were not run within %s", len(results.With(suite.NotRun)), w.limit)
	}
	if len(results) == len(suite.All()) {
		if err := document(ctx, results, began, w.procs); err != nil {
			return err
		}
		fmt.Printf("written: %s, %s\n", filepath.Join(docsDir, resultsFile), filepath.Join(docsDir, passingFile))
	}
	if failed := len(results.With(suite.Failed)); failed > 0 {
		return fmt.Errorf("%d of %d tests failed (make conformance FAILED=1 repeats them)", failed, len(results))
	}
	return nil
}

// tests are those that the flags choose.
func (w whole) tests() ([]suite.Test, error) {
	tests := suite.All()
	if w.failed {
		names, err := suite.FailedIn(filepath.Join(outDir, "last"))
		if err != nil {
			return nil, fmt.Errorf("FAILED=1 needs an earlier run: %w", err)
		}
		if len(names) == 0 {
			return nil, errors.New("nothing failed in the last run")
		}
		tests = suite.Named(tests, names)
	}
	return suite.Select(tests, w.focus, w.skip)
}

// session is a folder for what a run leaves, and the cluster that it runs on.
type session struct {
	out     string
	cluster *cluster
	lock    *os.File
}

// lockFile is held by a run for as long as it lives: runs share the name of their cluster, and end one that is left.
const lockFile = "/run/lock/skiff-conformance"

// lock fails when another run of this host is going on. The lock goes with the process.
func lock(file string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another run of the conformance suite is going on here (%s: %w)", file, err)
	}
	return f, nil
}

// begin makes a folder named for the time, to which "last" points.
func begin() (*session, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("clusters of machines need root: run this as root (sudo)")
	}
	held, err := lock(lockFile)
	if err != nil {
		return nil, err
	}
	stamp := time.Now().UTC().Format("20060102-150405")
	out, err := filepath.Abs(filepath.Join(outDir, stamp))
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return nil, err
	}
	c, err := newCluster("conformance", out)
	return &session{out: out, cluster: c, lock: held}, err
}

// on does something on a fresh cluster and ends the cluster afterwards, also when ctx ends in between.
func (s *session) on(ctx context.Context, do func(context.Context) (suite.Results, error)) (results suite.Results, err error) {
	began := time.Now()
	defer s.lock.Close()
	defer func() { err = errors.Join(err, s.cluster.down()) }()
	if err := s.cluster.up(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.cluster.logs()) }()
	fmt.Printf("a cluster of %d nodes is up and has the images after %s; all that follows is in %s\n", len(machines), time.Since(began).Round(time.Second), s.out)
	return do(ctx)
}

// tests runs tests on the cluster.
func (s *session) tests(ctx context.Context, tests []suite.Test, procs int, limit time.Duration) (suite.Results, error) {
	fmt.Printf("running %d tests, %d at a time\n", len(tests), procs)
	programs, err := filepath.Abs(programsDir())
	if err != nil {
		return nil, err
	}
	return suite.Run(ctx, suite.Config{
		Programs: programs, Kubeconfig: s.cluster.kubeconfig(), Procs: procs, Limit: limit, Out: s.out, Say: os.Stdout, Live: terminal(os.Stdout),
	}, tests)
}

func terminal(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

// report writes the results into the run's folder, and what matters of them on the screen.
func (s *session) report(results suite.Results) error {
	if err := results.Write(s.out); err != nil {
		return err
	}
	fmt.Printf("\n%-20s %-40s %6s %6s %7s\n", "SIG", "AREA", "PASSED", "FAILED", "SECONDS")
	for _, a := range results.Areas() {
		fmt.Printf("%-20s %-40s %6d %6d %7.0f\n", a.SIG, a.Name, a.Passed, a.Failed, a.Sum.Seconds())
	}
	for _, t := range results.With(suite.Failed) {
		fmt.Printf("\nFAILED %s\n       %s: %s\n", t.Name, t.Where, t.Line)
	}
	fmt.Printf("\npassed %d, failed %d, not run %d; %s\n", len(results.With(suite.Passed)), len(results.With(suite.Failed)), len(results.With(suite.NotRun)), s.out)
	last := filepath.Join(outDir, "last")
	if err := os.Remove(last); err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.Symlink(filepath.Base(s.out), last)
}
