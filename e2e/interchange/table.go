package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/skiff-project/skiff/e2e/lab"
)

func (r *run) mark() string {
	if r == nil {
		return "not run"
	}
	if r.err != nil {
		return fmt.Sprintf("FAILED, %.0f s", r.took.Seconds())
	}
	return fmt.Sprintf("passed, %.0f s", r.took.Seconds())
}

// table has a row for each component and a column for each side as the guest in the other's cluster.
func table(runs []*run, began time.Time) string {
	var out strings.Builder
	fmt.Fprintf(&out, "| component | upstream's in a cluster of Skiff | Skiff's in a cluster of upstream |\n|---|---|---|\n")
	rows := []string{}
	at := map[string]map[lab.Side]*run{}
	for _, r := range runs {
		if at[r.row] == nil {
			at[r.row] = map[lab.Side]*run{}
			rows = append(rows, r.row)
		}
		at[r.row][r.column] = r
	}
	for _, row := range rows {
		name := row
		if row == "whole cluster" {
			name = "none: a whole cluster of one side"
		}
		fmt.Fprintf(&out, "| %s | %s | %s |\n", name, at[row][lab.Upstream].mark(), at[row][lab.Skiff].mark())
	}
	failed := 0
	for _, r := range runs {
		if r.err != nil {
			failed++
		}
	}
	fmt.Fprintf(&out, "\n%d cells, %d failed, %s in all.\n", len(runs), failed, time.Since(began).Round(time.Second))
	return out.String()
}

const introduction = `# Interchange

Each component can be replaced by its upstream counterpart, and replaces it. ` + "`make interchange`" + ` shows it: a cell is a cluster of
one node in which one component is the other side's; in it a script does what users do (e2e/interchange/script.go): roll-outs,
quotas, jobs, stateful sets, daemon sets, volumes, logs, exec, services by address and by name, deletion. Where upstream's controller
manager or scheduler runs, an error line of theirs that the same script does not also cause in a cluster of upstream alone fails the cell
(but for those that only say who came first, errorlines.go). In the cells about data, the
other side's API server is started on a copy of etcd and must serve every object equal.

`

func writeDocument(file string, runs []*run, began time.Time) error {
	var out strings.Builder
	out.WriteString(introduction)
	fmt.Fprintf(&out, "The last run, %s, upstream v1.37.2, etcd 3.7.3, containerd 2.2.9:\n\n%s\n", began.UTC().Format("2 January 2006 15:04 UTC"), table(runs, began))
	out.WriteString("What cells had to say:\n\n")
	for _, r := range runs {
		for _, n := range r.notes {
			fmt.Fprintf(&out, "- %s: %s\n", r.name, n)
		}
		if r.err != nil {
			fmt.Fprintf(&out, "- %s failed: %s\n", r.name, strings.ReplaceAll(r.err.Error(), "\n", "; "))
		}
	}
	return os.WriteFile(file, []byte(out.String()), 0o644)
}
