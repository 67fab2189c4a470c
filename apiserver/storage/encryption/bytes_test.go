package encryption

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"testing"
)

const place = "/registry/secrets/default/one"

var makers = map[string]func([]byte) (transformer, error){"aesgcm": newGCM, "aescbc": newCBC, "secretbox": newBox, "derived": newDerived}

// testdata/upstream.json holds values that kube-apiserver's own transformers of v1.37.2 have stored, with their keys. In
// those of the KMS provider the plugin's encryption is the word "sealed " before the secret.
func TestUpstreamsBytesAreRead(t *testing.T) {
	text, err := os.ReadFile("testdata/upstream.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Provider           string
		Key, Plain, Sealed []byte
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) != 36 {
		t.Fatalf("%d vectors", len(vectors))
	}
	for _, v := range vectors {
		make, sealed := makers[v.Provider], v.Sealed
		if make == nil {
			e := &envelope{}
			if err := e.unmarshal(v.Sealed); err != nil {
				t.Fatal(err)
			}
			if err := e.validate(); err != nil {
				t.Fatal(err)
			}
			if e.keyID != "1" || string(e.annotations["a.example"]) != "x" || len(e.annotations) != 2 {
				t.Errorf("envelope %+v", e)
			}
			make = map[sourceType]func([]byte) (transformer, error){sourceKey: newGCM, sourceSeed: newDerived}[e.typ]
			v.Key, sealed = bytes.TrimPrefix(e.source, []byte("sealed ")), e.data
			again := &envelope{}
			if err := again.unmarshal(e.marshal()); err != nil || again.name() != e.name() || !bytes.Equal(again.data, e.data) {
				t.Errorf("%+v came back as %+v, %v", e, again, err)
			}
		}
		own, err := make(v.Key)
		if err != nil {
			t.Fatal(err)
		}
		before := bytes.Clone(v.Sealed)
		if got, _, err := own.open(context.Background(), place, sealed); err != nil || !bytes.Equal(got, v.Plain) {
			t.Errorf("%s: read %q, %v, want %q", v.Provider, got, err, v.Plain)
		}
		if !bytes.Equal(v.Sealed, before) {
			t.Errorf("%s: reading changed the stored bytes", v.Provider)
		}
		mine, err := own.seal(context.Background(), place, v.Plain)
		if err != nil {
			t.Fatal(err)
		}
		if len(mine) != len(sealed) || bytes.Equal(mine, sealed) {
			t.Errorf("%s: %d bytes became %d, upstream's %d; the same again: %v", v.Provider, len(v.Plain), len(mine), len(sealed), bytes.Equal(mine, sealed))
		}
		if got, _, err := own.open(context.Background(), place, mine); err != nil || !bytes.Equal(got, v.Plain) {
			t.Errorf("%s: read back %q, %v", v.Provider, got, err)
		}
	}
}

func ours(t *testing.T) map[string]transformer {
	out := map[string]transformer{}
	for name, make := range makers {
		var err error
		if out[name], err = make(bytes.Repeat([]byte{3}, 32)); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestValuesAreBoundToTheirPlace(t *testing.T) {
	for name, own := range ours(t) {
		sealed, err := own.seal(context.Background(), place, []byte("plain"))
		if err != nil {
			t.Fatal(err)
		}
		bound := name == "aesgcm" || name == "derived"
		if _, _, err := own.open(context.Background(), place+"2", sealed); (err != nil) != bound {
			t.Errorf("%s read at another key: %v", name, err)
		}
	}
}

func TestDamagedValuesAreErrors(t *testing.T) {
	for name, own := range ours(t) {
		sealed, err := own.seal(context.Background(), place, []byte("some text that is longer than a block"))
		if err != nil {
			t.Fatal(err)
		}
		for cut := range sealed {
			if _, _, err := own.open(context.Background(), place, sealed[:cut]); err == nil && name != "aescbc" {
				t.Errorf("%s opened %d of %d bytes", name, cut, len(sealed))
			}
		}
	}
	own := ours(t)["aescbc"]
	for _, bad := range [][]byte{nil, make([]byte, 15), make([]byte, 16), make([]byte, 33), make([]byte, 32)} {
		if _, _, err := own.open(context.Background(), place, bad); err == nil {
			t.Errorf("aescbc opened %d zero bytes", len(bad))
		}
	}
}

func FuzzEnvelope(f *testing.F) {
	f.Add((&envelope{data: []byte("d"), keyID: "1", source: []byte("s"), annotations: map[string][]byte{"a.b": []byte("c")}, typ: sourceSeed}).marshal())
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		e := &envelope{}
		if e.unmarshal(b) != nil || e.validate() != nil {
			return
		}
		again := &envelope{}
		if err := again.unmarshal(e.marshal()); err != nil || again.name() != e.name() || !bytes.Equal(again.data, e.data) {
			t.Fatalf("%+v came back as %+v, %v", e, again, err)
		}
	})
}
