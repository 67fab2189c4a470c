package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/skiff-project/skiff/e2e/lab"
)

// errorLines are the error lines of upstream's components, by component and cause, each with one example.
type errorLines struct{ causes map[string]string }

// klog's header: E, date, time, thread, source line.
var klogError = regexp.MustCompile(`^E\d{4} \S+ +\d+ (\S+?):\d+\] (.*)$`)

// What differs from run to run in a line that says the same.
var (
	quoted  = regexp.MustCompile(`"[^"]*"`)
	varying = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}|\b[a-z0-9.-]+-[a-z0-9]{5,10}\b|[0-9]+(\.[0-9]+)*`)
	spaces  = regexp.MustCompile(`\s+`)
)

// cause is what lines of the same kind have in common: the source file and the message without names and numbers.
func cause(source, message string) string {
	// In structured lines the first quoted text is the message; the values behind it tell objects apart, not causes.
	if rest, ok := strings.CutPrefix(message, `"`); ok {
		if text, _, ended := strings.Cut(rest, `"`); ended {
			return source + " " + text
		}
	}
	return source + " " + spaces.ReplaceAllString(varying.ReplaceAllString(quoted.ReplaceAllString(message, "Q"), "N"), " ")
}

// passing are errors that depend on who came first, with any API server: at the start nobody listens yet; a controller acts
// on what another has just changed or what is being deleted; a node asks for a pod that is gone, and with it the node's right to
// ask; a stream's two ends close it at once.
var passing = []string{
	"connection refused", "connect: network is unreachable", "the object has been modified", "because it is being terminated",
	"use of closed network connection", "is not as new as written version", "no relationship found between node", `namespaces \"kube-`, `namespaces "kube-`,
}

func isPassing(message string) bool {
	return slices.ContainsFunc(passing, func(p string) bool { return strings.Contains(message, p) })
}

// collect reads the logs of upstream's components in a lab.
func collect(l *lab.Lab, parts lab.Parts) *errorLines {
	e := &errorLines{causes: map[string]string{}}
	for _, p := range []struct {
		name string
		side lab.Side
	}{{lab.API, parts.API}, {lab.Controllers, parts.Controllers}, {lab.Scheduler, parts.Scheduler}, {lab.Agent, parts.Agent}, {lab.Proxy, parts.Proxy}} {
		if p.side != lab.Upstream {
			continue
		}
		for line := range strings.Lines(l.Log(p.name)) {
			if m := klogError.FindStringSubmatch(strings.TrimSpace(line)); m != nil && !isPassing(m[2]) {
				e.causes[p.name+" "+cause(m[1], m[2])] = fmt.Sprintf("%s: %s", p.name, strings.TrimSpace(line))
			}
		}
	}
	return e
}

// beyond lists an example of each cause that others do not have: of the components that act on what the API server says, and of
// the others.
func (e *errorLines) beyond(others *errorLines) (acting, rest []string) {
	for _, key := range slices.Sorted(maps.Keys(e.causes)) {
		if _, known := others.causes[key]; known {
			continue
		}
		if name, _, _ := strings.Cut(key, " "); name == lab.Controllers || name == lab.Scheduler {
			acting = append(acting, e.causes[key])
		} else {
			rest = append(rest, e.causes[key])
		}
	}
	return acting, rest
}
