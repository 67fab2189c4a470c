package main

import (
	"encoding/json"
	"regexp"
	"slices"
	"sort"
	"strings"
)

// comparedHeaders are the headers that matter to clients.
var comparedHeaders = []string{"Content-Type", "Warning", "Retry-After", "Allow", "Location", "Www-Authenticate"}

const longestText = 8000

// answer is what can be compared of an answer.
func (m *marks) answer(q *Request, out *received) Answer {
	a := Answer{Code: out.code}
	for _, name := range comparedHeaders {
		for _, v := range out.header.Values(name) {
			if a.Header == nil {
				a.Header = map[string][]string{}
			}
			a.Header[name] = append(a.Header[name], m.text("", v))
		}
	}
	sort.Strings(a.Header["Warning"])
	if q.Watch > 0 && out.events != nil {
		for _, e := range out.events {
			v := m.value("", clone(e))
			for _, path := range m.c.Ignore {
				drop(v, append([]string{"object"}, strings.Split(path, ".")...)...)
			}
			a.Events = append(a.Events, v)
		}
		return a
	}
	v, err := parse(out.body)
	if err != nil {
		a.Text = m.text("", string(out.body))
		a.Text = a.Text[:min(len(a.Text), longestText)]
		return a
	}
	a.Body = withoutOthers(m.value("", v))
	for _, path := range m.c.Ignore {
		p := strings.Split(path, ".")
		drop(a.Body, p...)
		drop(at(a.Body, "items"), p...)
	}
	return a
}

// withoutOthers removes the groups that other cases serve at the time, from discovery documents.
func withoutOthers(v any) any {
	for _, key := range []string{"groups", "paths", "items"} {
		if list, ok := at(v, key).([]any); ok {
			v.(map[string]any)[key] = slices.DeleteFunc(list, func(e any) bool {
				s := format(e)
				return strings.Contains(s, ".golden.example") && !strings.Contains(s, "{px}")
			})
		}
	}
	return v
}

// value puts placeholders into a tree, which it may change, and sorts what has no order. key is the one v stands under,
// also if v is an element of a list there.
func (m *marks) value(key string, v any) any {
	switch v := v.(type) {
	case string:
		return m.text(key, v)
	case json.Number:
		if (key == "nodePort" || key == "healthCheckNodePort") && m.ports[v.String()] != nil {
			return "{nodePort}"
		}
	case []any:
		for i := range v {
			if _, ok := v[i].(string); ok {
				v[i] = m.value(key, v[i])
			} else {
				v[i] = m.value("", v[i])
			}
		}
	case map[string]any:
		return m.object(v)
	}
	return v
}

func (m *marks) object(o map[string]any) any {
	if meta, ok := o["metadata"].(map[string]any); ok {
		if rv, ok := meta["resourceVersion"].(string); ok && meta["uid"] != nil {
			meta["resourceVersion"] = m.version(rv)
		}
		if fields, ok := meta["managedFields"].([]any); ok {
			sort.SliceStable(fields, func(i, j int) bool { return managerKey(fields[i]) < managerKey(fields[j]) })
		}
	}
	switch o["kind"] {
	case "Status":
		sortCauses(o)
	case "Table":
		markAges(o)
	}
	if o["type"] == "BOOKMARK" {
		meta, _ := at(o, "object", "metadata").(map[string]any)
		if digits.MatchString(text(meta["resourceVersion"])) {
			meta["resourceVersion"] = "{rv}"
		}
	}
	out := make(map[string]any, len(o))
	for key, v := range o {
		if s, ok := v.(string); ok && key == "resourceVersion" && strings.HasPrefix(s, "{rv") {
			out[key] = s
			continue
		}
		out[m.text("", key)] = m.value(key, v)
	}
	return out
}

// managerKey orders entries of managedFields whatever their times.
func managerKey(v any) string {
	key := ""
	for _, name := range []string{"operation", "manager", "apiVersion", "subresource"} {
		key += text(at(v, name)) + "\x00"
	}
	return key + format(at(v, "fieldsV1"))
}

var (
	age = regexp.MustCompile(`^(\d+y)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?$`)
	// ago is how long ago something was within a cell: "3 (2y334d ago)" of a pod's restarts.
	ago = regexp.MustCompile(`\((\d+y)?(\d+d)?(\d+h)?(\d+m)?(\d+s)? ago\)`)
)

// markAges replaces the cells of a Table that tell how long ago something was.
func markAges(table map[string]any) {
	rows, _ := table["rows"].([]any)
	for _, row := range rows {
		cells, _ := at(row, "cells").([]any)
		for i := range cells {
			if s := text(cells[i]); s != "" && age.MatchString(s) {
				cells[i] = "{age}"
			} else if ago.MatchString(s) {
				cells[i] = ago.ReplaceAllString(s, "({age} ago)")
			}
		}
	}
}

// sortCauses sorts the causes of a Status and, where its message is the list of them, the message.
func sortCauses(status map[string]any) {
	causes, _ := at(status, "details", "causes").([]any)
	if len(causes) < 2 {
		return
	}
	var lines []string
	for _, c := range causes {
		line := text(at(c, "message"))
		if f := text(at(c, "field")); f != "" {
			line = f + ": " + line
		}
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	list := func() string { return "[" + strings.Join(lines, ", ") + "]" }
	before := list()
	sort.Strings(lines)
	status["message"] = strings.Replace(text(status["message"]), before, list(), 1)
	sort.SliceStable(causes, func(i, j int) bool { return format(causes[i]) < format(causes[j]) })
}
