package rest

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"example.com/erlmcp/function/internal/mcp"
)

// TestBodies has bodies of each kind read by net/http as servers read them.
func TestBodies(t *testing.T) {
	json := "application/json"
	object := map[string]any{"b": int64(1), "a": []any{nil, "x"}, "n": nil}
	for _, c := range []struct {
		name string
		body Body
		args map[string]any
		want string // type and body; "" for none, "refused …" for a misfit
	}{
		{"a list", Body{MediaType: json, Argument: "body"}, map[string]any{"body": []any{int64(1), nil, "<"}}, json + ` [1,null,"<"]`},
		{"a scalar", Body{MediaType: json, Argument: "body"}, map[string]any{"body": "x"}, json + ` "x"`},
		{"null", Body{MediaType: json, Argument: "body"}, map[string]any{"body": nil}, json + ` null`},
		{"nothing", Body{MediaType: json, Argument: "body"}, nil, ""},
		{"nothing, and it is needed", Body{MediaType: json, Argument: "body", Required: true}, nil, "refused argument body: it is missing"},
		{"an object", Body{MediaType: "application/merge-patch+json", Argument: "body"}, map[string]any{"body": object}, `application/merge-patch+json {"a":[null,"x"],"b":1,"n":null}`},
		{"members", Body{MediaType: json, Members: []Member{{Argument: "x", Name: "y"}, {Name: "f", Fixed: always(true)}, {Argument: "z", Name: "z"}}}, map[string]any{"x": "", "z": nil}, json + ` {"y":"","f":true}`},
		{"no members", Body{MediaType: json, Members: []Member{{Argument: "x", Name: "y"}}}, nil, ""},
		{"no members, and it is needed", Body{MediaType: json, Required: true, Members: []Member{{Argument: "x", Name: "y"}}}, nil, json + ` {}`},
		{"numbers", Body{MediaType: json, Argument: "body"}, map[string]any{"body": []any{int64(-9223372036854775808), uint64(18446744073709551615), 0.1, 1e21}}, json + ` [-9223372036854775808,18446744073709551615,0.1,1e+21]`},
		{"text", Body{MediaType: "text/plain", Argument: "body"}, map[string]any{"body": "ü\r\n"}, "text/plain ü\r\n"},
		{"empty text", Body{MediaType: "text/plain", Argument: "body"}, map[string]any{"body": ""}, "text/plain "},
		{"bytes", Body{MediaType: "image/png", Argument: "body", Binary: true}, map[string]any{"body": "iVBORw=="}, "image/png \x89PNG"},
		{"bytes without padding", Body{MediaType: "image/png", Argument: "body", Binary: true}, map[string]any{"body": "iVBORw"}, "image/png \x89PNG"},
		{"no bytes", Body{MediaType: "image/png", Argument: "body", Binary: true}, map[string]any{"body": "data:x"}, "refused argument body: it is no base64"},
		{"a form", Body{MediaType: formType, Members: []Member{{Argument: "a", Name: "a b"}, {Argument: "l", Name: "l"}, {Argument: "o", Name: "o"}, {Argument: "n", Name: "n", Null: true}}},
			map[string]any{"a": "1 & ü", "l": []any{"x", "y"}, "o": map[string]any{"k": int64(1)}, "n": nil}, formType + " a%20b=1%20%26%20%C3%BC&l=x&l=y&o=%7B%22k%22%3A1%7D"},
		{"a form with styles", Body{MediaType: formType, Argument: "body", Encodings: map[string]Encoding{"items": {Style: DeepObject, Explode: true}, "l": {Style: Form}}},
			map[string]any{"body": map[string]any{"items": []any{map[string]any{"price": "p1", "n": int64(2)}}, "l": []any{"x", "y,z"}}}, formType + " items%5B0%5D%5Bn%5D=2&items%5B0%5D%5Bprice%5D=p1&l=x,y%2Cz"},
		{"another method by JSON", Body{MediaType: json, Argument: "body"}, map[string]any{"body": map[string]any{"_method": "DELETE"}}, "refused argument body: it has the member _method"},
		{"another method by a form", Body{MediaType: formType, Argument: "body"}, map[string]any{"body": map[string]any{"_method": "DELETE"}}, "refused argument body: it has the member _method"},
		{"another method by parts", Body{MediaType: multipartType, Argument: "body"}, map[string]any{"body": map[string]any{"_method": "DELETE"}}, "refused argument body: it has the member _method"},
		{"a form of no object", Body{MediaType: formType, Argument: "body"}, map[string]any{"body": "x"}, "refused argument body: it is not an object"},
	} {
		api := record(t, nil)
		r := &Request{Method: "POST", Server: api.URL, Body: &c.body}
		_, err := call(t, api.api(), r, Answer{}, c.args)
		got := ""
		if errors.As(err, new(*mcp.Misfit)) {
			got = strings.Replace(err.Error(), "the arguments do not fit:", "refused", 1)
		} else if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		} else if last := api.last(); last.Header.Get("Content-Type") != "" || last.body != "" {
			got = last.Header.Get("Content-Type") + " " + last.body
		}
		if got != c.want && !(strings.HasPrefix(c.want, "refused") && strings.HasPrefix(got, c.want)) {
			t.Errorf("%s:\n%q, want\n%q", c.name, got, c.want)
		}
	}
}

