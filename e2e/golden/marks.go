package main

import (
	"encoding/json"
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"
)

// marks puts placeholders in place of what a server or this program chose: what is left is what can be compared.
type marks struct {
	c      *Case
	values map[string]string
	// asked is all that the case sends, to tell values that it chose from those that the server did.
	asked string

	names     map[string]string // generated names
	addresses map[string]*regexp.Regexp
	ports     map[string]*regexp.Regexp
	versions  map[string]string // resource versions of objects, numbered by first appearance so that "unchanged" shows
	prefixes  []*regexp.Regexp  // names made of the case's generateName prefixes, in messages
}

var generateNames = regexp.MustCompile(`"generateName":"([^"]+)"|"generateName"\],"value":"([^"]+)"`)

// A generated name is cut so that it fits with its five random letters.
const longestGenerated = 58

func newMarks(c *Case, values map[string]string) *marks {
	sent := *c
	sent.Answers = nil
	b, err := json.Marshal(&sent)
	if err != nil {
		panic(err) // it came from JSON
	}
	m := &marks{c: c, values: values, asked: string(b), names: map[string]string{}, addresses: map[string]*regexp.Regexp{},
		ports: map[string]*regexp.Regexp{}, versions: map[string]string{}}
	for _, found := range generateNames.FindAllStringSubmatch(m.asked, -1) {
		prefix := found[1] + found[2]
		prefix = prefix[:min(len(prefix), longestGenerated)]
		m.prefixes = append(m.prefixes, regexp.MustCompile(`(`+regexp.QuoteMeta(prefix)+`)[bcdfghjklmnpqrstvwxz2456789]{5}\b`))
	}
	return m
}

// learn looks in an answer for what the server chose and the case did not ask for.
func (m *marks) learn(v any) {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			m.learn(x)
		}
	case map[string]any:
		prefix, name := text(at(v, "metadata", "generateName")), text(at(v, "metadata", "name"))
		if prefix != "" && strings.HasPrefix(name, prefix) && len(name) == len(prefix)+5 && !m.sent(`"`+name+`"`) {
			m.names[name] = m.ours(prefix) + "{rand}"
		}
		for key, x := range v {
			switch key {
			case "clusterIP":
				m.learnAddress(x)
			case "clusterIPs":
				list, _ := x.([]any)
				for _, e := range list {
					m.learnAddress(e)
				}
			case "nodePort", "healthCheckNodePort":
				if p, ok := x.(json.Number); ok && p != "0" && !m.sent(":"+p.String()) {
					m.ports[p.String()] = regexp.MustCompile(`\b` + p.String() + `\b`)
				}
			}
			m.learn(x)
		}
	}
}

func (m *marks) sent(s string) bool { return strings.Contains(m.asked, s) }

func (m *marks) learnAddress(v any) {
	if ip := text(v); net.ParseIP(ip) != nil && !m.sent(`"`+ip+`"`) {
		m.addresses[ip] = regexp.MustCompile(`(^|[^0-9.])` + regexp.QuoteMeta(ip) + `($|[^0-9])`)
	}
}

// ours turns the case's own names back into placeholders.
func (m *marks) ours(s string) string {
	s = strings.ReplaceAll(s, m.values["px"], "{px}")
	s = strings.ReplaceAll(s, m.values["ns"], "{ns}")
	if strings.Contains(s, "198.1") {
		for _, net := range []string{"198.18.", "198.19."} {
			s = strings.ReplaceAll(s, net+m.values["b1"]+"."+m.values["b2"], net+"{b1}.{b2}")
		}
	}
	return s
}

// pattern is a kind of value that only a server knows. hint is a text without which a string cannot hold one: nearly all
// strings hold none, and regular expressions are slow.
type pattern struct {
	hint string
	re   *regexp.Regexp
	by   string
}

