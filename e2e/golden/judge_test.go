package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func value(t *testing.T, s string) any {
	t.Helper()
	v, err := parse([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestEdit(t *testing.T) {
	for _, c := range []struct{ from, op, path, value, want string }{
		{`{"a":{"b":1}}`, "set", `["a","c"]`, `2`, `{"a":{"b":1,"c":2}}`},
		{`{}`, "set", `["a","b"]`, `1`, `{"a":{"b":1}}`},
		{`{"a":[1,2,3]}`, "remove", `["a",1]`, `null`, `{"a":[1,3]}`},
		{`{"a":[1]}`, "append", `["a"]`, `2`, `{"a":[1,2]}`},
		{`{"a":[{"b":1}]}`, "copyFirst", `["a"]`, `null`, `{"a":[{"b":1},{"b":1}]}`},
		{`{"a":[]}`, "copyFirst", `["a"]`, `null`, `{"a":[]}`},
		{`{"a":[1]}`, "set", `["a",7]`, `2`, `{"a":[1]}`},
	} {
		path := value(t, c.path).([]any)
		if got := format(edit(value(t, c.from), c.op, path, value(t, c.value))); got != c.want {
			t.Errorf("%s %s %s of %s: %s, want %s", c.op, c.path, c.value, c.from, got, c.want)
		}
	}
}

// TestMarks: what a server chooses is replaced, what the case sent is not.
func TestMarks(t *testing.T) {
	m := newMarks(&Case{ID: "x", Steps: []Request{{Path: "/", Body: value(t, `{"clusterIP":"10.96.0.9","metadata":{"generateName":"gen-"}}`)}}},
		map[string]string{"ns": "g-1", "px": "p1", "b1": "7", "b2": "8"})
	m.learn(value(t, `{"metadata":{"generateName":"gen-","name":"gen-abcde"},"spec":{"clusterIP":"10.96.3.4","clusterIPs":["10.96.0.9"],"ports":[{"nodePort":30123}]}}`))
	now := time.Now().UTC().Format(time.RFC3339)
	for in, want := range map[string]string{
		"gen-abcde in g-1":                             "gen-{rand} in {ns}",
		"10.96.3.4 and 10.96.0.9 and 10.96.3.45":       "{clusterIP} and 10.96.0.9 and 10.96.3.45",
		"port 30123":                                   "port {nodePort}",
		now + " but 2020-01-01T00:00:00Z":              "{time} but 2020-01-01T00:00:00Z",
		"uid 01234567-89ab-cdef-0123-456789abcdef":     "uid {uid}",
		"Operation: object meta: 17":                   "Operation: object meta: {rv}",
		"too old resource version: 1 (99)":             "too old resource version: 1 ({rv})",
		"198.18.7.8 and 198.18.7.9 are of the case p1": "198.18.{b1}.{b2} and 198.18.7.9 are of the case {px}",
	} {
		if got := m.text("", in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	if got := format(m.value("", value(t, `[{"metadata":{"uid":"u","resourceVersion":"5"}},{"metadata":{"uid":"u","resourceVersion":"5"}},{"metadata":{"uid":"u","resourceVersion":"6"}},{"metadata":{"resourceVersion":"6"}}]`))); strings.Count(got, "{rv1}") != 2 ||
		strings.Count(got, "{rv2}") != 1 || strings.Count(got, `"{rv}"`) != 1 {
		t.Errorf("versions became %s", got)
	}
}

func TestLevels(t *testing.T) {
	status := func(reason, message, causes string) string {
		return `{"code":422,"body":{"kind":"Status","reason":"` + reason + `","message":"` + message + `","details":{"causes":[` + causes + `]}}}`
	}
	const a, b = `{"field":"a","message":"bad"}`, `{"field":"b","message":"bad"}`
	for _, c := range []struct {
		name, want, got       string
		code, message, object bool
	}{
		{"equal", status("Invalid", "x", a), status("Invalid", "x", a), true, true, true},
		{"another reason", status("Invalid", "x", a), status("BadRequest", "x", a), false, false, false},
		{"another code", `{"code":200,"body":{"kind":"Pod"}}`, `{"code":201,"body":{"kind":"Pod"}}`, false, false, false},
		{"another message", status("Invalid", "x", a), status("Invalid", "y", a), true, false, false},
		{"another order", status("Invalid", `P is invalid: [a, b]`, a+","+b), status("Invalid", `P is invalid: [b, a]`, b+","+a), true, true, false},
		{"a cause more", status("Invalid", "x", a), status("Invalid", "x", a+","+b), true, false, false},
		{"a warning more", `{"code":200,"body":{}}`, `{"code":200,"header":{"Warning":["w"]},"body":{}}`, true, false, false},
		{"another field", `{"code":200,"body":{"a":1}}`, `{"code":200,"body":{"a":2}}`, true, true, false},
	} {
		var want, got Answer
		for text, to := range map[string]*Answer{c.want: &want, c.got: &got} {
			if err := json.Unmarshal([]byte(text), to); err != nil {
				t.Fatal(err)
			}
		}
		if c.want == c.got {
			got = want
		}
		if v := compare(&want, &got); v.code != c.code || v.message != c.message || v.object != c.object {
			t.Errorf("%s: %v %v %v (%s)", c.name, v.code, v.message, v.object, v.differing)
		}
	}
}

func TestRatchet(t *testing.T) {
	r := ratchet{"all": counts{"core/Pod": {Of: 10, Code: 9, Message: 8, Object: 7}}}
	for name, c := range map[string]struct {
		now        count
		fell, rose bool
	}{
		"equal":          {count{10, 9, 8, 7}, false, false},
		"risen":          {count{10, 10, 8, 7}, false, true},
		"fallen":         {count{10, 10, 7, 7}, true, false},
		"another corpus": {count{11, 9, 8, 7}, true, false},
	} {
		fell, rose := r.below("all", counts{"core/Pod": &c.now})
		if len(fell) > 0 != c.fell || rose != c.rose {
			t.Errorf("%s: %v, risen: %v", name, fell, rose)
		}
	}
}
