package wire

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// FuzzDecode: whatever a client sends is an object or its own mistake, in every format.
func FuzzDecode(f *testing.F) {
	codec := NewCodec(configMap)
	stored, err := codec.EncodeStored(testMap("m"))
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{
		nil, []byte("{}"), []byte(`{"kind":"ConfigMap","apiVersion":"v1","data":{"a":"b"}}`), []byte(`{"kind":"Pod","apiVersion":"v1","spec":{"containers":[{}]}}`),
		[]byte("kind: ConfigMap\ndata: {a: b}\n"), []byte("a: &a [*a]"), []byte("!!binary x"), []byte("? {}"), stored, stored[:20], magic,
		append(append([]byte{}, magic...), 0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f), []byte(`{"metadata":{"managedFields":[{"fieldsV1":{"f:x":{}}}],"creationTimestamp":"x"}}`),
		[]byte(`[[[[[[[[`), []byte(`{"metadata":{"ownerReferences":[null]}}`), []byte("{\"\xff\":1}"),
	} {
		for format := range 3 {
			f.Add(seed, uint8(format))
		}
	}
	target := TargetOf(&configMap.Served[0])
	f.Fuzz(func(t *testing.T, data []byte, format uint8) {
		obj, _, _, err := Decode(Body{Data: data, Format: Format(format % 3), Strict: true}, target)
		if err != nil {
			if code := StatusOf(err).Code; code != http.StatusBadRequest {
				t.Fatalf("%d: %v", code, err)
			}
			return
		}
		hub, err := codec.ToHub(obj)
		if err != nil {
			t.Fatalf("decoded, but no ConfigMap: %v", err)
		}
		if _, err := codec.EncodeStored(hub); err != nil {
			t.Fatalf("decoded, but cannot be stored: %v", err)
		}
		_, _ = DecodeDeleteOptions(data, Format(format%3))
		_, _ = codec.Decode(data, 1)
	})
}

// FuzzAccept: no header ends in anything but a format or a 406.
func FuzzAccept(f *testing.F) {
	for _, seed := range []string{"", "*/*", "application/json;as=Table;v=v1;g=meta.k8s.io", "a/b;q=2,;;", "application/json;q=,*/*;q=x"} {
		f.Add(seed)
	}
	codec := NewCodec(configMap)
	f.Fuzz(func(t *testing.T, accept string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Accept"] = []string{accept}
		r.Header["Content-Type"] = []string{accept}
		r.Header["Accept-Encoding"] = []string{accept}
		if _, err := Negotiate(r, codec.Offer()); err != nil && StatusOf(err).Code != http.StatusNotAcceptable {
			t.Fatal(err)
		}
		if _, err := InputFormat(r, codec.Offer()); err != nil && StatusOf(err).Code != http.StatusUnsupportedMediaType {
			t.Fatal(err)
		}
		acceptsGzip(r)
	})
}
