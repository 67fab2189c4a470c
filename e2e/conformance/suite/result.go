package suite

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Outcome is what came of a test.
type Outcome string

// A test that was not reached, or was interrupted, has told nothing.
const (
	Passed Outcome = "passed"
	Failed Outcome = "failed"
	NotRun Outcome = "not run"
)

// Result is what came of one test, and how.
type Result struct {
	Test
	Outcome Outcome
	Took    time.Duration
	Line    string // the first line of the failure that says something
	Where   string // file and line
	Message string // the failure in full
}

// Results are those of one run, in the order of the tests.
type Results []Result

// With returns the results of one outcome.
func (r Results) With(o Outcome) Results {
	var some Results
	for _, t := range r {
		if t.Outcome == o {
			some = append(some, t)
		}
	}
	return some
}

// Tests returns the tests that the results are about.
func (r Results) Tests() []Test {
	var tests []Test
	for _, t := range r {
		tests = append(tests, t.Test)
	}
	return tests
}

// spec is the part of Ginkgo's report about one test that matters here.
type spec struct {
	ContainerHierarchyTexts []string
	LeafNodeText            string
	LeafNodeType            string
	State                   string
	RunTime                 time.Duration
	Failure                 struct {
		Message  string
		Location struct {
			FileName   string
			LineNumber int
		}
	}
}

func (s spec) name() string {
	return strings.TrimSpace(strings.Join(s.ContainerHierarchyTexts, " ") + " " + s.LeafNodeText)
}

func (s spec) outcome() Outcome {
	switch s.State {
	case "passed":
		return Passed
	case "failed", "panicked", "timedout", "aborted":
		return Failed
	}
	return NotRun
}

func (s spec) result(t Test) Result {
	r := Result{Test: t, Outcome: s.outcome(), Took: s.RunTime}
	if r.Outcome == Failed {
		r.Line, r.Message = firstLine(s.Failure.Message), s.Failure.Message
		r.Where = fmt.Sprintf("%s:%d", filepath.Base(s.Failure.Location.FileName), s.Failure.Location.LineNumber)
	}
	return r
}

func firstLine(message string) string {
	for _, l := range strings.Split(message, "\n") {
		if l = strings.Join(strings.Fields(l), " "); l != "" {
			return l
		}
	}
	return ""
}

// read reads Ginkgo's report about these tests. What went wrong outside of any test is an error: no result counts then.
func read(file string, tests []Test) (Results, error) {
	body, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var reports []struct{ SpecReports []spec }
	if err := json.Unmarshal(body, &reports); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	specs := map[string]spec{}
	for _, report := range reports {
		for _, s := range report.SpecReports {
			if s.LeafNodeType == "It" {
				specs[s.name()] = s
			} else if s.outcome() == Failed {
				return nil, fmt.Errorf("%s: %s", s.LeafNodeType, firstLine(s.Failure.Message))
			}
		}
	}
	var results Results
	for _, t := range tests {
		s, ok := specs[t.Name]
		if !ok {
			return nil, fmt.Errorf("the suite has no test %q", t.Name)
		}
		results = append(results, s.result(t))
	}
	return results, nil
}
