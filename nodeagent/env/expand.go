package env

import "strings"

// Expand replaces $(NAME) by the first of vars that knows NAME. $$ stands for one dollar; a reference that nobody
// knows, or that is not closed, stays as it is written, as Kubernetes promises in the Container type.
func Expand(s string, vars ...map[string]string) string {
	expanded, _ := expand(s, vars)
	return expanded
}

// ExpandStrict is Expand for subPathExpr, where an unknown name is an error; it returns the names not found.
func ExpandStrict(s string, vars ...map[string]string) (string, []string) {
	return expand(s, vars)
}

// ExpandAll expands each string of a command line.
func ExpandAll(list []string, vars ...map[string]string) []string {
	if len(list) == 0 {
		return nil
	}
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = Expand(s, vars...)
	}
	return out
}

func expand(s string, vars []map[string]string) (string, []string) {
	var out strings.Builder
	var missing []string
	for {
		before, rest, found := strings.Cut(s, "$")
		out.WriteString(before)
		switch {
		case !found:
			return out.String(), missing
		case rest == "":
			out.WriteByte('$')
			return out.String(), missing
		case rest[0] == '$':
			out.WriteByte('$')
			s = rest[1:]
		case rest[0] == '(':
			name, after, closed := strings.Cut(rest[1:], ")")
			if !closed {
				out.WriteString("$(")
				s = rest[1:]
				continue
			}
			if value, ok := lookup(name, vars); ok {
				out.WriteString(value)
			} else {
				out.WriteString("$(" + name + ")")
				missing = append(missing, name)
			}
			s = after
		default:
			out.WriteByte('$')
			s = rest
		}
	}
}

func lookup(name string, vars []map[string]string) (string, bool) {
	for _, m := range vars {
		if v, ok := m[name]; ok {
			return v, true
		}
	}
	return "", false
}
