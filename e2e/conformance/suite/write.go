package suite

import (
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// FailedFile names the failed tests of a run in its folder, one a line: name, first line of the failure, where, seconds.
const FailedFile = "failed.tsv"

// Write leaves the results in a folder: failed.tsv, passed.tsv, not-run.txt, areas.tsv and junit.xml.
func (r Results) Write(dir string) error {
	var failed, passed, notRun, areas strings.Builder
	for _, t := range r {
		switch t.Outcome {
		case Failed:
			fmt.Fprintf(&failed, "%s\t%s\t%s\t%.1f\n", t.Name, t.Line, t.Where, t.Took.Seconds())
		case Passed:
			fmt.Fprintf(&passed, "%s\t%.1f\n", t.Name, t.Took.Seconds())
		case NotRun:
			fmt.Fprintln(&notRun, t.Name)
		}
	}
	fmt.Fprintln(&areas, "sig\tarea\tpassed\tfailed\tnot run\tseconds\tlongest")
	for _, a := range r.Areas() {
		fmt.Fprintf(&areas, "%s\t%s\t%d\t%d\t%d\t%.0f\t%.0f\n", a.SIG, a.Name, a.Passed, a.Failed, a.NotRun, a.Sum.Seconds(), a.Longest.Seconds())
	}
	report, err := r.junit()
	if err != nil {
		return err
	}
	var errs []error
	for name, body := range map[string]string{
		FailedFile: failed.String(), "passed.tsv": passed.String(), "not-run.txt": notRun.String(), "areas.tsv": areas.String(),
		"junit.xml": string(report),
	} {
		errs = append(errs, os.WriteFile(filepath.Join(dir, name), []byte(body), 0o644))
	}
	return errors.Join(errs...)
}

// FailedIn reads the names of the tests that failed in the run that a folder is of.
func FailedIn(dir string) ([]string, error) {
	body, err := os.ReadFile(filepath.Join(dir, FailedFile))
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(string(body)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
		names = append(names, name)
	}
	return names, nil
}

// Area sums up the tests of one area.
type Area struct {
	SIG, Name              string
	Passed, Failed, NotRun int
	Sum, Longest           time.Duration
}

// Areas sums up by SIG and area, sorted.
func (r Results) Areas() []Area {
	byName := map[string]*Area{}
	for _, t := range r {
		key := t.SIG + "\t" + t.Area
		if byName[key] == nil {
			byName[key] = &Area{SIG: t.SIG, Name: t.Area}
		}
		a := byName[key]
		a.Sum += t.Took
		a.Longest = max(a.Longest, t.Took)
		switch t.Outcome {
		case Passed:
			a.Passed++
		case Failed:
			a.Failed++
		case NotRun:
			a.NotRun++
		}
	}
	var areas []Area
	for _, a := range byName {
		areas = append(areas, *a)
	}
	slices.SortFunc(areas, func(a, b Area) int {
		return strings.Compare(a.SIG+"\t"+a.Name, b.SIG+"\t"+b.Name)
	})
	return areas
}

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Seconds  string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	Seconds string        `xml:"time,attr"`
	Failure *junitFailure `xml:"failure,omitempty"`
	Skipped *struct{}     `xml:"skipped,omitempty"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// junit writes the report that most build servers can read.
func (r Results) junit() ([]byte, error) {
	s := junitSuite{Name: "Kubernetes conformance", Tests: len(r), Failures: len(r.With(Failed)), Skipped: len(r.With(NotRun))}
	var sum time.Duration
	for _, t := range r {
		sum += t.Took
		c := junitCase{Name: t.Name, Class: t.SIG + "." + t.Area, Seconds: fmt.Sprintf("%.3f", t.Took.Seconds())}
		switch t.Outcome {
		case Failed:
			c.Failure = &junitFailure{Message: t.Line, Text: t.Where + "\n" + t.Message}
		case NotRun:
			c.Skipped = &struct{}{}
		}
		s.Cases = append(s.Cases, c)
	}
	s.Seconds = fmt.Sprintf("%.3f", sum.Seconds())
	body, err := xml.MarshalIndent(s, "", " ")
	return append([]byte(xml.Header), append(body, '\n')...), err
}
