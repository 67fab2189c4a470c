package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// count is how many answers of a row are upstream's, on each level.
type count struct {
	Of      int `json:"of"`
	Code    int `json:"code"`
	Message int `json:"message"`
	Object  int `json:"object"`
}

func (c *count) add(v verdict) {
	c.Of++
	for level, ok := range map[*int]bool{&c.Code: v.code, &c.Message: v.message, &c.Object: v.object} {
		if ok {
			*level++
		}
	}
}

// total is the row of all cases together.
const total = "total"

// counts has a row for every kind, one for every section ("bad:") and the total.
type counts map[string]*count

func (c counts) add(row string, v verdict) {
	if c[row] == nil {
		c[row] = &count{}
	}
	c[row].add(v)
}

func tally(cases []*Case, verdicts map[*Case][]verdict) counts {
	out := counts{}
	for _, c := range cases {
		for _, v := range verdicts[c] {
			for _, row := range []string{c.row(), c.Section + ":", total} {
				out.add(row, v)
			}
		}
	}
	return out
}

// print writes the table: kinds, sections, total.
func (c counts) print(w io.Writer) {
	fmt.Fprintf(w, "%-54s %8s %15s %15s %15s\n", "", "answers", "code+reason", "message+causes", "whole object")
	level := func(n, of int) string {
		return fmt.Sprintf("%d %5.1f%%", n, 100*float64(n)/float64(of))
	}
	line := func(name string) {
		r := c[name]
		fmt.Fprintf(w, "%-54s %8d %15s %15s %15s\n", name, r.Of, level(r.Code, r.Of), level(r.Message, r.Of), level(r.Object, r.Of))
	}
	var sections []string
	for _, name := range slices.Sorted(maps.Keys(c)) {
		switch {
		case strings.HasSuffix(name, ":"):
			sections = append(sections, name)
		case name != total:
			line(name)
		}
	}
	for _, name := range append(sections, total) {
		if c[name] != nil {
			line(name)
		}
	}
}

var unfit = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// writeReport writes a file for each case that differs: what was asked, and where the answers differ.
func writeReport(folder string, cases []*Case, verdicts map[*Case][]verdict) (differing int, err error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return 0, err
	}
	old, _ := filepath.Glob(filepath.Join(folder, "*.txt"))
	for _, name := range old {
		if err := os.Remove(name); err != nil {
			return 0, err
		}
	}
	for _, c := range cases {
		body := describe(c, verdicts[c])
		if body == "" {
			continue
		}
		differing++
		if err := os.WriteFile(filepath.Join(folder, unfit.ReplaceAllString(c.ID, "_")+".txt"), []byte(body), 0o644); err != nil {
			return differing, err
		}
	}
	return differing, nil
}

func describe(c *Case, verdicts []verdict) string {
	var b strings.Builder
	for i, v := range verdicts {
		if v.object {
			continue
		}
		fmt.Fprintf(&b, "\nstep %d %s\n", i, format(tree(&c.Steps[i])))
		for _, line := range v.differing {
			fmt.Fprintln(&b, " ", line)
		}
	}
	if b.Len() == 0 {
		return ""
	}
	head := fmt.Sprintf("case %s\n", c.ID)
	if c.Object != nil {
		head += fmt.Sprintf("object %s\n", format(c.Object))
	}
	for i := range c.Setup {
		head += fmt.Sprintf("setup %s\n", format(tree(&c.Setup[i])))
	}
	return head + b.String()
}
