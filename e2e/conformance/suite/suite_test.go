package suite

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestTheTableHasEveryConformanceTest(t *testing.T) {
	all := All()
	if len(all) != 462 {
		t.Errorf("%d tests, want 462", len(all))
	}
	seen, serial, slow := map[string]bool{}, 0, 0
	for _, test := range all {
		if seen[test.Name] || !strings.Contains(test.Name, "[Conformance]") || !strings.HasPrefix(test.Name, "["+test.SIG+"]") || test.Area == "" {
			t.Errorf("%+v", test)
		}
		seen[test.Name] = true
		if test.Serial != strings.Contains(test.Name, "[Serial]") {
			t.Errorf("serial = %v: %s", test.Serial, test.Name)
		}
		if test.Serial {
			serial++
		}
		if test.Slow() {
			slow++
		}
	}
	if serial != 29 || slow != 6 {
		t.Errorf("%d serial and %d slow tests, want 29 and 6", serial, slow)
	}
}

func TestSelect(t *testing.T) {
	for _, test := range []struct {
		focus, skip string
		want        func(Test) bool
	}{
		{"", "", func(Test) bool { return true }},
		{`sig-auth`, "", func(t Test) bool { return t.SIG == "sig-auth" }},
		{`\[sig-(apps|auth)\]`, `\[Serial\]|\[Slow\]`, func(t Test) bool {
			return (t.SIG == "sig-apps" || t.SIG == "sig-auth") && !t.Serial && !t.Slow()
		}},
		{"no such test", "", func(Test) bool { return false }},
	} {
		got, err := Select(All(), test.focus, test.skip)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, one := range All() {
			if test.want(one) {
				want = append(want, one.Name)
			}
		}
		if len(got) != len(want) || len(Named(got, want)) != len(want) {
			t.Errorf("%q without %q: %d tests, want %d", test.focus, test.skip, len(got), len(want))
		}
	}
	for _, bad := range [][2]string{{"[", ""}, {"", "("}} {
		if _, err := Select(All(), bad[0], bad[1]); err == nil {
			t.Errorf("%q was understood", bad)
		}
	}
}

func TestGinkgoIsToldExactlyTheseTests(t *testing.T) {
	all := All()
	for _, some := range [][]Test{all, all[:1], Third(all, "x")} {
		expression := focus(some)
		if len(expression) > 120<<10 {
			t.Errorf("%d tests make an argument of %d bytes, which the kernel refuses", len(some), len(expression))
		}
		chosen := map[string]bool{}
		for _, test := range some {
			chosen[test.Name] = true
		}
		matches := regexp.MustCompile(expression)
		for _, test := range all {
			if matches.MatchString("Kubernetes e2e suite "+test.Name) != chosen[test.Name] {
				t.Errorf("of %d tests chosen: %q", len(some), test.Name)
			}
		}
	}
}

func TestThirdsCoverTheSuiteInTime(t *testing.T) {
	all := All()
	seen := map[string]bool{}
	for i := range 20 {
		third := Third(all, fmt.Sprint(i))
		if len(third) != 154 || len(Named(third, []string{third[0].Name})) != 1 {
			t.Fatalf("%d tests", len(third))
		}
		if again := Third(all, fmt.Sprint(i)); again[0].Name != third[0].Name || again[153].Name != third[153].Name {
			t.Error("another choice for the same commit")
		}
		for _, test := range third {
			seen[test.Name] = true
		}
	}
	if len(seen) < 455 {
		t.Errorf("20 commits meet %d tests", len(seen))
	}
}

