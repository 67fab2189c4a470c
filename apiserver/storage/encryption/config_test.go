package encryption

import (
	"encoding/base64"
	"strings"
	"testing"
)

const head = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"

var key32 = base64.StdEncoding.EncodeToString(make([]byte, 32))

func TestConfiguration(t *testing.T) {
	aes := "{aescbc: {keys: [{name: a, secret: " + key32 + "}]}}"
	for _, tt := range []struct{ name, text, want string }{
		{name: "good", text: "- resources: [secrets, '*.apps']\n  providers: [" + aes + ", {identity: {}}]"},
		{name: "a plugin", text: "- resources: ['*.*']\n  providers: [{kms: {apiVersion: v2, name: k, endpoint: 'unix:///x'}}]"},
		{name: "no rules", text: "  []", want: "at least one resources is required"},
		{name: "unknown field", text: "- resources: [secrets]\n  provider: []", want: `unknown field "provider"`},
		{name: "no resources", text: "- providers: [" + aes + "]", want: "at least one resources[0].resources is required"},
		{name: "no providers", text: "- resources: [secrets]", want: "at least one resources[0].providers is required"},
		{name: "empty provider", text: "- resources: [secrets]\n  providers: [{}]", want: textNoProvider},
		{name: "two in one", text: "- resources: [secrets]\n  providers: [{identity: {}, aescbc: {keys: []}}]", want: textProviders},
		{name: "duplicate", text: "- resources: [secrets, secrets]\n  providers: [" + aes + "]", want: textDuplicate},
		{name: "overlap", text: "- resources: [secrets, '*.']\n  providers: [" + aes + "]", want: textOverlap},
		{name: "masked", text: "- resources: ['*.*']\n  providers: [" + aes + "]\n- resources: [secrets]\n  providers: [" + aes + "]",
			want: `resource "secrets" is masked by earlier rule "*.*"`},
		{name: "masked by the core group", text: "- resources: ['*.']\n  providers: [" + aes + "]\n- resources: [secrets]\n  providers: [" + aes + "]",
			want: `resource "secrets" is masked by earlier rule "*."`},
		{name: "capital", text: "- resources: [Secrets]\n  providers: [" + aes + "]", want: "should not contain capital letters"},
		{name: "star", text: "- resources: ['*']\n  providers: [" + aes + "]", want: "use '*.' to encrypt all"},
		{name: "events", text: "- resources: [events.events.k8s.io]\n  providers: [" + aes + "]", want: "Use 'events' instead"},
		{name: "across groups", text: "- resources: ['secrets.*']\n  providers: [" + aes + "]", want: "across groups"},
		{name: "no keys", text: "- resources: [secrets]\n  providers: [{aescbc: {keys: []}}]", want: "at least one keys is required"},
		{name: "no secret", text: "- resources: [secrets]\n  providers: [{aescbc: {keys: [{name: a}]}}]", want: "secret is a mandatory field for a key"},
		{name: "short key", text: "- resources: [secrets]\n  providers: [{secretbox: {keys: [{name: a, secret: YWJj}]}}]",
			want: "secret is not of the expected length, got 3, expected one of [32]"},
		{name: "KMS v1", text: "- resources: [secrets]\n  providers: [{kms: {name: k, endpoint: 'unix:///x'}}]"},
		{name: "http plugin", text: "- resources: [secrets]\n  providers: [{kms: {apiVersion: v2, name: k, endpoint: 'http://x'}}]", want: `unsupported scheme "http"`},
		{name: "colon", text: "- resources: [secrets]\n  providers: [{kms: {apiVersion: v2, name: 'a:b', endpoint: 'unix:///x'}}]", want: "must not contain ':'"},
		{name: "timeout", text: "- resources: [secrets]\n  providers: [{kms: {apiVersion: v2, name: k, timeout: 0s, endpoint: 'unix:///x'}}]", want: "timeout should be a positive value"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parse([]byte(head + tt.text))
			switch {
			case tt.want == "" && err != nil:
				t.Fatal(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Fatalf("got %v, want %q", err, tt.want)
			case err != nil && strings.Contains(err.Error(), "YWJj"):
				t.Fatalf("%v shows a key", err)
			}
		})
	}
}

func TestRefusedVersions(t *testing.T) {
	if _, err := parse([]byte("apiVersion: v1\nkind: EncryptionConfig\nresources: []")); err == nil {
		t.Error("an old kind of file was taken")
	}
	c, err := parse([]byte(head + "- resources: [secrets]\n  providers: [{kms: {name: k, endpoint: 'unix:///x'}}]"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newRules(c, [32]byte{}, nil); err == nil || !strings.Contains(err.Error(), "KMSv1 is deprecated") {
		t.Errorf("KMS v1: %v", err)
	}
}
