package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
)

// verdict says how far an answer is upstream's.
type verdict struct {
	code    bool // status code and reason
	message bool // and message, causes and warnings
	object  bool // and all the rest
	// differing lists the paths that differ: "-" is upstream's, "+" ours.
	differing []string
}

// judge compares the answers to a case with upstream's, step by step. err is why the case could not be played.
func judge(c *Case, got []Answer, err error) []verdict {
	out := make([]verdict, len(c.Answers))
	for i := range c.Answers {
		if err != nil {
			out[i].differing = []string{"not played: " + err.Error()}
			continue
		}
		out[i] = compare(&c.Answers[i], &got[i])
	}
	return out
}

func compare(want, got *Answer) (v verdict) {
	// Recorded on one day and asked on another.
	for _, a := range []*Answer{want, got} {
		if table, ok := a.Body.(map[string]any); ok && table["kind"] == "Table" {
			markAges(table)
		}
	}
	status := text(at(want.Body, "kind")) == "Status"
	v.code = want.Code == got.Code && (!status || text(at(got.Body, "kind")) == "Status" && same(want, got, "reason"))
	v.message = v.code && slices.Equal(want.Header["Warning"], got.Header["Warning"]) && causes(want) == causes(got) &&
		(!status || sameMessage(text(at(want.Body, "message")), text(at(got.Body, "message"))))
	v.differing = differences("", tree(want), tree(got))
	v.object = len(v.differing) == 0
	return v
}

func same(a, b *Answer, member string) bool {
	return text(at(a.Body, member)) == text(at(b.Body, member))
}

// tree is an answer or a request as JSON, as it is in the corpus.
func tree(from any) any {
	b, err := json.Marshal(from)
	if err != nil {
		panic(fmt.Sprintf("what came from JSON does not go back: %v", err))
	}
	v, _ := parse(b)
	return v
}

// causes are those of a Status, whatever their order.
func causes(a *Answer) string {
	list, _ := at(a.Body, "details", "causes").([]any)
	var lines []string
	for _, c := range list {
		lines = append(lines, format(c))
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

// sameMessage compares messages, and lists within them whatever their order.
func sameMessage(a, b string) bool { return a == b || sortedMessage(a) == sortedMessage(b) }

var withoutBrackets = strings.NewReplacer("[", "", "]", "")

func sortedMessage(s string) string {
	parts := strings.Split(withoutBrackets.Replace(s), ", ")
	if about, first, ok := strings.Cut(parts[0], " is invalid: "); ok {
		parts = append([]string{about, first}, parts[1:]...)
	}
	sort.Strings(parts)
	return strings.Join(parts, "\n")
}
