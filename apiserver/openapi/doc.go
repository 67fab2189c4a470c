// Package openapi describes what is served: /openapi/v2, one document, and /openapi/v3, one for each group and version.
// kubectl validates, explains and merges by them.
//
// What a type looks like is in definitions.json, generated from the types' sources (generate/). Which paths there are is
// computed from the table of kinds. Documents are put together when they are first asked for and kept compressed, so
// that a server nobody asks spends neither time nor memory on them. Custom resources bring their own definitions; what
// changes with them is put into the compiled-in document of version 2 instead of making that anew (whole.go).
package openapi

//go:generate ./generate/generate.sh
