package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
)

// ratchet holds the figures that were reached, by the corpus's part that was played ("all", or the sample of the tests).
// They may only rise.
type ratchet map[string]counts

func readRatchet(name string) (ratchet, error) {
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return ratchet{}, nil
	}
	if err != nil {
		return nil, err
	}
	r := ratchet{}
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}

// below lists the rows of a part that fell, with what they were, and says whether any rose.
func (r ratchet) below(part string, now counts) (fell map[string]string, rose bool) {
	fell = map[string]string{}
	for _, row := range slices.Sorted(maps.Keys(r[part])) {
		was, is := r[part][row], now[row]
		switch {
		case is == nil || is.Of != was.Of:
			fell[row] = fmt.Sprintf("%s: the corpus has changed: record the figures anew", row)
		case is.Code < was.Code || is.Message < was.Message || is.Object < was.Object:
			fell[row] = fmt.Sprintf("%s: was %d %d %d, is %d %d %d (code, message, object)",
				row, was.Code, was.Message, was.Object, is.Code, is.Message, is.Object)
		case *is != *was:
			rose = true
		}
	}
	return fell, rose || len(now) > len(r[part])
}

// record raises the figures of a part, and writes the file.
func (r ratchet) record(name, part string, now counts) error {
	next := counts{}
	for row, is := range now {
		raised := *is // a row that is no longer there is forgotten
		if was := r[part][row]; was != nil && was.Of == is.Of {
			raised.Code, raised.Message, raised.Object = max(is.Code, was.Code), max(is.Message, was.Message), max(is.Object, was.Object)
		}
		next[row] = &raised
	}
	r[part] = next
	return os.WriteFile(name, []byte(r.String()), 0o644)
}

// String is the file's content: a row a line, so that a change can be read as one.
func (r ratchet) String() string {
	var parts []string
	for _, part := range slices.Sorted(maps.Keys(r)) {
		var rows []string
		for _, row := range slices.Sorted(maps.Keys(r[part])) {
			b, err := json.Marshal(r[part][row])
			if err != nil {
				panic(err) // four numbers
			}
			rows = append(rows, fmt.Sprintf("    %q: %s", row, b))
		}
		parts = append(parts, fmt.Sprintf("  %q: {\n%s\n  }", part, strings.Join(rows, ",\n")))
	}
	return "{\n" + strings.Join(parts, ",\n") + "\n}\n"
}
