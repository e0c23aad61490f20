package sample

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/erlmcp/function"
)

// serve makes a server of the whole catalog.
func serve(t *testing.T) http.Handler {
	t.Helper()
	s, err := function.New(t.Context(), function.Options{
		Catalog: Catalog(), Loopback: true, Getenv: func(string) string { return "" }, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// An object is decoded JSON.
type object = map[string]any

// send sends one request of revision 2026-07-28 for a client that can put forms to its user, and returns the answer and the
// events before it.
func send(t *testing.T, h http.Handler, method, name string, params object) (answer object, events []object) {
	t.Helper()
	params["_meta"] = object{
		"io.modelcontextprotocol/protocolVersion":    "2026-07-28",
		"io.modelcontextprotocol/clientCapabilities": object{"elicitation": object{}},
		"progressToken": "p",
	}
	body, err := json.Marshal(object{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("POST", "http://localhost/mcp", strings.NewReader(string(body)))
	for name, value := range map[string]string{"Content-Type": "application/json", "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method, "Mcp-Name": name} {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var texts []string
	for line := range strings.Lines(w.Body.String()) {
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			texts = append(texts, data)
		}
	}
	if len(texts) == 0 {
		texts = []string{w.Body.String()}
	}
	for _, text := range texts {
		var o object
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			t.Fatalf("%v in %q", err, text)
		}
		events = append(events, o)
	}
	return events[len(events)-1], events[:len(events)-1]
}

// at follows names and indexes into decoded JSON; what is not there is nil.
func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			o, _ := v.(object)
			v = o[p]
		case int:
			list, _ := v.([]any)
			if p >= len(list) {
				return nil
			}
			v = list[p]
		}
	}
	return v
}

func TestCatalog(t *testing.T) {
	h := serve(t)
	list, _ := send(t, h, "tools/list", "", object{})
	tools, _ := at(list, "result", "tools").([]any)
	tools = slices.DeleteFunc(tools, func(tool any) bool { return strings.HasPrefix(at(tool, "name").(string), "taiea_") }) // not of the sample
	if len(tools) != len(Tools()) {
		t.Errorf("%d tools are served, want %d", len(tools), len(Tools()))
	}
	for _, tool := range tools {
		if at(tool, "annotations", "readOnlyHint") != true || at(tool, "annotations", "openWorldHint") != false || at(tool, "title") == nil {
			t.Errorf("%v: hints %v", at(tool, "name"), at(tool, "annotations"))
		}
		properties, _ := at(tool, "inputSchema", "properties").(object)
		for name, p := range properties {
			if at(p, "description") == nil {
				t.Errorf("%v: the argument %s has no description", at(tool, "name"), name)
			}
		}
	}
}

func TestInvite(t *testing.T) {
	h := serve(t)
	params := func() object {
		return object{"name": "invite", "arguments": object{"title": "Planning", "cities": []string{"Berlin", "New York"}, "start": "2026-03-26T14:00:00Z", "minutes": 30}}
	}
	ask := func() object {
		asked, _ := send(t, h, "tools/call", "invite", params())
		return asked
	}
	asked := ask()
	const question = `Make the invitation "Planning"? Thu 26 Mar 2026 15:00 CET in Berlin, Thu 26 Mar 2026 10:00 EDT in New York; 0h30m.`
	if at(asked, "result", "resultType") != "input_required" || at(asked, "result", "inputRequests", "confirm", "params", "message") != question {
		t.Fatalf("%v", asked)
	}
	answer := func(response object) object {
		p := params()
		p["requestState"] = at(ask(), "result", "requestState") // an answer counts once
		p["inputResponses"] = object{"confirm": response}
		got, _ := send(t, h, "tools/call", "invite", p)
		return got
	}
	got := answer(object{"action": "accept", "content": object{"confirm": true}})
	if at(got, "result", "isError") != nil || at(got, "result", "content", 1, "resource", "mimeType") != "text/calendar" {
		t.Errorf("accepted: %v", got)
	}
	if text := fmt.Sprint(at(got, "result", "content", 1, "resource", "text")); !strings.Contains(text, "DTSTART:20260326T140000Z\r\nDTEND:20260326T143000Z\r\n") {
		t.Errorf("calendar %q", text)
	}
	for _, response := range []object{{"action": "accept", "content": object{"confirm": false}}, {"action": "decline"}} {
		got := answer(response)
		if text := fmt.Sprint(at(got, "result", "content", 0, "text")); at(got, "result", "isError") != true || !strings.Contains(text, "the user declined") {
			t.Errorf("%v: %v", response, got)
		}
	}
}

func TestDaylightYearProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the tool takes its time
		got, events := send(t, serve(t), "tools/call", "daylight_year", object{"name": "daylight_year", "arguments": object{"city": "Oslo", "year": 2026}})
		if at(got, "result", "structuredContent", "longestDay", "dayLength") != "18h50m" {
			t.Errorf("%v", got)
		}
		if len(events) != 12 || at(events[0], "method") != "notifications/progress" || at(events[11], "params", "progress") != 12.0 {
			t.Errorf("%d events: %v", len(events), events)
		}
	})
}

