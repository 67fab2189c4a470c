package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/skiff-project/skiff/e2e/lab"
)

// record holds the figures of a run.
type record struct {
	runs  int
	began time.Time
	rows  []*row
}

// row is one thing that is measured of each side.
type row struct {
	Benchmark string                 `json:"benchmark"`
	What      string                 `json:"what"`
	Unit      string                 `json:"unit"`
	Good      string                 `json:"good"`
	Values    map[lab.Side][]float64 `json:"values"`
}

func (r *record) add(benchmark, what, unit string, good direction, side lab.Side, value float64) {
	i := slices.IndexFunc(r.rows, func(w *row) bool { return w.Benchmark == benchmark && w.What == what })
	if i < 0 {
		i = len(r.rows)
		r.rows = append(r.rows, &row{benchmark, what, unit, map[direction]string{more: "more", less: "less"}[good], map[lab.Side][]float64{}})
	}
	r.rows[i].Values[side] = append(r.rows[i].Values[side], value)
}

// ratio says how many times better Skiff is, and false if it was not measured beside upstream.
func (w *row) ratio() (float64, bool) {
	upstream, skiff := median(w.Values[lab.Upstream]), median(w.Values[lab.Skiff])
	if upstream <= 0 || skiff <= 0 {
		return 0, false
	}
	if w.Good == "less" {
		return upstream / skiff, true
	}
	return skiff / upstream, true
}

func (w *row) cell(side lab.Side) string {
	if len(w.Values[side]) == 0 {
		return ""
	}
	return number(median(w.Values[side]))
}

func (w *row) ratioCell() string {
	if r, ok := w.ratio(); ok {
		return fmt.Sprintf("%.1fx", r)
	}
	return ""
}

// publish prints the table and writes the files that were asked for.
func (r *record) publish(o *options) error {
	fmt.Print(r.text())
	if o.json != "" {
		if err := r.writeJSON(o.json); err != nil {
			return err
		}
	}
	if o.docs == "" {
		return nil
	}
	if err := os.WriteFile(filepath.Join(o.docs, "performance.svg"), []byte(chart(r.rows)), 0o644); err != nil {
		return err
	}
	return replaceTable(filepath.Join(o.docs, "performance.md"), r.markdown())
}

func (r *record) text() string {
	var out strings.Builder
	last := ""
	for _, w := range r.rows {
		if w.Benchmark != last {
			fmt.Fprintf(&out, "\n%-66s %-17s %10s %10s %7s %10s\n", w.Benchmark, "", lab.Upstream, lab.Skiff, "ratio", bound)
			last = w.Benchmark
		}
		fmt.Fprintf(&out, "  %-64s %-17s %10s %10s %7s %10s\n", w.What, w.Unit, w.cell(lab.Upstream), w.cell(lab.Skiff), w.ratioCell(), w.cell(bound))
	}
	fmt.Fprintf(&out, "\n%s; ratios say how many times better Skiff is\n", r.conditions())
	return out.String()
}

func (r *record) markdown() string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s. Ratios say how many times better Skiff is.\n\n", r.conditions())
	out.WriteString("![Skiff beside upstream](performance.svg)\n")
	last := ""
	for _, w := range r.rows {
		if w.Benchmark != last {
			fmt.Fprintf(&out, "\n| %s | unit | upstream | Skiff | ratio | ceiling |\n|---|---|---:|---:|---:|---:|\n", w.Benchmark)
			last = w.Benchmark
		}
		fmt.Fprintf(&out, "| %s | %s | %s | %s | %s | %s |\n", w.What, w.Unit, w.cell(lab.Upstream), w.cell(lab.Skiff), w.ratioCell(), w.cell(bound))
	}
	return out.String()
}

// conditions says what the figures depend on.
func (r *record) conditions() string {
	var u syscall.Utsname
	kernel := ""
	if syscall.Uname(&u) == nil {
		for _, c := range u.Release {
			if c == 0 {
				break
			}
			kernel += string(rune(c))
		}
	}
	what := fmt.Sprintf("medians of %d runs of each side in turn", r.runs)
	if r.runs == 1 {
		what = "one run of each side"
	}
	return fmt.Sprintf("%s, %s, %d processors, Linux %s, %s in all", r.began.UTC().Format("2 January 2006 15:04 UTC"), what,
		runtime.NumCPU(), kernel, time.Since(r.began).Round(time.Second))
}

func (r *record) writeJSON(file string) error {
	b, err := json.MarshalIndent(map[string]any{"conditions": r.conditions(), "runs": r.runs, "figures": r.rows}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o644)
}

// The lines of a document between which the last run's table stands.
const (
	tableBegins = "<!-- make bench writes what follows -->"
	tableEnds   = "<!-- make bench writes no further -->"
)

// replaceTable puts a table between the marks of a document.
func replaceTable(file, table string) error {
	body, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(body), tableBegins)
	_, after, ended := strings.Cut(rest, tableEnds)
	if !found || !ended {
		return fmt.Errorf("%s has no lines %q and %q", file, tableBegins, tableEnds)
	}
	return os.WriteFile(file, []byte(before+tableBegins+"\n\n"+table+"\n"+tableEnds+after), 0o644)
}

func median(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	list = slices.Sorted(slices.Values(list))
	if n := len(list); n%2 == 0 {
		return (list[n/2-1] + list[n/2]) / 2
	}
	return list[len(list)/2]
}

func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 1:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
