package main

import (
	"reflect"
	"testing"
)

func TestParseMirrors(t *testing.T) {
	for _, test := range []struct {
		flags []string
		want  map[string][]string // nil: refused
	}{
		{flags: nil, want: map[string][]string{}},
		{flags: []string{"*=127.0.0.1:5000"}, want: map[string][]string{"*": {"127.0.0.1:5000"}}},
		{flags: []string{"docker.io=a:1", "docker.io=b", "quay.io=a:1"}, want: map[string][]string{"docker.io": {"a:1", "b"}, "quay.io": {"a:1"}}},
		{flags: []string{"docker.io"}},
		{flags: []string{"=a"}},
		{flags: []string{"docker.io="}},
		{flags: []string{"docker.io=http://a"}},
	} {
		got, err := parseMirrors(test.flags)
		if (err != nil) != (test.want == nil) || err == nil && !reflect.DeepEqual(got, test.want) {
			t.Errorf("%q: %v, %v", test.flags, got, err)
		}
	}
}
