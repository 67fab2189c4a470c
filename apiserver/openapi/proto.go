package openapi

import (
	"fmt"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	openapi_v3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"
)

// Documents in protobuf are what client-go asks for first.

func v2Proto(text []byte) ([]byte, error) {
	doc, err := openapi_v2.ParseDocument(text)
	if err != nil {
		return nil, fmt.Errorf("OpenAPI v2 as protobuf: %w", err)
	}
	return proto.Marshal(doc)
}

func v3Proto(text []byte) ([]byte, error) {
	doc, err := openapi_v3.ParseDocument(text)
	if err != nil {
		return nil, fmt.Errorf("OpenAPI v3 as protobuf: %w", err)
	}
	return proto.Marshal(doc)
}