// TestMultipart has the parts read back by mime/multipart: texts, JSON, bytes, lists, and names that would break a header.
func TestMultipart(t *testing.T) {
	api := record(t, nil)
	r := &Request{Method: "POST", Server: api.URL, Body: &Body{MediaType: multipartType, Files: map[string]bool{"file": true, "photos": true},
		Encodings: map[string]Encoding{"meta": {ContentType: "application/json"}, "photos": {ContentType: "image/png"}, "note": {ContentType: "text/markdown; charset=utf-8"}},
		Members: []Member{{Argument: "text", Name: "text"}, {Argument: "meta", Name: "meta"}, {Argument: "file", Name: "file"}, {Argument: "photos", Name: "photos"}, {Argument: "object", Name: "object"},
			{Argument: "tags", Name: "tags"}, {Argument: "note", Name: "note"}, {Argument: "odd", Name: "a\"b\r\nX: y"}, {Argument: "gone", Name: "gone"}}}}
	_, err := call(t, api.api(), r, Answer{}, map[string]any{"text": "ü\r\n--", "meta": "x", "file": "AP8=", "photos": []any{"iVBORw==", "AA=="}, "object": map[string]any{"a": int64(1)}, "tags": []any{"x", int64(2)}, "note": "# n", "odd": true, "gone": nil})
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(api.last().Header.Get("Content-Type"))
	if err != nil || kind != multipartType {
		t.Fatalf("%s %v", kind, err)
	}
	parts := multipart.NewReader(strings.NewReader(api.last().body), params["boundary"])
	for _, want := range []string{"text|||ü\r\n--", `meta||application/json|"x"`, "file|file|application/octet-stream|\x00\xff", "photos|photos|image/png|\x89PNG", "photos|photos|image/png|\x00",
		`object||application/json|{"a":1}`, "tags|||x", "tags|||2", "note||text/markdown; charset=utf-8|# n", `odd`} {
		p, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		content, _ := io.ReadAll(p)
		got := p.FormName() + "|" + p.FileName() + "|" + p.Header.Get("Content-Type") + "|" + string(content)
		if want == "odd" {
			if len(p.Header) != 1 || string(content) != "true" || strings.ContainsAny(p.Header.Get("Content-Disposition"), "\r\n") {
				t.Errorf("%q %q", p.Header, content)
			}
		} else if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if _, err := parts.NextPart(); err != io.EOF {
		t.Errorf("%v", err)
	}
	if _, err := call(t, api.api(), r, Answer{}, map[string]any{"photos": []any{"iVBORw==", int64(1)}}); !errors.As(err, new(*mcp.Misfit)) || !strings.Contains(err.Error(), "argument photos") {
		t.Errorf("%v", err)
	}
}

// TestBodyLength has a server know how long a body is: many refuse one in chunks.
func TestBodyLength(t *testing.T) {
	api := record(t, func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 4 || len(r.TransferEncoding) > 0 {
			t.Errorf("%d bytes, %v", r.ContentLength, r.TransferEncoding)
		}
	})
	call(t, api.api(), &Request{Method: "PUT", Server: api.URL, Body: &Body{MediaType: "text/plain", Argument: "a"}}, Answer{}, map[string]any{"a": "text"})
}