var patterns = []pattern{
	{"eyJ", regexp.MustCompile(`eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`), "{token}"},
	{"-", regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "{uid}"},
	{"kube-api-access-", regexp.MustCompile(`kube-api-access-[a-z0-9]{5}\b`), "kube-api-access-{rand}"},
	{"X509SHA256=", regexp.MustCompile(`X509SHA256=[0-9a-f]+`), "X509SHA256={hash}"},
	{tooOld, regexp.MustCompile(`too old resource version: (\d+) \(\d+\)`), "too old resource version: $1 ({rv})"},
}

const tooOld = "too old resource"

// morePatterns come after the times.
var morePatterns = []pattern{
	{"esourceVersion", regexp.MustCompile(`(resourceVersion\\*"\s*:\s*\\*")\d+`), "${1}{rv}"},
	{"in record (", regexp.MustCompile(`(in record \()\d+\)`), "${1}{rv})"},
	{"IPAddress.networking", regexp.MustCompile(`(IPAddress\.networking\.k8s\.io ")[0-9.]+"`), `${1}{clusterIP}"`},
	{"s", regexp.MustCompile(`(retry after |in )\d+(\.\d+)?m?s`), "${1}{duration}"},
}

var (
	// versionInText finds resource versions in messages.
	versionInText = regexp.MustCompile(`(?i)((?:object meta: |current: |resource ?version:? |resourceVersion: "?|minimum resourceVersion |RV ))\d+`)
	timestamp     = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)`)
	digits        = regexp.MustCompile(`^[0-9]+$`)
)

// text puts placeholders into a string. key is that of the object's member whose value it is, if any.
func (m *marks) text(key, s string) string {
	if s == "" {
		return s
	}
	s = m.ours(s)
	for name, by := range m.names {
		s = strings.ReplaceAll(s, m.ours(name), by)
	}
	s = replace(patterns, s)
	if strings.Contains(s, "T") {
		s = timestamp.ReplaceAllStringFunc(s, markTime)
	}
	if strings.ContainsAny(s, "0123456789") {
		if !strings.Contains(s, tooOld) {
			s = versionInText.ReplaceAllString(s, "${1}{rv}")
		}
		s = replace(morePatterns, s)
	}
	for _, re := range m.prefixes {
		s = re.ReplaceAllString(s, "${1}{rand}")
	}
	for ip, re := range m.addresses {
		if strings.Contains(s, ip) {
			s = re.ReplaceAllString(s, "${1}{clusterIP}${2}")
		}
	}
	for port, re := range m.ports {
		if strings.Contains(s, port) {
			s = re.ReplaceAllString(s, "{nodePort}")
		}
	}
	switch {
	case key == "continue":
		return "{continue}"
	case key == "resourceVersion" && s != "0" && digits.MatchString(s):
		return "{rv}"
	}
	return withoutGoDiff(s)
}

func replace(patterns []pattern, s string) string {
	for _, p := range patterns {
		if strings.Contains(s, p.hint) {
			s = p.re.ReplaceAllString(s, p.by)
		}
	}
	return s
}

// markTime replaces times of today. Others were in the case.
func markTime(t string) string {
	at, err := time.Parse(time.RFC3339Nano, t)
	if err != nil || time.Since(at).Abs() > 26*time.Hour {
		return t
	}
	if strings.Contains(t, ".") {
		return "{microtime}"
	}
	return "{time}"
}

// withoutGoDiff cuts the Go values that upstream shows after "may not change fields": they differ from build to build.
func withoutGoDiff(s string) string {
	if !strings.Contains(s, "may not change fields") {
		return s
	}
	if i := strings.Index(s, "\n  core."); i >= 0 {
		return s[:i] + "\n{diff}"
	}
	if i := strings.Index(s, `{"Volumes":`); i >= 0 {
		return s[:i] + "{diff}"
	}
	return s
}

// version numbers the resource version of an object.
func (m *marks) version(s string) string {
	if s == "0" || !digits.MatchString(s) {
		return s
	}
	if _, ok := m.versions[s]; !ok {
		m.versions[s] = fmt.Sprintf("{rv%d}", len(m.versions)+1)
	}
	return m.versions[s]
}
