package main

import (
	"fmt"
	"hash/fnv"
	"io"
	"regexp"
	"slices"
)

// Where corpus and figures are, from this folder.
const (
	corpusFile  = "testdata/answers.jsonl.gz"
	ratchetFile = "testdata/ratchet.json"
)

// The parts of the corpus that the ratchet has figures for.
const (
	everything = "all"
	sample     = "sample" // what `make test` plays
)

// sampleShare: one case in that many belongs to the sample, chosen by name so that it does not move when cases are added.
const sampleShare = 4

func inSample(c *Case) bool {
	h := fnv.New32a()
	io.WriteString(h, c.ID) // never fails
	return h.Sum32()%sampleShare == 0
}

// raced are cases whose answers depend on how soon a server's own loops act: on definitions of custom resources, on API
// services, on flow schemas. (Upstream takes some five seconds to remove a deleted definition, for example.) They are
// played and printed; the ratchet does not hold them.
var raced = regexp.MustCompile(`^(updates|protocol/kind|defaults)/(apiextensions|apiregistration|flowcontrol)\.|^protocol/(aggregation|admission)/|^custom/`)

func steady(cases []*Case) []*Case {
	return slices.DeleteFunc(slices.Clone(cases), func(c *Case) bool { return raced.MatchString(c.ID) })
}

func matching(cases []*Case, re *regexp.Regexp) []*Case {
	return slices.DeleteFunc(slices.Clone(cases), func(c *Case) bool { return !re.MatchString(c.ID) })
}

func inRows[T any](cases []*Case, rows map[string]T) []*Case {
	return slices.DeleteFunc(slices.Clone(cases), func(c *Case) bool {
		_, ok := rows[c.row()]
		return !ok
	})
}

// round plays cases against a target and judges the answers.
func round(t *target, cases []*Case, workers int) map[*Case][]verdict {
	verdicts := map[*Case][]verdict{}
	newPlayer(t).all(cases, workers, func(c *Case, got []Answer, err error) { verdicts[c] = judge(c, got, err) })
	return verdicts
}

// hold plays cases and holds the figures against the ratchet. Cases of rows that fell are played once more, one at a time,
// since on a busy machine a watch may bring its events too late. It returns the figures that the ratchet is about, and what
// is still below.
func hold(t *target, cases []*Case, workers int, r ratchet, part string) (verdicts map[*Case][]verdict, now counts, fell map[string]string, rose bool) {
	verdicts = round(t, cases, workers)
	held := steady(cases)
	now = tally(held, verdicts)
	if fell, rose = r.below(part, now); len(fell) == 0 {
		return verdicts, now, nil, rose
	}
	again := slices.DeleteFunc(inRows(held, fell), func(c *Case) bool {
		return !slices.ContainsFunc(verdicts[c], func(v verdict) bool { return !v.object })
	})
	for c, v := range round(t, again, 1) {
		verdicts[c] = better(verdicts[c], v)
	}
	now = tally(held, verdicts)
	fell, rose = r.below(part, now)
	return verdicts, now, fell, rose
}

// better is the round of the two in which more answers were right.
func better(a, b []verdict) []verdict {
	score := func(vs []verdict) (n int) {
		for _, v := range vs {
			for _, ok := range []bool{v.code, v.message, v.object} {
				if ok {
					n++
				}
			}
		}
		return n
	}
	if score(b) > score(a) {
		return b
	}
	return a
}

func say(w io.Writer, fell map[string]string) {
	for _, line := range fell {
		fmt.Fprintln(w, "below what was reached:", line)
	}
}
