package rest

import (
	"context"
	"errors"
	"strings"
	"testing"

	"example.com/erlmcp/function/internal/mcp"
)

// TestCall has a tool of one request of every kind of parameter.
func TestCall(t *testing.T) {
	api := record(t, nil)
	r := &Request{
		Method: "POST", Server: api.URL + "/v1", Path: "/users/{id}/notes",
		Parameters: []Parameter{
			{Argument: "id", Name: "id"}, {Argument: "tags", Name: "tag", In: Query, Encoding: Encoding{Explode: true}},
			{Argument: "trace", Name: "X-Trace", In: Header}, {Name: "session", In: Cookie, Fixed: always("abc==")},
			{Name: "api-version", In: Query, Fixed: always("2026-01-01")}, {Argument: "none", Name: "none", In: Query},
		},
		Body: &Body{MediaType: "application/json", Members: []Member{{Argument: "text", Name: "text"}, {Argument: "size", Name: "size"}, {Argument: "owner", Name: "owner", Null: true}, {Argument: "gone", Name: "gone"}}},
	}
	result, err := call(t, api.api(), r, Answer{}, map[string]any{"id": "a b", "tags": []any{"x", "y"}, "trace": "t", "none": nil, "text": "<ü>", "size": int64(9007199254740993), "owner": nil, "gone": nil})
	if err != nil || result.IsError || len(result.Content) != 1 || result.Content[0].Text != "{}" {
		t.Fatalf("%+v, %v", result, err)
	}
	got := api.last()
	for what, pair := range map[string][2]string{
		"line":    {got.Method + " " + got.RequestURI, "POST /v1/users/a%20b/notes?tag=x&tag=y&api-version=2026-01-01"},
		"body":    {got.body, `{"text":"<ü>","size":9007199254740993,"owner":null}`},
		"type":    {got.Header.Get("Content-Type"), "application/json"},
		"trace":   {got.Header.Get("X-Trace"), "t"},
		"cookie":  {got.Header.Get("Cookie"), "session=abc=="},
		"program": {got.UserAgent(), "erlmcp"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %s, want %s", what, pair[0], pair[1])
		}
	}
}

// TestAccept has the API's headers go before what the operation takes, and that before what every API is asked for.
func TestAccept(t *testing.T) {
	for _, c := range []struct{ operation, api, want string }{
		{"", "", "application/json, */*;q=0.5"},
		{"text/plain", "", "text/plain"},
		{"text/plain", "text/csv", "text/csv"},
	} {
		api := record(t, nil)
		a := api.api()
		if c.api != "" {
			a.Headers = map[string]func(context.Context) (string, error){"accept": func(context.Context) (string, error) { return c.api, nil }}
		}
		if _, err := call(t, a, &Request{Method: "GET", Server: api.URL, Accept: c.operation}, Answer{}, nil); err != nil {
			t.Fatal(err)
		}
		if got := api.last().Header["Accept"]; len(got) != 1 || got[0] != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// TestAllFaults has every argument that can't be sent named, at once, and nothing sent.
func TestAllFaults(t *testing.T) {
	api := record(t, nil)
	r := &Request{Method: "GET", Server: api.URL, Path: "/{a}/{b}/{c}", Parameters: []Parameter{
		{Argument: "first", Name: "a"}, {Argument: "second", Name: "b"}, {Argument: "third", Name: "c"},
		{Argument: "head", Name: "X-Head", In: Header}, {Argument: "list", Name: "list", In: Query, Encoding: Encoding{Style: PipeDelimited}},
	}}
	_, err := call(t, api.api(), r, Answer{}, map[string]any{"first": "../x", "second": "", "head": "a\r\nHost: b", "list": []any{"a|b", "c"}})
	misfit, ok := errors.AsType[*mcp.Misfit](err)
	if !ok {
		t.Fatal(err)
	}
	for _, want := range []string{"argument first: it has a slash", "argument second: it is empty", "argument third: it is missing", "argument head: it has a line break", `argument list: its part "a|b" has the character "|"`} {
		if !strings.Contains(misfit.Error(), want) {
			t.Errorf("no %q in %q", want, misfit)
		}
	}
	if api.count() > 0 {
		t.Error("a request was sent")
	}
}
