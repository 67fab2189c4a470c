package main

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// Case is one line of the corpus: requests that prepare, then steps, each with upstream's answer.
type Case struct {
	ID string `json:"id"`
	// Section is what the case is about: defaults, bad, updates, protocol or custom.
	Section string `json:"section"`
	Group   string `json:"group,omitempty"`
	Kind    string `json:"kind,omitempty"`
	// NoNamespace cases need no namespace of their own.
	NoNamespace bool `json:"noNamespace,omitempty"`
	// Lock: cases with the same one never run at once, since they compete for something (node ports).
	Lock string `json:"lock,omitempty"`
	// Ignore are dotted paths that are removed from every answer.
	Ignore  []string  `json:"ignore,omitempty"`
	Object  any       `json:"object,omitempty"` // what From "@object" means
	Setup   []Request `json:"setup,omitempty"`
	Steps   []Request `json:"steps"`
	Answers []Answer  `json:"answers,omitempty"` // one per step
}

// Request is one HTTP request. {ns}, {px}, {b1} and {b2} stand for the case's namespace, prefix and two address bytes, and
// {step:dotted.path} for a value of an earlier answer, in Path, Body, Raw, Header and Token.
type Request struct {
	Name      string            `json:"name,omitempty"`
	Method    string            `json:"method"`
	Path      string            `json:"path"`
	Accept    string            `json:"accept,omitempty"`      // default: JSON
	Type      string            `json:"contentType,omitempty"` // default: JSON where there is a body; "-": none
	Header    map[string]string `json:"header,omitempty"`
	As        *User             `json:"as,omitempty"` // impersonated
	Anonymous bool              `json:"anonymous,omitempty"`
	Token     string            `json:"token,omitempty"` // instead of the administrator's certificate
	Body      any               `json:"body,omitempty"`
	Raw       string            `json:"raw,omitempty"`
	From      string            `json:"from,omitempty"` // the body is the answer of that step
	Edits     []Edit            `json:"ops,omitempty"`  // of Body or From
	Fill      *Fill             `json:"fill,omitempty"`
	Until     *Until            `json:"until,omitempty"`
	Watch     int               `json:"watch,omitempty"` // how many events to read at most
}

// User is whom a request impersonates.
type User struct {
	Name   string              `json:"name"`
	Groups []string            `json:"groups,omitempty"`
	UID    string              `json:"uid,omitempty"`
	Extra  map[string][]string `json:"extra,omitempty"`
}

// Edit changes a JSON tree: "set", "remove", "append", or "copyFirst" (append a copy of the first element).
type Edit struct {
	Op    string `json:"op"`
	Path  []any  `json:"path"` // keys and indexes
	Value any    `json:"value,omitempty"`
}

// Fill sets a string of that many bytes: bodies too long to be kept in the corpus.
type Fill struct {
	Path  []any `json:"path"`
	Bytes int   `json:"bytes"`
}

// Until repeats a request until its answer is as said.
type Until struct {
	Code     int    `json:"code,omitempty"`
	Contains string `json:"contains,omitempty"` // in the body as compact JSON with sorted keys, or in a Warning
}

// Answer is what came back, with placeholders.
type Answer struct {
	Code   int                 `json:"code"`
	Header map[string][]string `json:"header,omitempty"`
	Body   any                 `json:"body,omitempty"`
	Text   string              `json:"text,omitempty"` // a body that is not JSON
	Events []any               `json:"events,omitempty"`
}

// row is the name under which the case is counted: the kind, with the first label of its group.
func (c *Case) row() string {
	if c.Kind == "" {
		return c.Section
	}
	group := c.Group
	for i := range group {
		if group[i] == '.' {
			group = group[:i]
			break
		}
	}
	if group == "" {
		group = "core"
	}
	return group + "/" + c.Kind
}

// readCases reads a corpus, one case a line, gzipped.
func readCases(name string) ([]*Case, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	d := json.NewDecoder(bufio.NewReaderSize(z, 1<<20))
	d.UseNumber()
	var all []*Case
	for {
		c := &Case{}
		if err := d.Decode(c); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s, case %d: %w", name, len(all)+1, err)
		}
		if len(c.Answers) != len(c.Steps) {
			return nil, fmt.Errorf("%s, case %s: %d steps and %d answers", name, c.ID, len(c.Steps), len(c.Answers))
		}
		all = append(all, c)
	}
}