func TestResources(t *testing.T) {
	h := serve(t)
	read := func(uri string) object {
		got, _ := send(t, h, "resources/read", uri, object{"uri": uri})
		return got
	}
	all := read("cities://all")
	if at(all, "result", "contents", 0, "text") != citiesCSV || at(all, "result", "contents", 0, "mimeType") != "text/csv" ||
		at(all, "result", "ttlMs") != 3_600_000.0 || at(all, "result", "cacheScope") != "public" {
		t.Errorf("%.300v", all)
	}
	for uri, want := range map[string]string{"city://Oslo": "Oslo", "city://New%20York": "New York", "city://S%C3%A3o%20Paulo": "São Paulo", "city://sao-paulo": "São Paulo"} {
		var c city
		got := read(uri)
		if err := json.Unmarshal([]byte(fmt.Sprint(at(got, "result", "contents", 0, "text"))), &c); err != nil || c.Name != want || c.Zone == "" {
			t.Errorf("%s: %v, want %s", uri, got, want)
		}
	}
	if got := read("city://Atlantis"); !strings.Contains(fmt.Sprint(at(got, "error", "message")), "not found") {
		t.Errorf("Atlantis: %v", got)
	}
}

func TestCompletion(t *testing.T) {
	h := serve(t)
	template, prompt := object{"type": "ref/resource", "uri": "city://{name}"}, object{"type": "ref/prompt", "name": "plan_call"}
	for _, c := range []struct {
		ref             object
		argument, typed string
		want            []any
	}{
		{template, "name", "sao", []any{"São Paulo"}},
		{template, "name", "lo", []any{"London", "Longyearbyen", "Los Angeles"}},
		{template, "name", "xyz", []any{}},
		{prompt, "cities", "osl", []any{"Oslo"}},
		{prompt, "cities", "London,par", []any{"London, Paris"}},
		{prompt, "cities", "London, Longyearbyen, lo", []any{"London, Longyearbyen, Los Angeles"}},
		{prompt, "week", "1999", []any{}},
	} {
		got, _ := send(t, h, "completion/complete", "", object{"ref": c.ref, "argument": object{"name": c.argument, "value": c.typed}})
		if values := at(got, "result", "completion", "values"); fmt.Sprint(values) != fmt.Sprint(c.want) {
			t.Errorf("%s %q: %v, want %v", c.argument, c.typed, got, c.want)
		}
	}
	got, _ := send(t, h, "completion/complete", "", object{"ref": prompt, "argument": object{"name": "week", "value": ""}})
	weeks, _ := at(got, "result", "completion", "values").([]any)
	if len(weeks) != 12 {
		t.Fatalf("weeks: %v", got)
	}
	for _, w := range weeks {
		if _, err := parseWeek(fmt.Sprint(w)); err != nil {
			t.Error(err)
		}
	}
}

func TestPrompt(t *testing.T) {
	h := serve(t)
	get := func(args object) object {
		got, _ := send(t, h, "prompts/get", "plan_call", object{"name": "plan_call", "arguments": args})
		return got
	}
	got := get(object{"cities": "berlin, New York", "week": "2026-W13"})
	text := fmt.Sprint(at(got, "result", "messages", 0, "content", "text"))
	if !strings.Contains(text, "Berlin, New York, in the week from Monday 23 March 2026 to Friday 27 March 2026") {
		t.Errorf("%v", got)
	}
	for want, args := range map[string]object{
		"2 to 8 cities":       {"cities": "Berlin"},
		"Paris":               {"cities": "Berlin, Pariss"},
		"2026-W13":            {"cities": "Berlin, Paris", "week": "soon"},
		`argument \"cities\"`: {},
	} {
		got := get(args)
		message, _ := json.Marshal(at(got, "error", "message"))
		if at(got, "error", "code") != -32602.0 {
			t.Errorf("%v: %v", args, got)
		}
		if !strings.Contains(string(message), want) {
			t.Errorf("%v: %s, want %q", args, message, want)
		}
	}
}
