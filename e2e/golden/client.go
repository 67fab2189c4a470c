package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"k8s.io/client-go/rest"
)

const (
	requestTime = 30 * time.Second
	// watchTime is how long a watch is read that brings fewer events than the case is content with.
	watchTime  = 8 * time.Second
	untilTime  = 10 * time.Second
	untilPause = 20 * time.Millisecond
)

// target is the server that is asked.
type target struct {
	base             string
	admin, anonymous *http.Client
}

func newTarget(c *rest.Config) (*target, error) {
	c = rest.CopyConfig(c)
	c.DisableCompression = true
	c.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	t := &target{base: strings.TrimSuffix(c.Host, "/")}
	for client, config := range map[**http.Client]*rest.Config{&t.admin: c, &t.anonymous: rest.AnonymousClientConfig(c)} {
		made, err := rest.HTTPClientFor(config)
		if err != nil {
			return nil, err
		}
		made.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		*client = made
	}
	return t, nil
}

// received is an answer as it came.
type received struct {
	code   int
	header http.Header
	body   []byte
	events []any
}

// do sends a request whose placeholders have been filled in, once.
func (t *target) do(q *Request, body []byte) (*received, error) {
	ctx, cancel := context.WithTimeout(context.Background(), requestTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, q.Method, t.base+q.Path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body == nil {
		req.Body, req.GetBody = nil, nil
	}
	q.headers(req.Header, body != nil)
	client := t.admin
	if q.Anonymous || q.Token != "" {
		client = t.anonymous
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	out := &received{code: resp.StatusCode, header: resp.Header}
	if q.Watch > 0 && resp.StatusCode == http.StatusOK {
		defer time.AfterFunc(watchTime, cancel).Stop()
		out.events = readEvents(resp.Body, q.Watch)
		return out, nil
	}
	out.body, err = io.ReadAll(io.LimitReader(resp.Body, 32<<20))
	return out, err
}

func (q *Request) headers(h http.Header, body bool) {
	const json = "application/json"
	h.Set("User-Agent", "golden") // managers of fields are named after it
	h.Set("Accept", json)
	if q.Accept != "" {
		h.Set("Accept", q.Accept)
	}
	if body && q.Type != "-" {
		h.Set("Content-Type", json)
		if q.Type != "" {
			h.Set("Content-Type", q.Type)
		}
	}
	for k, v := range q.Header {
		h.Set(k, v)
	}
	if q.Token != "" {
		h.Set("Authorization", "Bearer "+q.Token)
	}
	if u := q.As; u != nil {
		h.Set("Impersonate-User", u.Name)
		for _, g := range u.Groups {
			h.Add("Impersonate-Group", g)
		}
		if u.UID != "" {
			h.Set("Impersonate-Uid", u.UID)
		}
		for k, vs := range u.Extra {
			for _, v := range vs {
				h.Add("Impersonate-Extra-"+k, v)
			}
		}
	}
}

// readEvents reads a watch until it has brought n events or ends.
func readEvents(r io.Reader, n int) (events []any) {
	lines := bufio.NewReader(r)
	for len(events) < n {
		line, err := lines.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			v, bad := parse(line)
			if bad != nil {
				v = string(line)
			}
			events = append(events, v)
		}
		if err != nil {
			break
		}
	}
	return events
}

// repeat sends a request until its answer is as Until says, or for ten seconds; the last answer counts.
func (t *target) repeat(q *Request, body []byte) (*received, error) {
	for end := time.Now().Add(untilTime); ; time.Sleep(untilPause) {
		out, err := t.do(q, body)
		if err != nil || q.Until == nil || q.Until.met(out) || time.Now().After(end) {
			return out, err
		}
	}
}

func (u *Until) met(out *received) bool {
	if u.Code != 0 && out.code != u.Code {
		return false
	}
	if u.Contains == "" {
		return true
	}
	v, _ := parse(out.body)
	return strings.Contains(format(v)+"\n"+strings.Join(out.header.Values("Warning"), "\n"), u.Contains)
}

func (q *Request) String() string { return fmt.Sprintf("%s %s", q.Method, q.Path) }
