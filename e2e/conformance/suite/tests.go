package suite

import (
	"crypto/sha256"
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Test is one test of the suite.
type Test struct {
	SIG, Area string
	Name      string // in full, with its labels in brackets: what Ginkgo calls it
	Serial    bool   // runs while no other test does
	Estimate  time.Duration
}

// Slow says that the suite itself calls the test so.
func (t Test) Slow() bool { return strings.Contains(t.Name, "[Slow]") }

// tests.tsv: SIG, area, serial (y or n), seconds that the test took once, name. The areas are ours, to have a table
// that says where something is missing.
//
//go:embed tests.tsv
var table string

// All lists the conformance tests of the suite's version.
func All() []Test {
	var all []Test
	for i, line := range strings.Split(strings.TrimSpace(table), "\n") {
		f := strings.Split(line, "\t")
		if i == 0 {
			continue // the heading
		}
		seconds, err := strconv.ParseFloat(f[3], 64)
		if err != nil || len(f) != 5 {
			panic(fmt.Sprintf("tests.tsv, line %d: %q", i+1, line))
		}
		all = append(all, Test{SIG: f[0], Area: f[1], Serial: f[2] == "y", Estimate: time.Duration(seconds * float64(time.Second)), Name: f[4]})
	}
	return all
}

// Select keeps the tests whose names match focus and do not match skip. Both are regular expressions, found anywhere in
// the name; an empty one has no say.
func Select(tests []Test, focus, skip string) ([]Test, error) {
	want, err := regexp.Compile(focus)
	if err != nil {
		return nil, fmt.Errorf("FOCUS: %w", err)
	}
	not, err := regexp.Compile(skip)
	if err != nil {
		return nil, fmt.Errorf("SKIP: %w", err)
	}
	var selected []Test
	for _, t := range tests {
		if want.MatchString(t.Name) && (skip == "" || !not.MatchString(t.Name)) {
			selected = append(selected, t)
		}
	}
	return selected, nil
}

// Named keeps the tests of these names.
func Named(tests []Test, names []string) []Test {
	return slices.DeleteFunc(slices.Clone(tests), func(t Test) bool { return !slices.Contains(names, t.Name) })
}

// Third chooses a third of the tests, another one for each key and always the same for one.
func Third(tests []Test, key string) []Test {
	place := func(t Test) string {
		sum := sha256.Sum256([]byte(key + "\n" + t.Name))
		return string(sum[:])
	}
	mixed := slices.Clone(tests)
	slices.SortFunc(mixed, func(a, b Test) int { return strings.Compare(place(a), place(b)) })
	return mixed[:(len(mixed)+2)/3]
}

// focus is an expression that matches these tests and no others. Ginkgo puts the suite's name in front of a test's, so
// that only the end can be tied down.
func focus(tests []Test) string {
	names := make([]string, len(tests))
	for i, t := range tests {
		names[i] = regexp.QuoteMeta(t.Name)
	}
	slices.Sort(names)
	return "(?:" + strings.Join(names, "|") + ")$"
}
