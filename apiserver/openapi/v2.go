package openapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const v2Ref = "#/definitions/"

// v2 joins documents of version 3 to one of version 2, the form of which has no media types within operations and no
// composed schemas. custom are definitions that are in its form already.
func v2(documents [][]byte, custom map[string]json.RawMessage) (paths, defs object, err error) {
	paths, defs = object{}, object{}
	all := load()
	for _, text := range documents {
		var doc struct {
			Paths      object `json:"paths"`
			Components struct {
				Schemas map[string]json.RawMessage `json:"schemas"`
			} `json:"components"`
		}
		if err := json.Unmarshal(text, &doc); err != nil {
			return nil, nil, fmt.Errorf("OpenAPI v2: %w", err)
		}
		for path, item := range doc.Paths {
			paths[path] = v2Path(item.(object))
		}
		for name, schema := range doc.Components.Schemas {
			if _, ok := defs[name]; ok {
				continue
			}
			if own, ok := custom[name]; ok {
				defs[name] = own
				continue
			}
			if whole, ok := all[name]; ok {
				schema = whole // not narrowed to a group
			}
			var plain any
			if err := json.Unmarshal(schema, &plain); err != nil {
				return nil, nil, fmt.Errorf("OpenAPI v2: %s: %w", name, err)
			}
			defs[name] = v2Schema(plain)
		}
	}
	return paths, defs, nil
}

// What stands around the paths and definitions of a document, so that more of both can be put into one that is encoded.
const (
	v2Paths       = `"paths":{`
	v2Definitions = `},"definitions":{`
	v2End         = `}}`
)

func v2Head(always object) ([]byte, error) {
	head, err := json.Marshal(always)
	if err != nil {
		return nil, err
	}
	head[len(head)-1] = ','
	return append(head, v2Paths...), nil
}

// v2Document is a document on its own.
func v2Document(always, paths, defs object) ([]byte, error) {
	out, err := v2Head(always)
	if err != nil {
		return nil, err
	}
	for _, part := range []struct {
		of   object
		tail string
	}{{paths, v2Definitions}, {defs, v2End}} {
		text, err := json.Marshal(part.of)
		if err != nil {
			return nil, err
		}
		out = append(append(out, text[1:len(text)-1]...), part.tail...)
	}
	return out, nil
}

// Every document says this. The compiled-in one also says how to authenticate.
func v2Always() object { return object{"swagger": "2.0", "info": info} }

func v2Whole() object {
	out := v2Always()
	out["securityDefinitions"], out["security"] = object{"BearerToken": bearer}, []object{{"BearerToken": []string{}}}
	return out
}

// v2Join puts more paths and definitions into a document. What it has already it keeps.
func v2Join(base []byte, paths, defs object) ([]byte, error) {
	head, err := v2Head(v2Whole())
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(base, head) || !bytes.HasSuffix(base, []byte(v2End)) {
		return nil, errors.New("OpenAPI v2: the document to add to is not ours")
	}
	p, err := json.Marshal(missing(base, paths))
	if err != nil {
		return nil, err
	}
	d, err := json.Marshal(missing(base, defs))
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(base)+len(p)+len(d))
	out = append(out, head...)
	if p = p[1 : len(p)-1]; len(p) > 0 {
		out = append(append(out, p...), ',')
	}
	out = append(out, base[len(head):len(base)-len(v2End)]...)
	if d = d[1 : len(d)-1]; len(d) > 0 {
		out = append(append(out, ','), d...)
	}
	return append(out, v2End...), nil
}

// missing is what of a part a document does not have.
func missing(base []byte, part object) object {
	out := object{}
	for name, value := range part {
		if !bytes.Contains(base, []byte(strconv.Quote(name)+":{")) {
			out[name] = value
		}
	}
	return out
}

func v2Path(item object) object {
	out := object{}
	for key, value := range item {
		if key == "parameters" {
			out[key] = v2Parameters(value.([]any))
			continue
		}
		out[key] = v2Operation(value.(object))
	}
	return out
}

func v2Operation(op object) object {
	out := object{"schemes": []string{"https"}, "consumes": []string{"*/*"}}
	for key, value := range op {
		switch key {
		case "parameters":
		case "requestBody":
			out["consumes"] = mediaTypes(value.(object))
		case "responses":
			responses := object{}
			for code, r := range value.(object) {
				answer := object{"description": r.(object)["description"]}
				if content, ok := r.(object)["content"].(object); ok {
					answer["schema"] = v2Schema(firstSchema(content))
					out["produces"] = mediaTypes(r.(object))
				}
				responses[code] = answer
			}
			out[key] = responses
		default:
			out[key] = value
		}
	}
	var params []any
	if body, ok := op["requestBody"].(object); ok {
		p := object{"name": "body", "in": "body", "schema": v2Schema(firstSchema(body["content"].(object)))}
		if body["required"] == true {
			p["required"] = true
		}
		params = append(params, p)
	}
	if list, ok := op["parameters"].([]any); ok {
		params = append(params, v2Parameters(list)...)
	}
	if len(params) > 0 {
		out["parameters"] = params
	}
	return out
}

func mediaTypes(of object) []string {
	var out []string
	for t := range of["content"].(object) {
		out = append(out, t)
	}
	slices.Sort(out)
	return out
}

func firstSchema(content object) any {
	for _, c := range content {
		return c.(object)["schema"]
	}
	return nil
}

func v2Parameters(list []any) []any {
	out := make([]any, len(list))
	for i, p := range list {
		flat := object{}
		for key, value := range p.(object) {
			if key == "schema" {
				for k, v := range value.(object) {
					flat[k] = v
				}
				continue
			}
			flat[key] = value
		}
		out[i] = flat
	}
	return out
}

// v2Schema takes composed references apart and leaves out defaults and alternatives, which version 2 does not have.
func v2Schema(in any) any {
	switch s := in.(type) {
	case object:
		out := object{}
		for key, value := range s {
			switch key {
			case "oneOf":
				// A number or a string: a string, to version 2.
				if s["type"] == nil {
					out["type"] = "string"
				}
				continue
			case "default", "anyOf", "not":
				continue
			case "allOf":
				if list, ok := value.([]any); ok && len(list) == 1 {
					for k, v := range v2Schema(list[0]).(object) {
						out[k] = v
					}
				}
				continue
			case "$ref":
				out[key] = strings.Replace(value.(string), v3Ref, v2Ref, 1)
				continue
			case "properties":
				// Names of fields are no keywords: one may well be called "default".
				fields := object{}
				for name, field := range value.(object) {
					fields[name] = v2Schema(field)
				}
				out[key] = fields
				continue
			}
			out[key] = v2Schema(value)
		}
		return out
	case []any:
		out := make([]any, len(s))
		for i := range s {
			out[i] = v2Schema(s[i])
		}
		return out
	}
	return in
}
