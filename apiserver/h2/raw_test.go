package h2_test

import (
	"bytes"

	"golang.org/x/net/http2/hpack"
)

func newDecoder() *hpack.Decoder { return hpack.NewDecoder(4096, nil) }

// encode compresses names and values, in pairs.
func encode(fields ...string) []byte {
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for i := 0; i < len(fields); i += 2 {
		if err := enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}); err != nil {
			panic(err) // a buffer takes everything
		}
	}
	return block.Bytes()
}
