package watchcache

import (
	"encoding/base64"
	"strings"
	"testing"
)

func TestTokensAreUpstreams(t *testing.T) {
	token := encodeToken("/registry/pods/ns/a\x00", "/registry/pods/ns/", 42)
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || string(text) != `{"v":"meta.k8s.io/v1","rv":42,"start":"a\u0000"}` {
		t.Fatalf("%s, %v", text, err)
	}
	from, revision, err := decodeToken(token, "/registry/pods/ns/")
	if err != nil || from != "/registry/pods/ns/a\x00" || revision != 42 {
		t.Fatalf("%q, %d, %v", from, revision, err)
	}
}

// FuzzContinue looks that no token leads out of the prefix that its client may list, and that what is accepted is
// understood the same way again.
func FuzzContinue(f *testing.F) {
	for _, s := range []string{"", "abc", `{"v":"meta.k8s.io/v1","rv":1,"start":"a"}`, `{"v":"meta.k8s.io/v1","rv":-1,"start":"/a\u0000"}`,
		`{"v":"meta.k8s.io/v1","rv":1,"start":"../../secrets/x"}`, `{"v":"meta.k8s.io/v1","rv":1,"start":"a/../../b"}`, `{"v":"meta.k8s.io/v1","rv":1,"start":"//x"}`} {
		f.Add(base64.RawURLEncoding.EncodeToString([]byte(s)))
	}
	const prefix = "/registry/pods/ns/"
	f.Fuzz(func(t *testing.T, text string) {
		from, revision, err := decodeToken(text, prefix)
		if err != nil {
			return
		}
		if !strings.HasPrefix(from, prefix) || strings.Contains(from, "/../") || strings.HasSuffix(from, "/..") || revision == 0 {
			t.Fatalf("%q leads to %q at %d", text, from, revision)
		}
		again, revision2, err := decodeToken(encodeToken(from, prefix, revision), prefix)
		if err != nil || again != from || revision2 != revision {
			t.Fatalf("%q is read as %q, then as %q, %v", text, from, again, err)
		}
	})
}