// ginkgoReport is a report as Ginkgo writes it.
func ginkgoReport(t *testing.T, specs ...map[string]any) string {
	t.Helper()
	body, err := json.Marshal([]any{map[string]any{"SpecReports": specs}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "report.json")
	if err := os.WriteFile(file, body, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func it(test Test, state, message string) map[string]any {
	head, tail, _ := strings.Cut(test.Name, " ")
	return map[string]any{
		"ContainerHierarchyTexts": []string{head}, "LeafNodeText": tail, "LeafNodeType": "It", "State": state, "RunTime": int64(2 * time.Second),
		"Failure": map[string]any{"Message": message, "Location": map[string]any{"FileName": "/x/y/pods.go", "LineNumber": 7}},
	}
}

func TestResults(t *testing.T) {
	all := All()[:6]
	file := ginkgoReport(t,
		it(all[0], "passed", ""), it(all[1], "failed", "\n  Timed out\tafter 5s\nmore <xml> & \x01"), it(all[2], "panicked", "oh"),
		it(all[3], "interrupted", "Interrupted by Timeout"), it(all[4], "skipped", ""), it(all[5], "timedout", "slow"),
		map[string]any{"LeafNodeType": "SynchronizedBeforeSuite", "State": "passed"})
	results, err := read(file, all)
	if err != nil {
		t.Fatal(err)
	}
	if p, f, n := len(results.With(Passed)), len(results.With(Failed)), len(results.With(NotRun)); p != 1 || f != 3 || n != 2 {
		t.Errorf("%d passed, %d failed, %d not run", p, f, n)
	}
	if r := results[1]; r.Line != "Timed out after 5s" || r.Where != "pods.go:7" || r.Took != 2*time.Second {
		t.Errorf("%+v", r)
	}
	dir := t.TempDir()
	if err := results.Write(dir); err != nil {
		t.Fatal(err)
	}
	names, err := FailedIn(dir)
	if err != nil || len(Named(all, names)) != 3 || len(names) != 3 {
		t.Errorf("failed tests %q, %v", names, err)
	}
	junit, err := os.ReadFile(filepath.Join(dir, "junit.xml"))
	if err != nil || !bytes.Contains(junit, []byte(`tests="6" failures="3" skipped="2"`)) || bytes.Contains(junit, []byte("<xml>")) {
		t.Errorf("%s, %v", junit, err)
	}
	sum := 0
	for _, a := range results.Areas() {
		sum += a.Passed + a.Failed + a.NotRun
	}
	if sum != 6 {
		t.Errorf("the areas have %d tests", sum)
	}
}

func TestAReportThatCountsForNothing(t *testing.T) {
	all := All()[:1]
	for name, file := range map[string]string{
		"none was written":        filepath.Join(t.TempDir(), "report.json"),
		"a test is not among it":  ginkgoReport(t),
		"the suite did not begin": ginkgoReport(t, it(all[0], "skipped", ""), map[string]any{"LeafNodeType": "SynchronizedBeforeSuite", "State": "failed", "Failure": map[string]any{"Message": "nodes are not ready"}}),
	} {
		if r, err := read(file, all); err == nil {
			t.Errorf("%s: %v", name, r)
		}
	}
}

func TestProgress(t *testing.T) {
	tests := []Test{
		{Name: "[sig-a] pods a [Conformance]", Estimate: 100 * time.Second}, {Name: "[sig-a] pods b [Conformance]", Estimate: 20 * time.Second}, {Name: "[sig-a] pods c", Estimate: 20 * time.Second},
		{Name: "[sig-a] pods c more", Serial: true, Estimate: 60 * time.Second},
	}
	var out bytes.Buffer
	p := NewProgress(tests, 2, &out, false)
	// In pieces, as a pipe delivers them.
	tell := func(text string) {
		t.Helper()
		for i := 0; i < len(text); i += 7 {
			if n, err := p.Write([]byte(text[i:min(i+7, len(text))])); err != nil || n == 0 {
				t.Fatal(n, err)
			}
		}
	}
	check := func(want string) {
		t.Helper()
		out.Reset()
		p.status()
		if _, line, _ := strings.Cut(out.String(), "  "); strings.TrimSpace(line) != want {
			t.Errorf("line %q, want %q", line, want)
		}
	}
	check("passed 0, failed 0, running 2, waiting 2; about 2:40 left")
	tell("------------------------------\n[SynchronizedBeforeSuite] PASSED [0.027 seconds]\n[SynchronizedBeforeSuite]\n")
	tell("------------------------------\n• [0.155 seconds]\n[sig-a] pods a [Conformance] [sig-a, Conformance]\n/pods.go:56\n\n  STEP: x\n• [1.2 seconds]\nanother test\n")
	check("passed 1, failed 0, running 2, waiting 1; about 1:20 left")
	out.Reset()
	tell("• [FAILED] [3.1 seconds]\n[sig-a] pods [It] b [Conformance] [sig-a, Conformance]\n")
	if out.String() != "FAILED  [sig-a] pods b [Conformance]\n" {
		t.Errorf("said %q", &out)
	}
	tell("• [0.5 seconds]\n[sig-a] pods c\n")
	check("passed 2, failed 1, running 1, waiting 0; about 1:00 left")
	known := p.Known(tests)
	if len(known.With(Passed)) != 2 || len(known.With(Failed)) != 1 || len(known.With(NotRun)) != 1 {
		t.Errorf("%+v", known)
	}
	tell("• [0.5 seconds]\n[sig-a] pods c more [sig-a]\n")
	check("passed 3, failed 1, running 0, waiting 0")
}
