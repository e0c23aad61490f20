package rest

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"testing"
)

var wireFile = flag.String("wire", "", "file to write requests to, with the values that they carry, for the decoder of local/checks/openapiwire")

// A wireCase is a request that was recorded, and what it must be read as.
type wireCase struct {
	In        string         `json:"in"` // path, query, header, cookie or body
	Style     string         `json:"style,omitempty"`
	Explode   bool           `json:"explode"`
	MediaType string         `json:"mediaType,omitempty"` // of a body, or of a parameter's content
	Schema    map[string]any `json:"schema"`
	Encoding  map[string]any `json:"encoding,omitempty"` // of a body's members
	Value     any            `json:"value"`
	URI       string         `json:"uri"`
	Header    http.Header    `json:"header"`
	Body      []byte         `json:"body,omitempty"`
}

// wireStyles are the styles of each place.
var wireStyles = map[Place][]Style{Path: {Simple, Label, Matrix}, Query: {Form, SpaceDelimited, PipeDelimited, DeepObject}, Header: {Simple}, Cookie: {Form}}

var styleNames = map[Style]string{Simple: "simple", Label: "label", Matrix: "matrix", Form: "form", SpaceDelimited: "spaceDelimited", PipeDelimited: "pipeDelimited", DeepObject: "deepObject"}

// generator makes values with schemas that allow them alone.
type generator struct {
	*rand.Rand
	letters  []rune // of texts
	noPoints bool   // in members: a point separates them in the label style
}

func (g *generator) text() string {
	out := make([]rune, 1+g.IntN(8))
	for i := range out {
		out[i] = g.letters[g.IntN(len(g.letters))]
	}
	return "t" + string(out) + "e" // no spaces at the ends, no number, no true
}

func (g *generator) scalar(kind string) any {
	switch kind {
	case "integer":
		return []int64{0, -1, 1 << 53, 1<<53 + 1, math.MaxInt64, math.MinInt64, g.Int64()}[g.IntN(7)]
	case "number":
		return []float64{0.5, -1.25, 1e20 + 0.5, 1e-7, g.NormFloat64()}[g.IntN(5)]
	case "boolean":
		return g.IntN(2) == 0
	}
	return g.text()
}

// value makes one of a type, and the schema that its reader has.
func (g *generator) value(kind string) (v any, schema map[string]any) {
	switch kind {
	case "array":
		out := make([]any, 2+g.IntN(4))
		for i := range out {
			out[i] = g.text()
		}
		return out, map[string]any{"type": "array", "items": map[string]any{"type": "string"}}
	case "object", "nested":
		out, members := map[string]any{}, map[string]any{}
		for n, k := range []string{"string", "integer", "number", "boolean"} {
			if k == "number" && g.noPoints {
				continue
			}
			name := fmt.Sprintf("m%d", n)
			out[name], members[name] = g.scalar(k), map[string]any{"type": k}
		}
		if kind == "nested" {
			out["deep"], members["deep"] = g.value("object")
			out["list"], members["list"] = g.value("array")
		}
		return out, map[string]any{"type": "object", "properties": members}
	}
	return g.scalar(kind), map[string]any{"type": kind}
}

// TestWire sends generated values in each place, style, explode and type, and records the requests. What they mean to another implementation is for
// local/checks/openapiwire to say; here each is only sent.
func TestWire(t *testing.T) {
	api := record(t, nil)
	g := &generator{Rand: rand.New(rand.NewPCG(7, 7))}
	plainText, all := []rune("abcXYZ019-_~"), []rune("abc /?#[]@!$&'()*+,;=%\"<>\\^`{|}:üß€𝄞\x01\n\t")
	var cases []*wireCase
	send := func(c *wireCase, r *Request) {
		if r.Method == "" {
			r.Method = "GET"
		}
		r.Server = api.URL
		if _, err := call(t, api.api(), r, Answer{}, map[string]any{"color": c.Value}); err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		last := api.last()
		c.URI, c.Header, c.Body = last.RequestURI, last.Header, []byte(last.body)
		cases = append(cases, c)
	}
	for in, place := range []string{"path", "query", "header", "cookie"} {
		for _, style := range wireStyles[Place(in)] {
			for _, explode := range []bool{false, true} {
				kinds := []string{"string", "integer", "number", "boolean", "array", "object"}
				switch {
				case style == DeepObject && !explode, (style == SpaceDelimited || style == PipeDelimited) && explode, Place(in) == Cookie && explode:
					continue // n/a in the specification
				case style == DeepObject:
					kinds = []string{"object", "nested"}
				case style == SpaceDelimited || style == PipeDelimited:
					kinds = []string{"array", "object"}
				}
				for _, kind := range kinds {
					for range 20 {
						// Decoders split what is decoded, so that only values that stand alone may have delimiters.
						alone := Place(in) == Query && (kind == "string" || explode) || Place(in) == Path && kind == "string"
						if g.letters = plainText; alone {
							g.letters = all
						}
						g.noPoints = style == Label && explode
						v, schema := g.value(kind)
						if text, ok := v.(string); ok && Place(in) == Path && (strings.ContainsAny(text, "/") || dots(text) != nil) {
							continue // which is refused
						}
						r := &Request{Path: "/x", Parameters: []Parameter{{Argument: "color", Name: "color", In: Place(in), Encoding: Encoding{Style: style, Explode: explode}}}}
						if Place(in) == Path {
							r.Path = "/x/{color}"
						}
						if Place(in) == Cookie {
							r.Parameters[0].Argument, r.Parameters[0].Fixed = "", always(v)
						}
						send(&wireCase{In: place, Style: styleNames[style], Explode: explode, Schema: schema, Value: v}, r)
					}
				}
			}
		}
	}
	g.letters, g.noPoints = all, false
	for range 20 {
		v, schema := g.value("nested")
		send(&wireCase{In: "query", MediaType: "application/json", Schema: schema, Value: v},
			&Request{Path: "/x", Parameters: []Parameter{{Argument: "color", Name: "color", In: Query, Encoding: Encoding{ContentType: "application/json"}}}})
		send(&wireCase{In: "body", MediaType: "application/json", Schema: schema, Value: v}, &Request{Method: "POST", Path: "/x", Body: &Body{MediaType: "application/json", Argument: "color"}})
		v, schema = g.value("object")
		send(&wireCase{In: "body", MediaType: formType, Schema: schema, Value: v}, &Request{Method: "POST", Path: "/x", Body: &Body{MediaType: formType, Argument: "color"}})
		send(&wireCase{In: "body", MediaType: multipartType, Schema: schema, Value: v}, &Request{Method: "POST", Path: "/x", Body: &Body{MediaType: multipartType, Argument: "color"}})
		list, listSchema := g.value("array")
		v, schema = map[string]any{"list": list, "deep": v}, map[string]any{"type": "object", "properties": map[string]any{"list": listSchema, "deep": schema}}
		send(&wireCase{In: "body", MediaType: formType, Schema: schema, Value: v, Encoding: map[string]any{"deep": map[string]any{"style": "deepObject", "explode": true}}},
			&Request{Method: "POST", Path: "/x", Body: &Body{MediaType: formType, Argument: "color", Encodings: map[string]Encoding{"deep": {Style: DeepObject, Explode: true}}}})
	}
	if len(cases) < 600 {
		t.Errorf("%d cases", len(cases))
	}
	if *wireFile == "" {
		return
	}
	out, err := os.Create(*wireFile)
	if err != nil {
		t.Fatal(err)
	}
	enc := json.NewEncoder(out)
	for _, c := range cases {
		if err := enc.Encode(c); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}
