package rest

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"example.com/erlmcp/function/internal/mcp"
)

// FuzzPath has no value leave its segment: what net/url reads of the URL, and what the mux of net/http makes of it, is the value again, in its place, or
// the value was refused. It is also lively: what has neither a slash nor dots alone is sent.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{"a", "", ".", "..", "...", "../admin", "..%2fadmin", "%2e%2e", "%252e%252e%252f", `..\admin`, "a/b", "a//b", "/a", "a/", "?x=y", "#x", ";x=y", "a b", "ü", "\x00", "%", "%zz", "a%2fb", "{x}", "..;", "a:b@c", "～"} {
		f.Add(seed, false)
		f.Add(seed, true)
	}
	var got []string
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/items/{id}/notes", func(_ http.ResponseWriter, r *http.Request) { got = append(got, "one", r.PathValue("id")) })
	mux.HandleFunc("GET /v1/files/{id...}", func(_ http.ResponseWriter, r *http.Request) { got = append(got, "many", r.PathValue("id")) })
	mux.HandleFunc("/", func(_ http.ResponseWriter, r *http.Request) { got = append(got, "elsewhere", r.URL.Path) })
	f.Fuzz(func(t *testing.T, value string, slashes bool) {
		r := &Request{Method: "GET", Server: "https://api.example/v1", Path: "/items/{id}/notes", Parameters: []Parameter{{Argument: "id", Name: "id", Slashes: slashes}}}
		want, path := "one", "/v1/items/"+value+"/notes"
		if slashes {
			r.Path, want, path = "/files/{id}", "many", "/v1/files/"+value
		}
		p, err := (&API{}).plan(r)
		if err != nil {
			t.Fatal(err)
		}
		req, err := p.build(t.Context(), map[string]any{"id": value}, nil)
		if err != nil {
			if !errors.As(err, new(*mcp.Misfit)) {
				t.Fatal(err)
			}
			if value != "" && !strings.ContainsAny(value, `/\%`) && strings.Trim(value, ".") != "" {
				t.Errorf("%q is refused: %v", value, err)
			}
			return
		}
		text := req.URL.String()
		u, err := url.Parse(text)
		if err != nil || u.Path != path || u.Host != "api.example" || u.RawQuery != "" || u.Fragment != "" || u.JoinPath().Path != path && !strings.Contains(path, "//") {
			t.Fatalf("%q: %s is read as %+v (%v)", value, text, u, err)
		}
		if n := strings.Count(u.EscapedPath(), "/"); !slashes && n != 4 {
			t.Errorf("%q: %s has %d slashes", value, text, n)
		}
		got = nil
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest("GET", u.RequestURI(), nil))
		if len(got) != 2 || got[0] != want || got[1] != value || w.Code != http.StatusOK {
			t.Errorf("%q: %s is served as %q, %d to %s", value, text, got, w.Code, w.Header().Get("Location"))
		}
	})
}

// TestPathValues says of each kind of value whether it is sent. Each character of Unicode's first blocks, and each that may be read as a slash or a dot, stays what it is.
func TestPathValues(t *testing.T) {
	send := func(p Parameter, value any) (string, error) {
		p.Argument, p.Name = "id", "id"
		plan, err := (&API{}).plan(&Request{Method: "GET", Server: "https://api.example", Path: "/{id}.json", Parameters: []Parameter{p}})
		if err != nil {
			t.Fatal(err)
		}
		r, err := plan.build(t.Context(), map[string]any{"id": value}, nil)
		if err != nil {
			return "", err
		}
		return r.URL.EscapedPath(), nil
	}
	for c := range rune(0x300) {
		text := "x" + string(c)
		path, err := send(Parameter{}, text)
		if c == '/' {
			if err == nil {
				t.Error("a slash is sent")
			}
			continue
		}
		back, fault := url.PathUnescape(path)
		if err != nil || fault != nil || back != "/"+text+".json" {
			t.Errorf("%q: %q (%v, %v)", text, path, err, fault)
		}
	}
	for _, c := range []struct {
		p     Parameter
		value any
		want  string // "" for a refusal
	}{
		{Parameter{}, "", ""}, {Parameter{}, ".", ""}, {Parameter{}, "..", ""}, {Parameter{}, "a/b", ""}, {Parameter{}, "%2e%2e", ""}, {Parameter{}, "%252e%252E", ""},
		{Parameter{}, `..\a`, ""}, {Parameter{}, `..%5ca`, ""}, {Parameter{}, "a%2f..", ""}, {Parameter{}, []any{}, ""}, {Parameter{}, map[string]any{}, ""}, {Parameter{}, nil, ""},
		{Parameter{}, []any{"..", "a"}, ""}, {Parameter{}, "...", "/....json"}, {Parameter{}, "100%", "/100%25.json"}, {Parameter{}, `a\b`, "/a%5Cb.json"},
		{Parameter{}, false, "/false.json"}, {Parameter{}, int64(0), "/0.json"}, {Parameter{}, uint64(18446744073709551615), "/18446744073709551615.json"},
		{Parameter{Slashes: true}, "a/b c/d", "/a/b%20c/d.json"}, {Parameter{Slashes: true}, "a/../b", ""}, {Parameter{Slashes: true}, "/a", ""}, {Parameter{Slashes: true}, "a//b", ""}, {Parameter{Slashes: true}, "a/", ""},
		{Parameter{Encoding: Encoding{Style: Label, Explode: true}}, []any{"a", "b"}, "/.a.b.json"},
		{Parameter{Encoding: Encoding{Style: Matrix, Explode: true}}, map[string]any{"a/../b": "x"}, ""},
		{Parameter{Encoding: Encoding{Style: Matrix, Explode: true}}, map[string]any{"a=;b": "x"}, "/;a%3D%3Bb=x.json"},
	} {
		if path, err := send(c.p, c.value); path != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%v %#v: %q, %v, want %q", c.p.Encoding, c.value, path, err, c.want)
		}
	}
}
