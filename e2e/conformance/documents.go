package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/skiff-project/skiff/e2e/conformance/programs"
	"github.com/skiff-project/skiff/e2e/conformance/suite"
)

// Files of docs/ that a full run writes. The first is for people, the second for `conformance slice`.
const (
	resultsFile = "conformance.md"
	passingFile = "conformance-passing.txt"
	flakesFile  = "flakes.md"
)

// document writes down what a full run has shown.
func document(ctx context.Context, results suite.Results, began time.Time, procs int) error {
	var passing strings.Builder
	for _, t := range results.With(suite.Passed) {
		fmt.Fprintln(&passing, t.Name)
	}
	r := run{results: results, date: began.UTC(), took: time.Since(began), procs: procs, version: version(ctx), machine: machine()}
	return errors.Join(
		os.WriteFile(filepath.Join(docsDir, resultsFile), []byte(r.page()), 0o644),
		os.WriteFile(filepath.Join(docsDir, passingFile), []byte(passing.String()), 0o644),
	)
}

// run is what the page tells of.
type run struct {
	results          suite.Results
	date             time.Time
	took             time.Duration
	procs            int
	version, machine string
}

func (r run) page() string {
	var b strings.Builder
	passed, failed := len(r.results.With(suite.Passed)), r.results.With(suite.Failed)
	fmt.Fprintf(&b, `# Conformance

Skiff %s passes **%d of %d** tests of the official conformance suite of Kubernetes %s.

Run on %s with %d tests at a time, in %d minutes, on two machines made by `+"`skiff up --egress=false`"+` on one host: %s.
This page is written by `+"`make conformance`"+` when it has run the whole suite. What passed is listed in
[conformance-passing.txt](conformance-passing.txt); continuous integration runs a third of that for every commit.

| SIG | area | passed | failed | seconds | longest |
|---|---|--:|--:|--:|--:|
`, r.version, passed, len(r.results), programs.Kubernetes, r.date.Format("2006-01-02"), r.procs, int(r.took.Round(time.Minute).Minutes()), r.machine)
	for _, a := range r.results.Areas() {
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %.0f | %.0f |\n", strings.TrimPrefix(a.SIG, "sig-"), cell(a.Name), a.Passed, a.Failed, a.Sum.Seconds(), a.Longest.Seconds())
	}
	if len(failed) > 0 {
		b.WriteString("\n## What failed\n\n| test | first line of the failure |\n|---|---|\n")
		for _, t := range failed {
			fmt.Fprintf(&b, "| %s | %s |\n", cell(t.Name), cell(t.Line))
		}
	}
	b.WriteString(`
## How it is run

` + "```" + `
make conformance                          # all of it
make conformance FOCUS='sig-apps.*Job'    # tests whose names match; SKIP leaves some out
make conformance FAILED=1                 # what failed last
make conformance PROCS=8                  # tests at a time, 5 if not given
` + "```" + `

The suite, Ginkgo and kubectl are built from their Go modules, the images of the tests from Go programs, Debian's packages
and busybox's source ([e2e/conformance](../e2e/conformance)). No test sends a packet to anything outside of the machine.
Each run leaves its log, a JUnit report, tables and the logs of all components in out/conformance.
`)
	return b.String()
}

// cell makes text fit into a table.
func cell(s string) string {
	if r := []rune(s); len(r) > 300 {
		s = string(r[:300]) + "…"
	}
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;").Replace(s)
}

// machine describes this host as far as it matters for how long things take.
func machine() string {
	memory := "unknown memory"
	if body, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kilobytes int
		if _, err := fmt.Sscanf(string(body), "MemTotal: %d kB", &kilobytes); err == nil {
			memory = fmt.Sprintf("%d GB", (kilobytes+1<<19)>>20)
		}
	}
	groups := "cgroup v1"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		groups = "cgroup v2"
	}
	return fmt.Sprintf("%d cores, %s, %s", runtime.NumCPU(), memory, groups)
}

// noteFlakes adds tests that passed only when repeated to docs/flakes.md, and says so.
func noteFlakes(ctx context.Context, flaked suite.Results) error {
	if len(flaked) == 0 {
		return nil
	}
	path := filepath.Join(docsDir, flakesFile)
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var lines strings.Builder
	for _, t := range flaked {
		fmt.Fprintf(&lines, "| %s | %s | %s | %s: %s |\n", time.Now().UTC().Format("2006-01-02"), version(ctx), cell(t.Name), t.Where, cell(t.Line))
	}
	fmt.Printf("\nThese passed only when repeated. Each is an open defect; %s has a line about it to commit:\n%s", path, lines.String())
	return os.WriteFile(path, append(page, lines.String()...), 0o644)
}
