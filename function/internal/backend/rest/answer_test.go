package rest

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"example.com/erlmcp/function/internal/mcp"
)

// answering makes a tool of an API that answers one thing, and calls it.
func answering(t *testing.T, a *API, answer Answer, status int, contentType, body string) (*mcp.Result, error) {
	t.Helper()
	api := record(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
		}
		if status == http.StatusCreated {
			w.Header().Set("Location", "/things/7")
		}
		if status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "30")
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	})
	a.Name, a.Client = "billing", api.Client()
	r := &Request{Method: "GET", Server: api.URL, Parameters: []Parameter{{Argument: "limit", Name: "limit", In: Query}}}
	return call(t, a, r, answer, nil)
}

// in renders a result for comparison.
func in(r *mcp.Result) string {
	var out strings.Builder
	if r.IsError {
		out.WriteString("error ")
	}
	for i, c := range r.Content {
		if i > 0 {
			out.WriteString(" | ")
		}
		switch c.Type {
		case "text":
			out.WriteString("text " + c.Text)
		case "resource":
			fmt.Fprintf(&out, "resource %s %q", c.Resource.MIMEType, c.Resource.Blob)
		default:
			fmt.Fprintf(&out, "%s %s %q", c.Type, c.MIMEType, c.Data)
		}
	}
	if r.Structured != nil {
		out.WriteString(" structured " + string(r.Structured))
	}
	return out.String()
}

// TestAnswers has answers of each kind become what clients and models can use.
func TestAnswers(t *testing.T) {
	structured := Answer{Structured: true}
	for _, c := range []struct {
		status            int
		contentType, body string
		answer            Answer
		want              string
	}{
		// As it came: order, white space, digits.
		{200, "application/json", ` {"b":1.00, "a":12345678901234567890123,"c":1E400}`, Answer{}, `text {"b":1.00, "a":12345678901234567890123,"c":1E400}`},
		{200, "application/json", `{"a":9007199254740993}`, structured, `text {"a":9007199254740993} structured {"a":9007199254740993}`},
		{200, "application/json", `[1,2]`, structured, `text [1,2] structured [1,2]`},
		{200, "application/json; charset=utf-8", "\ufeff{}", structured, `text {} structured {}`},
		{200, "application/hal+json", `"x"`, structured, `text "x" structured "x"`},
		{200, "application/problem+json", `{"title":"x"}`, structured, `text {"title":"x"} structured {"title":"x"}`},
		{200, "application/json", `{"a":1,"a":2}`, structured, `text {"a":1,"a":2}`}, // readers differ about it
		// APIs that do not do as they say.
		{200, "application/json", `{"a":`, structured, `text {"a":`},
		{200, "application/json", `<html>`, structured, `text <html>`},
		{200, "text/event-stream", `{"a":1}`, structured, `text {"a":1}`},
		{200, "text/html; charset=utf-8", `{"a":1}`, structured, `text {"a":1}`},
		{200, "", `{"a":1}`, structured, `text {"a":1}`},
		{200, "", "a\x00b", Answer{}, `resource application/octet-stream "a\x00b"`},
		{200, "application/json", "\"\xff\"", structured, `text "�"`},
		{200, "text/plain; charset=iso-8859-1", "\xfc", Answer{}, `text ü`},
		{200, "text/plain", "\xfc", Answer{}, `text �`},
		{200, "; what", "x", Answer{}, `text x`},
		// Other kinds.
		{200, "text/csv", "a,b\n1,2\n", Answer{}, "text a,b\n1,2\n"},
		{200, "application/xml", "<a/>", Answer{}, "text <a/>"},
		{200, "application/atom+xml", "<a/>", Answer{}, "text <a/>"},
		{200, "image/svg+xml", "<svg/>", Answer{}, "text <svg/>"},
		{200, "image/png", "\x89PNG", Answer{}, `image image/png "\x89PNG"`},
		{200, "audio/mpeg", "ID3", Answer{}, `audio audio/mpeg "ID3"`},
		{200, "application/pdf", "%PDF", Answer{}, `resource application/pdf "%PDF"`},
		{200, "image/png", "\x89PNG", Answer{MaxBinary: 3}, `error text billing answers a file (image/png) of 4 bytes, and at most 3 bytes are passed on`},
		// Nothing.
		{204, "application/json", "", structured, `text done (204)`},
		{200, "application/json", "", structured, `text done (200)`},
		{202, "", "", Answer{}, `text done (202)`},
		{201, "", "", Answer{}, `text done (201), at /things/7`},
		{200, "image/png", "", Answer{}, `text done (200)`},
		// Faults.
		{404, "application/problem+json", `{"type":"about:blank","title":"No such invoice","detail":"Invoice 7 is gone","status":404}`, Answer{}, `error text billing answers 404 Not Found: No such invoice: Invoice 7 is gone`},
		{400, "application/json", `{"error":{"message":"bad day"}}`, Answer{}, `error text billing answers 400 Bad Request: bad day`},
		{400, "application/json", `{"errors":[{"path":"a"}]}`, Answer{}, `error text billing answers 400 Bad Request: [{"path":"a"}]`},
		{400, "application/json", `{"code":7}`, Answer{}, `error text billing answers 400 Bad Request: {"code":7}`},
		{400, "text/plain", "no\n", Answer{}, `error text billing answers 400 Bad Request: no`},
		{404, "text/html", "<h1>Not Found</h1>", Answer{}, `error text billing answers 404 Not Found`},
		{422, "application/json", `{"message":`, Answer{}, `error text billing answers 422 Unprocessable Entity: {"message":`},
		{429, "", "", Answer{}, `error text billing answers 429 Too Many Requests; try again in 30s`},
		{401, "", "", Answer{}, `error text billing answers 401 Unauthorized (this server has no credentials for it)`},
		{304, "", "", Answer{}, `error text billing answers 304 Not Modified`},
		{499, "", "", Answer{}, `error text billing answers 499`},
	} {
		r, err := answering(t, &API{}, c.answer, c.status, c.contentType, c.body)
		if err != nil {
			t.Errorf("%d %s %q: %v", c.status, c.contentType, c.body, err)
		} else if got := in(r); got != c.want {
			t.Errorf("%d %s %q:\n%s, want\n%s", c.status, c.contentType, c.body, got, c.want)
		}
	}
	if r, err := answering(t, &API{Auth: Bearer(secret("x"))}, Answer{}, 403, "application/json", `{"message":"no"}`); err != nil || in(r) != "error text billing answers 403 Forbidden (the credentials that this server has for it, not yours, were refused): no" {
		t.Errorf("%v %v", r, err)
	}
	if r, err := answering(t, &API{Forward: map[string]string{"X-A": "X-A"}}, Answer{}, 401, "", ""); err != nil || !strings.Contains(in(r), "or the headers of yours") {
		t.Errorf("%v %v", r, err)
	}
	for _, status := range []int{500, 501, 502, 503, 504, 599} {
		_, err := answering(t, &API{}, Answer{}, status, "application/problem+json", `{"title":"Broken"}`)
		if !errors.Is(err, mcp.ErrUnavailable) || !strings.HasPrefix(err.Error(), fmt.Sprintf("billing answers %d", status)) || !strings.HasSuffix(err.Error(), ": Broken") {
			t.Errorf("%d: %v", status, err)
		}
	}
	r, err := answering(t, &API{}, Answer{}, 400, "text/plain", strings.Repeat("ü", 1<<20))
	if text := in(r); err != nil || len(text) > 1100 || strings.Contains(text, "�") {
		t.Errorf("%d bytes of a fault, %v", len(text), err)
	}
}

