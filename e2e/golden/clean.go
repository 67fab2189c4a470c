package main

import (
	"strings"
)

// remember notes the object that a request made.
func (s *session) remember(q *Request, out *received) {
	path, query, _ := strings.Cut(q.Path, "?")
	if out.code/100 != 2 || strings.Contains(query, "dryRun") {
		return
	}
	if q.Method != "POST" && q.Method != "PUT" && q.Method != "PATCH" {
		return
	}
	v, _ := parse(out.body)
	name := text(dotted(v, "metadata.name"))
	if name == "" || dotted(v, "metadata.uid") == nil {
		return
	}
	switch {
	case q.Method != "POST" && strings.HasSuffix(path, "/"+name):
		s.made = append(s.made, path)
	case q.Method == "POST" && dotted(v, "metadata.creationTimestamp") != nil && !strings.Contains(path+"/", "/"+name+"/"):
		s.made = append(s.made, path+"/"+name)
	}
}

// clean removes what the case made, the youngest first. No controller runs: finalizers and what is left in the namespace
// are ours to end.
func (s *session) clean() {
	gone := map[string]bool{}
	for i := len(s.made) - 1; i >= 0; i-- {
		path := s.made[i]
		if !gone[path] {
			gone[path] = true
			s.remove(path)
		}
	}
	if !s.c.NoNamespace {
		const path = "/api/v1/namespaces/{ns}"
		s.cleanup("DELETE", path+"/serviceaccounts/default", nil)
		s.cleanup("DELETE", path, nil)
		s.finalize(path, s.values["ns"])
	}
}

func (s *session) remove(path string) {
	v := s.cleanup("DELETE", path+"?gracePeriodSeconds=0&propagationPolicy=Background", nil)
	if name, ok := strings.CutPrefix(path, "/api/v1/namespaces/"); ok && !strings.Contains(name, "/") {
		s.finalize(path, name)
		return
	}
	if dotted(v, "metadata.deletionTimestamp") != nil {
		s.cleanup("PATCH", path, map[string]any{"metadata": map[string]any{"finalizers": nil}})
		s.cleanup("DELETE", path+"?gracePeriodSeconds=0", nil)
	}
}

// finalize ends a namespace that is being deleted.
func (s *session) finalize(path, name string) {
	s.cleanup("PATCH", path, map[string]any{"metadata": map[string]any{"finalizers": nil}})
	s.cleanup("PUT", path+"/finalize", map[string]any{"apiVersion": "v1", "kind": "Namespace",
		"metadata": map[string]any{"name": name}, "spec": map[string]any{"finalizers": []any{}}})
}

// cleanup sends a request whose failure does not matter: the next case has names of its own.
func (s *session) cleanup(method, path string, body any) any {
	q := &Request{Method: method, Path: path, Body: body}
	if method == "PATCH" {
		q.Type = "application/merge-patch+json"
	}
	made := s.made
	out, err := s.send(q)
	s.made = made
	if err != nil {
		return nil
	}
	v, _ := parse(out.body)
	return v
}
