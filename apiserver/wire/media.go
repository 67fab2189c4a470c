package wire

import (
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/munnerz/goautoneg"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Format is how an object is written down.
type Format uint8

// The formats, in the order in which upstream offers them.
const (
	JSON Format = iota
	YAML
	Protobuf
)

// The media types of the formats.
const (
	TypeJSON     = "application/json"
	TypeYAML     = "application/yaml"
	TypeProtobuf = "application/vnd.kubernetes.protobuf"
)

var formatTypes = [...]string{TypeJSON, TypeYAML, TypeProtobuf}

// ContentType is the media type of a body in this format.
func (f Format) ContentType() string { return formatTypes[f] }

// StreamType is the media type of a watch in this format.
func (f Format) StreamType() string {
	if f == JSON {
		return TypeJSON
	}
	return formatTypes[f] + ";stream=watch"
}

// Offer is what an endpoint can answer with.
type Offer struct {
	// Formats in order of preference; the first is what a client gets that accepts anything.
	Formats []Format
	// named are the formats that refusals name, if they are others: upstream's names protobuf for custom resources, too.
	named []Format
	// Partial allows as=PartialObjectMetadata and as=PartialObjectMetadataList.
	Partial bool
	// Table allows as=Table, in JSON and YAML.
	Table bool
}

// The usual offers.
var (
	allFormats  = []Format{JSON, YAML, Protobuf}
	textFormats = []Format{JSON, YAML}
	// Plain is the offer for errors and for objects that are no resources.
	Plain = Offer{Formats: allFormats}
)

// Accepted is the outcome of a negotiation.
type Accepted struct {
	Format Format
	// Pretty asks for indented JSON.
	Pretty bool
	// As is what the object shall be turned into (a Table, PartialObjectMetadata); nil: itself.
	As *schema.GroupVersionKind
}

// Is says whether the answer shall be turned into kind.
func (a *Accepted) Is(kind string) bool { return a.As != nil && a.As.Kind == kind }

// Negotiate finds the first of the client's wishes that the offer can meet.
func Negotiate(r *http.Request, offer Offer) (Accepted, error) {
	header := r.Header.Get("Accept")
	accepted, ok := negotiate(header, offer)
	if !ok {
		return Accepted{}, notAcceptable(offer, false)
	}
	accepted.Pretty = accepted.Pretty || wantsPretty(r)
	return accepted, nil
}

// NegotiateStream is Negotiate for a watch, which YAML cannot carry.
func NegotiateStream(r *http.Request, offer Offer) (Accepted, error) {
	accepted, ok := negotiate(r.Header.Get("Accept"), offer)
	if !ok || accepted.Format == YAML {
		return Accepted{}, notAcceptable(offer, true)
	}
	return accepted, nil
}

func negotiate(header string, offer Offer) (Accepted, bool) {
	// What nearly all clients send, without taking the header to pieces.
	switch header {
	case "", "*/*", TypeJSON:
		return Accepted{Format: offer.Formats[0]}, true
	case TypeProtobuf, TypeProtobuf + ",*/*", TypeProtobuf + ", */*", TypeProtobuf + ",application/json", TypeProtobuf + ", application/json":
		if offer.has(Protobuf) {
			return Accepted{Format: Protobuf}, true
		}
		if header != TypeProtobuf {
			return Accepted{Format: offer.Formats[0]}, true
		}
		return Accepted{}, false
	}
	for _, clause := range goautoneg.ParseAccept(header) {
		for _, f := range offer.Formats {
			typ, sub, _ := strings.Cut(formatTypes[f], "/")
			if clause.Type != "*" && clause.Type != typ || clause.SubType != "*" && (clause.SubType != sub || clause.Type == "*") {
				continue
			}
			if accepted, ok := accept(f, clause.Params, offer); ok {
				return accepted, true
			}
		}
	}
	return Accepted{}, false
}

func (o *Offer) has(f Format) bool {
	for _, have := range o.Formats {
		if have == f {
			return true
		}
	}
	return false
}

// accept checks the parameters of one clause of an Accept header against what format f can be combined with.
func accept(f Format, params map[string]string, offer Offer) (Accepted, bool) {
	out := Accepted{Format: f}
	var as schema.GroupVersionKind
	transform := false
	for key, value := range params {
		switch key {
		case "as":
			as.Kind, transform = value, true
		case "g":
			as.Group, transform = value, true
		case "v":
			as.Version, transform = value, true
		case "stream":
			if value != "" && (f == YAML || value != "watch") {
				return out, false
			}
		case "sv":
			if value != "" && !(value == "v1" && offer.Partial) {
				return out, false
			}
		case "pretty":
			out.Pretty = value == "1"
		}
	}
	if !transform {
		return out, true
	}
	if as.Group != "meta.k8s.io" || as.Version != "v1" && as.Version != "v1beta1" {
		return out, false
	}
	switch as.Kind {
	case "Table":
		if !offer.Table || f == Protobuf {
			return out, false
		}
	case "PartialObjectMetadata", "PartialObjectMetadataList":
		if !offer.Partial {
			return out, false
		}
	default:
		return out, false
	}
	out.As = &as
	return out, true
}

// wantsPretty says whether JSON shall be indented: as ?pretty says, and for what people type into a shell or a browser.
func wantsPretty(r *http.Request) bool {
	if strings.Contains(r.URL.RawQuery, "pretty") {
		if value := r.URL.Query().Get("pretty"); value != "" {
			pretty, _ := strconv.ParseBool(value)
			return pretty
		}
	}
	agent := r.UserAgent()
	return strings.HasPrefix(agent, "curl") || strings.HasPrefix(agent, "Wget") || strings.HasPrefix(agent, "Mozilla/5.0")
}

// InputFormat is the format of a request's body by its Content-Type; without one it is JSON.
func InputFormat(r *http.Request, offer Offer) (Format, error) {
	header := r.Header.Get("Content-Type")
	switch header {
	case "", TypeJSON:
		return JSON, nil
	}
	if media, _, err := mime.ParseMediaType(header); err == nil {
		for _, f := range offer.Formats {
			if media == formatTypes[f] {
				return f, nil
			}
		}
	}
	return 0, unsupportedMediaType(offer.types(false))
}

func (o *Offer) types(stream bool) []string {
	var out []string
	formats := o.Formats
	if o.named != nil {
		formats = o.named
	}
	for _, f := range formats {
		switch {
		case !stream:
			out = append(out, formatTypes[f])
		case f != YAML:
			out = append(out, formatTypes[f]+";stream=watch")
		}
	}
	return out
}