// TestBounds has an answer read up to a bound, whatever its length, and memory be bounded with it.
func TestBounds(t *testing.T) {
	chunk := bytes.Repeat([]byte("ü234567"), 1<<13)
	for _, contentType := range []string{"text/plain", "application/json", "image/png", "application/octet-stream", "text/plain 500"} {
		wrote := make(chan int64, 1)
		api := record(t, func(w http.ResponseWriter, _ *http.Request) {
			kind, fault, _ := strings.Cut(contentType, " ")
			w.Header().Set("Content-Type", kind)
			if fault != "" {
				w.WriteHeader(500)
			}
			n := int64(0)
			for n < 1<<30 {
				m, err := w.Write(chunk)
				if n += int64(m); err != nil {
					break
				}
			}
			wrote <- n
		})
		a := api.api()
		a.MaxRead = 1 << 20
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r, err := call(t, a, &Request{Method: "GET", Server: api.URL}, Answer{}, nil)
		runtime.ReadMemStats(&after)
		if n := <-wrote; n >= 1<<30 {
			t.Errorf("%s: the whole gigabyte was taken", contentType)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 12<<20 {
			t.Errorf("%s: %d MB for a bound of 1 MB", contentType, used>>20)
		}
		switch {
		case strings.HasSuffix(contentType, " 500"):
			if !errors.Is(err, mcp.ErrUnavailable) || len(err.Error()) > 1200 {
				t.Errorf("%s: %v", contentType, err)
			}
		case contentType == "text/plain":
			if err != nil || r.IsError || len(r.Content) != 2 || len(r.Content[0].Text) > 64<<10 || len(r.Content[0].Text) < 64<<10-4 || strings.Contains(r.Content[0].Text, "�") || !strings.Contains(r.Content[1].Text, "of more than 1048576 bytes") {
				t.Errorf("%s: %.100q %v", contentType, in(r), err)
			}
		default:
			if err != nil || !r.IsError || !strings.Contains(in(r), "ore than 1.0 MiB") {
				t.Errorf("%s: %.200q %v", contentType, in(r), err)
			}
		}
	}
}

// TestEncodings has a compressed answer read within the same bound as any, and one that is compressed unasked not taken for text.
func TestEncodings(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for range 64 {
		z.Write(make([]byte, 1<<20))
	}
	z.Close()
	for want, coding := range map[string]string{"error text billing answers a file (application/octet-stream) of more than 1.0 MiB, and at most 1.0 MiB are passed on": "gzip",
		`error text billing answers in the encoding "br", which it was not asked for, and which is not read`: "br"} {
		api := record(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/octet-stream")
			w.Header().Set("Content-Encoding", coding)
			w.Write(bomb.Bytes())
		})
		a := api.api()
		a.MaxRead = 1 << 20
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r, err := call(t, a, &Request{Method: "GET", Server: api.URL}, Answer{}, nil)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; err != nil || in(r) != want || used > 12<<20 {
			t.Errorf("%s: %.200s (%v), %d MB", coding, in(r), err, used>>20)
		}
	}
}

