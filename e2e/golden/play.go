package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"
)

// player plays cases against a target.
type player struct {
	target *target
	round  string // makes names of this round unlike those of any other

	mu    sync.Mutex
	locks map[string]*sync.Mutex
}

func newPlayer(t *target) *player {
	return &player{target: t, round: fmt.Sprint(time.Now().UnixNano()), locks: map[string]*sync.Mutex{}}
}

// all plays cases, several at a time, and gives every outcome to done, which is called by one goroutine at a time.
func (p *player) all(cases []*Case, workers int, done func(*Case, []Answer, error)) {
	queue := make(chan *Case)
	var wait sync.WaitGroup
	var mu sync.Mutex
	for range workers {
		wait.Go(func() {
			for c := range queue {
				answers, err := p.play(c)
				mu.Lock()
				done(c, answers, err)
				mu.Unlock()
			}
		})
	}
	for _, c := range cases {
		queue <- c
	}
	close(queue)
	wait.Wait()
}

func (p *player) lock(name string) (unlock func()) {
	if name == "" {
		return func() {}
	}
	p.mu.Lock()
	l := p.locks[name]
	if l == nil {
		l = &sync.Mutex{}
		p.locks[name] = l
	}
	p.mu.Unlock()
	l.Lock()
	return l.Unlock
}

// session is one case being played.
type session struct {
	target *target
	c      *Case
	values map[string]string // what {ns} and the like stand for
	bodies map[string]any    // answers by the names of their steps
	made   []string          // paths of objects that have to go away again
	marks  *marks
}

// play sends the requests of a case and returns the answers of its steps, with placeholders. It leaves nothing behind.
func (p *player) play(c *Case) ([]Answer, error) {
	defer p.lock(c.Lock)()
	sum := sha256.Sum256([]byte(c.ID + p.round))
	id := hex.EncodeToString(sum[:4])
	s := &session{target: p.target, c: c, bodies: map[string]any{}, values: map[string]string{
		"ns": "g-" + id, "px": "p" + id, "b1": fmt.Sprint(sum[5]), "b2": fmt.Sprint(sum[6]),
	}}
	s.marks = newMarks(c, s.values)
	defer s.clean()
	if err := s.namespace(); err != nil {
		return nil, err
	}
	for i := range c.Setup {
		if _, err := s.step(&c.Setup[i]); err != nil {
			return nil, fmt.Errorf("setup %d, %s: %w", i, &c.Setup[i], err)
		}
	}
	answers := make([]Answer, len(c.Steps))
	for i := range c.Steps {
		out, err := s.step(&c.Steps[i])
		if err != nil {
			answers[i] = Answer{Code: -1, Text: "no answer: " + err.Error()}
			continue
		}
		answers[i] = s.marks.answer(&c.Steps[i], out)
	}
	return answers, nil
}

// namespace makes the case's own, with the service account that a controller would make.
func (s *session) namespace() error {
	if s.c.NoNamespace {
		return nil
	}
	object := func(kind, name string) any {
		return map[string]any{"apiVersion": "v1", "kind": kind, "metadata": map[string]any{"name": name}}
	}
	const path = "/api/v1/namespaces"
	for _, q := range []*Request{
		{Method: "POST", Path: path, Body: object("Namespace", s.values["ns"])},
		{Method: "POST", Path: path + "/{ns}/serviceaccounts", Body: object("ServiceAccount", "default")},
	} {
		out, err := s.send(q)
		if err != nil {
			return err
		}
		if out.code != http.StatusCreated {
			return fmt.Errorf("%s: %d %s", q, out.code, out.body)
		}
	}
	s.made = nil // clean knows of these two
	return nil
}

// step sends a request and keeps what later ones and the placeholders need of its answer.
func (s *session) step(q *Request) (*received, error) {
	out, err := s.send(q)
	if err != nil {
		return nil, err
	}
	if v, err := parse(out.body); err == nil {
		if q.Name != "" {
			s.bodies[q.Name] = v
		}
		s.marks.learn(v)
	}
	for _, e := range out.events {
		s.marks.learn(e)
	}
	return out, nil
}

func (s *session) send(q *Request) (*received, error) {
	filled := *q
	filled.Path, filled.Token = s.fill(q.Path), s.fill(q.Token)
	filled.Header = map[string]string{}
	for k, v := range q.Header {
		filled.Header[k] = s.fill(v)
	}
	if q.As != nil {
		as := *q.As
		as.Name, as.Groups = s.fill(as.Name), nil
		for _, g := range q.As.Groups {
			as.Groups = append(as.Groups, s.fill(g))
		}
		filled.As = &as
	}
	if q.Until != nil {
		filled.Until = &Until{Code: q.Until.Code, Contains: s.fill(q.Until.Contains)}
	}
	out, err := s.target.repeat(&filled, s.body(q))
	if err == nil {
		s.remember(&filled, out)
	}
	return out, err
}

func (s *session) body(q *Request) []byte {
	var v any
	switch {
	case q.Raw != "":
		return []byte(s.fill(q.Raw))
	case q.From == "@object":
		v = s.fillAll(s.c.Object)
	case q.From != "":
		v = clone(s.bodies[q.From])
	case q.Body != nil:
		v = s.fillAll(q.Body)
	default:
		return nil
	}
	for _, e := range q.Edits {
		v = edit(v, e.Op, e.Path, s.fillAll(e.Value))
	}
	if q.Fill != nil {
		v = edit(v, "set", q.Fill.Path, strings.Repeat("x", q.Fill.Bytes))
	}
	return []byte(format(v))
}

var placeholder = regexp.MustCompile(`\{([a-zA-Z0-9_-]+:)?[a-zA-Z0-9_.\-]+\}`)

// fill puts values in place of placeholders; what is unknown stays as it is.
func (s *session) fill(str string) string {
	if !strings.Contains(str, "{") {
		return str
	}
	return placeholder.ReplaceAllStringFunc(str, func(m string) string {
		name := m[1 : len(m)-1]
		if v, ok := s.values[name]; ok {
			return v
		}
		step, path, ok := strings.Cut(name, ":")
		body, known := s.bodies[step]
		if !ok || !known {
			return m
		}
		switch v := dotted(body, path).(type) {
		case string:
			return v
		case json.Number:
			return v.String()
		case nil:
			return "missing"
		default:
			return format(v)
		}
	})
}

// fillAll is a copy of a tree with its strings and keys filled.
func (s *session) fillAll(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[s.fill(k)] = s.fillAll(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = s.fillAll(x)
		}
		return out
	case string:
		return s.fill(v)
	}
	return v
}
