package rest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"example.com/erlmcp/function/internal/mcp"
)

// TestPages follows lists of many kinds of cursors, and has no part of one passed on as all.
func TestPages(t *testing.T) {
	next := Pages{Cursor: "next", Into: "after", Max: 5}
	for _, c := range []struct {
		name  string
		pages Pages
		serve map[string]string // an answer by the cursor that asks for it; status before it where it is not 200
		want  string
		sent  int
	}{
		{"one page", next, map[string]string{"": `{"items":[1],"next":null}`}, `text {"items":[1],"next":null}`, 1},
		{"three", next, map[string]string{"": `{"n":1.0, "items":[1, 2],"next":"b"}`, "b": `{"items":[3],"next":"c"}`, "c": `{"items":[4.00],"next":""}`}, `text {"n":1.0, "items":[1, 2,3,4.00],"next":""}`, 3},
		{"no cursor at the end", next, map[string]string{"": `{"items":[1],"next":"b"}`, "b": `{"items":[2]}`}, `text {"items":[1,2],"next":null}`, 2},
		{"empty pages", next, map[string]string{"": `{"items":[],"next":"b"}`, "b": `{"items":[],"next":"c"}`, "c": `{"items":[1],"next":false}`}, `text {"items":[1],"next":false}`, 3},
		{"nothing", next, map[string]string{"": `{"items":[]}`}, `text {"items":[]}`, 1},
		{"numbers", next, map[string]string{"": `{"items":[1],"next":9007199254740993}`, "9007199254740993": `{"items":[2],"next":null}`}, `text {"items":[1,2],"next":null}`, 2},
		{"in depth", Pages{Cursor: `meta.@odata\.next`, Into: "after", Items: "data.rows", Max: 5}, map[string]string{"": `{"data":{"rows":[1]},"meta":{"@odata.next":"b"},"warnings":[0]}`, "b": `{"data":{"rows":[2]},"meta":{}}`},
			`text {"data":{"rows":[1,2]},"meta":{"@odata.next":null},"warnings":[0]}`, 2},
		{"URLs", next, map[string]string{"": `{"items":[1],"next":"https://elsewhere.example/x?after=b%26&y=z"}`, "b&": `{"items":[2],"next":null}`}, `text {"items":[1,2],"next":null}`, 2},
		{"a bound", Pages{Cursor: "next", Into: "after", Max: 2}, map[string]string{"": `{"items":[1],"next":"b"}`, "b": `{"items":[2],"next":"c"}`}, `text {"items":[1,2],"next":"c"} | text (2 pages were read, and there are more; the next one is at after c)`, 2},
		{"the same again", next, map[string]string{"": `{"items":[1],"next":"b"}`, "b": `{"items":[2],"next":"b"}`}, `error text billing answers the same cursor again, on page 2: its list can't be read to the end`, 2},
		{"a circle", next, map[string]string{"": `{"items":[1],"next":"b"}`, "b": `{"items":[2],"next":"c"}`, "c": `{"items":[2],"next":"b"}`}, `error text billing answers the same cursor again, on page 3: its list can't be read to the end`, 3},
		{"a page that is refused", next, map[string]string{"": `{"items":[1],"next":"b"}`, "b": `404 {}`}, `error text page 2 of the list failed, and a part of it is not passed on as all: billing answers 404 Not Found: {}`, 2},
		{"a page that fails", next, map[string]string{"": `{"items":[1],"next":"b"}`, "b": `503 {}`}, `away page 2 of the list failed, and a part of it is not passed on as all: billing answers 503 Service Unavailable: {}`, 2},
		{"the first is refused", next, map[string]string{"": `404 {}`}, `error text billing answers 404 Not Found: {}`, 1},
		{"a page without the list", next, map[string]string{"": `{"items":[1],"next":"b"}`, "b": `{"next":"c"}`}, `error text page 2 of billing has no list at items, as the one before has`, 2},
		{"two lists", next, map[string]string{"": `{"items":[1],"more":[2],"next":"b"}`}, `error text billing: its answer has more than one list (items, more): the operator must name the one that goes on`, 1},
		{"a list alone", next, map[string]string{"": `[1]`}, `error text billing: its answer is a list, in which there is no cursor`, 1},
		{"no list where it is said", Pages{Cursor: "next", Into: "after", Items: "rows", Max: 5}, map[string]string{"": `{"items":[1]}`}, `error text billing: its answer has no list at rows`, 1},
		{"too long together", next, map[string]string{"": `{"items":["` + strings.Repeat("x", 600) + `"],"next":"b"}`, "b": `{"items":["` + strings.Repeat("x", 600) + `"]}`},
			`error text page 2 of billing is no JSON, or the pages have more than 1.0 KiB together; ask for less by the arguments, such as after, limit`, 2},
	} {
		api := record(t, func(w http.ResponseWriter, r *http.Request) {
			answer, ok := c.serve[r.URL.Query().Get("after")]
			if !ok || r.URL.Query().Get("limit") != "2" {
				t.Errorf("%s: asked for %s", c.name, r.URL.RawQuery)
			}
			status := 200
			if _, err := fmt.Sscanf(answer, "%3d ", &status); err == nil {
				answer = answer[4:]
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			io.WriteString(w, answer)
		})
		a := api.api()
		a.MaxRead = 1 << 10
		r := &Request{Method: "GET", Server: api.URL, Parameters: []Parameter{{Argument: "after", Name: "after", In: Query}, {Argument: "limit", Name: "limit", In: Query}}}
		args := map[string]any{"limit": int64(2)}
		result, err := call(t, a, r, Answer{Pages: &c.pages}, args)
		got := ""
		if err != nil {
			if got = err.Error(); errors.Is(err, mcp.ErrUnavailable) {
				got = "away " + got
			}
		} else {
			got = in(result)
		}
		if got != c.want || api.count() != c.sent || len(args) != 1 {
			t.Errorf("%s: %d requests, %s, want %s", c.name, api.count(), got, c.want)
		}
	}
	r := &Request{Method: "GET", Server: "https://api.example", Parameters: []Parameter{{Name: "after", In: Query, Fixed: always("x")}}}
	for want, p := range map[string]*Pages{
		"is no argument": {Cursor: "next", Into: "after", Max: 1},
		"empty name":     {Cursor: "a..b", Into: "after", Max: 1},
		"at most 1":      {Cursor: "next", Into: "after"},
	} {
		if _, err := (&API{}).Tool(r, Answer{Pages: p}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