// TestFields has a mask keep order and the texts of numbers. The first rows are what Google's documentation of partial responses shows.
func TestFields(t *testing.T) {
	const page = `{"kind": "demo", "items": [{"title": "First title", "comment": "First comment.", "characteristics": {"length": "short", "accuracy": "high", "followers": ["Jo", "Will"]}, "status": "active"},` +
		`{"title": "Second title", "comment": "Second comment.", "characteristics": {"length": "long", "accuracy": "medium", "followers": [ ]}, "status": "pending"}]}`
	for _, c := range []struct {
		fields     string
		body, want string
	}{
		{"kind items.title items.characteristics.length", page, `{"kind":"demo","items":[{"title":"First title","characteristics":{"length":"short"}},{"title":"Second title","characteristics":{"length":"long"}}]}`},
		{"items.characteristics.followers", page, `{"items":[{"characteristics":{"followers":["Jo", "Will"]}},{"characteristics":{"followers":[ ]}}]}`},
		{"next items.id", `{"items":[{"id":1.50,"x":2},{"x":3},{"id":12345678901234567890}],"next":null}`, `{"items":[{"id":1.50},{},{"id":12345678901234567890}],"next":null}`},
		{"id", `[{"id":1,"x":2},{"id":3}]`, `[{"id":1},{"id":3}]`},
		{"a.b", `{"a":{"b":{"c":[1, 2]},"d":1}}`, `{"a":{"b":{"c":[1, 2]}}}`},
		{"a.b", `{"a":1}`, `{}`},
		{"a a.b", `{"a":{"c":1}}`, `{"a":{"c":1}}`},
		{"*.id", `{"x":{"id":1,"n":2},"y":{"id":3},"z":4}`, `{"x":{"id":1},"y":{"id":3}}`},
		{"*.id x.n", `{"x":{"id":1,"n":2},"y":{"id":3,"n":4}}`, `{"x":{"id":1,"n":2},"y":{"id":3}}`},
		{"*.a.b *.*.c x.a.d x.*.e", `{"x":{"a":{"b":1,"c":2,"d":3,"e":4,"f":5}},"y":{"a":{"b":1,"c":2,"d":3,"e":4,"f":5}}}`, `{"x":{"a":{"b":1,"c":2,"d":3,"e":4}},"y":{"a":{"b":1,"c":2}}}`},
		{`@odata\.next`, `{"@odata.next":"x","@odata":{"next":1}}`, `{"@odata.next":"x"}`},
		{"ü", `{"\u00fc":1,"u":2}`, `{"\u00fc":1}`},
		{"a", `"text"`, `"text"`},
		{"a", `[1,[{"a":2,"b":3}]]`, `[[{"a":2}]]`},
	} {
		mask, err := ParseMask(strings.Fields(c.fields))
		if err != nil {
			t.Fatal(err)
		}
		r, err := answering(t, &API{}, Answer{Fields: mask, Structured: true}, 200, "application/json", c.body)
		if err != nil || r.Content[0].Text != c.want || string(r.Structured) != c.want || !json.Valid(r.Structured) {
			t.Errorf("%s of %s: %s (%v), want %s", c.fields, c.body, r.Content[0].Text, err, c.want)
		}
		if (len(r.Content) == 2) != (c.want == "{}") {
			t.Errorf("%s: %s", c.fields, in(r))
		}
	}
	if _, err := ParseMask([]string{"a..b", ".", ""}); err == nil || strings.Count(err.Error(), "empty name") != 3 {
		t.Errorf("%v", err)
	}
	if _, err := ParseMask(nil); err == nil {
		t.Error("a mask of nothing")
	}
}

// TestValue has an expression's value take an answer's place, numbers exact.
func TestValue(t *testing.T) {
	mask, _ := ParseMask([]string{"a"})
	answer := Answer{Fields: mask, Structured: true, Value: func(_ context.Context, body any) (any, error) {
		if n, ok := body.(map[string]any)["a"].(int64); !ok || len(body.(map[string]any)) != 1 {
			return nil, fmt.Errorf("no number: %v", body)
		} else {
			return map[string]any{"<a>": n}, nil
		}
	}}
	r, err := answering(t, &API{}, answer, 200, "application/json", `{"a":9007199254740993,"b":1}`)
	if err != nil || in(r) != `text {"<a>":9007199254740993} structured {"<a>":9007199254740993}` {
		t.Errorf("%v %v", r, err)
	}
	if _, err := answering(t, &API{}, answer, 200, "application/json", `{"a":"x"}`); err == nil || errors.Is(err, mcp.ErrUnavailable) || !strings.Contains(err.Error(), "not as the tool expects: no number") {
		t.Errorf("%v", err)
	}
}
