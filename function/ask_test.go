package function

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"example.com/erlmcp/function/ask"
)

type choice struct {
	Color string `json:"color" enum:"red,blue"`
	Count int    `json:"count,omitempty" minimum:"1"`
}

// askingTools asks in two rounds, and remove has a twin, so that state can be carried to the wrong tool.
func askingTools() []Tool {
	remove := func(ctx context.Context, in struct {
		Name string `json:"name"`
	}) (string, error) {
		var sure bool
		if err := ask.Client(ctx, ask.Confirm("sure", "Delete "+in.Name+"?", &sure)); err != nil {
			return "", err
		}
		var c choice
		if err := ask.Client(ctx, ask.Form("choice", "Which?", &c)); err != nil {
			return "", fmt.Errorf("wrapped: %w", err)
		}
		return fmt.Sprintf("sure=%t color=%s count=%d caller=%s", sure, c.Color, c.Count, Caller(ctx).Tenant), nil
	}
	swallow := func(ctx context.Context, _ None) (string, error) {
		var sure bool
		if err := ask.Client(ctx, ask.Confirm("sure", "Sure?", &sure)); err != nil {
			return "", errors.New("could not ask: " + err.Error()) // loses the error's identity, as authors will
		}
		return "asked", nil
	}
	return []Tool{
		NewTool("remove", "Removes.", remove), NewTool("erase", "Removes too.", remove), NewTool("swallow", "Asks.", swallow),
		NewTool("visit", "Sends to a page.", func(ctx context.Context, _ None) (string, error) {
			return "visited", ask.Client(ctx, ask.Visit("page", "Sign in", "https://example.com/sign-in"))
		}),
	}
}

type round struct {
	ResultType    string
	InputRequests map[string]struct {
		Method string
		Params json.RawMessage
	}
	RequestState string
	Content      []struct{ Text string }
	IsError      bool
}

func (a answered) round(t *testing.T) round {
	t.Helper()
	var r round
	if a.Error != nil {
		t.Fatalf("error %d %s", a.Error.Code, a.Error.Message)
	}
	if err := json.Unmarshal(a.Result, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func call(t *testing.T, srv testServer, tool, args, more string) answered {
	t.Helper()
	_, got := modern("tools/call", tool, `"name":"`+tool+`","arguments":`+args+more).send(t, srv.URL)
	return parse(t, got)
}

const accepted = `{"action":"accept","content":{"confirm":true}}`

func TestAskInRounds(t *testing.T) {
	// Two instances with one key ring: the second opens what the first has sealed.
	first, second := newServer(t, WithTools(askingTools()...)), newServer(t, WithTools(askingTools()...))
	r1 := call(t, first, "remove", `{"name":"x"}`, "").round(t)
	q := r1.InputRequests["sure"]
	if r1.ResultType != "input_required" || q.Method != "elicitation/create" || !strings.Contains(string(q.Params), "Delete x?") || r1.RequestState == "" {
		t.Fatalf("%+v", r1)
	}
	r2 := call(t, second, "remove", ` { "name" : "x" } `, `,"inputResponses":{"sure":`+accepted+`},"requestState":"`+r1.RequestState+`"`).round(t)
	if r2.ResultType != "input_required" || len(r2.InputRequests) != 1 || r2.InputRequests["choice"].Method == "" || r2.RequestState == r1.RequestState {
		t.Fatalf("%+v", r2)
	}
	r3 := call(t, first, "remove", `{"name":"x"}`, `,"inputResponses":{"choice":{"action":"accept","content":{"color":"blue","count":2,"extra":1}}},"requestState":"`+r2.RequestState+`"`).round(t)
	if r3.ResultType != "complete" || r3.Content[0].Text != "sure=true color=blue count=2 caller=anonymous" {
		t.Fatalf("%+v", r3)
	}
}

func TestAnswers(t *testing.T) {
	srv := newServer(t, WithTools(askingTools()...))
	args := `{"name":"x"}`
	for _, c := range []struct {
		name, first, then string // what is answered to the first question, and to the second
		again             string // the question that is put (again)
		want              string
		isError           bool
	}{
		{"none", ``, ``, "sure", "", false},
		{"wrong key", `"other":` + accepted, ``, "sure", "", false},
		{"not an object", `"sure":7`, ``, "sure", "", false},
		{"no action", `"sure":{}`, ``, "sure", "", false},
		{"content of a wrong type", `"sure":{"action":"accept","content":{"confirm":"yes"}}`, ``, "sure", "", false},
		{"content missing", `"sure":{"action":"accept"}`, ``, "sure", "", false},
		{"before it was asked", `"sure":` + accepted + `,"choice":{"action":"accept","content":{"color":"red"}}`, ``, "choice", "", false},
		{"one after the other", `"sure":` + accepted, `"choice":{"action":"accept","content":{"color":"red"}}`, "", "color=red count=0", false},
		{"not in the enumeration", `"sure":` + accepted, `"choice":{"action":"accept","content":{"color":"green"}}`, "choice", "", false},
		{"below the minimum", `"sure":` + accepted, `"choice":{"action":"accept","content":{"color":"red","count":0}}`, "choice", "", false},
		{"an optional field that is null", `"sure":` + accepted, `"choice":{"action":"accept","content":{"color":"red","count":null}}`, "", "color=red count=0", false},
		{"a field that is wanted, and null", `"sure":` + accepted, `"choice":{"action":"accept","content":{"color":null,"count":1}}`, "choice", "", false},
		{"declined", `"sure":{"action":"decline"}`, ``, "", "the user declined", true},
		{"dismissed", `"sure":{"action":"cancel"}`, ``, "", "the user dismissed the question", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := call(t, srv, "remove", args, "").round(t)
			for _, responses := range []string{c.first, c.then} {
				if responses != "" {
					r = call(t, srv, "remove", args, `,"inputResponses":{`+responses+`},"requestState":"`+r.RequestState+`"`).round(t)
				}
			}
			if c.again != "" {
				if _, ok := r.InputRequests[c.again]; !ok || r.ResultType != "input_required" {
					t.Errorf("%+v, want the question %q", r, c.again)
				}
				return
			}
			if r.ResultType != "complete" || r.IsError != c.isError || !strings.Contains(r.Content[0].Text, c.want) {
				t.Errorf("%+v, want %q", r, c.want)
			}
		})
	}
	if r := call(t, srv, "swallow", `{}`, "").round(t); r.ResultType != "input_required" {
		t.Errorf("a tool that rewords the error of Ask: %+v", r)
	}
	for _, bad := range []string{`,"inputResponses":[]`, `,"requestState":7`} {
		if a := call(t, srv, "remove", args, bad); a.code() != -32602 {
			t.Errorf("%s: code %d", bad, a.code())
		}
	}
}

func TestRequestStateIsRefused(t *testing.T) {
	srv := newServer(t, WithTools(askingTools()...))
	state := call(t, srv, "remove", `{"name":"x"}`, "").round(t).RequestState
	state = call(t, srv, "remove", `{"name":"x"}`, `,"inputResponses":{"sure":`+accepted+`},"requestState":"`+state+`"`).round(t).RequestState
	flipped := []byte(state)
	if flipped[len(flipped)/2] ^= 1; flipped[len(flipped)/2] == '-' {
		flipped[len(flipped)/2] = 'A'
	}
	foreign := call(t, newServer(t, WithTools(askingTools()...), WithGetenv(env("SEALING_KEYS", testKey(9)))), "remove", `{"name":"x"}`, "").round(t).RequestState
	with := func(state string) string { return `,"requestState":"` + state + `"` }
	for _, c := range []struct{ name, tool, args, more string }{
		{"one flipped byte", "remove", `{"name":"x"}`, with(string(flipped))},
		{"other tool", "erase", `{"name":"x"}`, with(state)},
		{"other arguments", "remove", `{"name":"y"}`, with(state)},
		{"foreign key", "remove", `{"name":"x"}`, with(foreign)},
		{"empty", "remove", `{"name":"x"}`, with("")},
		{"a cursor", "remove", `{"name":"x"}`, with("AQ")},
	} {
		a := call(t, srv, c.tool, c.args, c.more)
		if a.code() != -32602 || !strings.Contains(a.Error.Message, "requestState was refused") {
			t.Errorf("%s: %+v", c.name, a)
		}
	}
	// The key ring was rotated, and then the old key dropped.
	rotated := newServer(t, WithTools(askingTools()...), WithGetenv(env("SEALING_KEYS", testKey(2)+","+testKey(1))))
	if r := call(t, rotated, "remove", `{"name":"x"}`, with(state)).round(t); r.InputRequests["choice"].Method == "" {
		t.Errorf("with a rotated ring: %+v", r)
	}
	dropped := newServer(t, WithTools(askingTools()...), WithGetenv(env("SEALING_KEYS", testKey(2))))
	if a := call(t, dropped, "remove", `{"name":"x"}`, with(state)); a.code() != -32602 {
		t.Errorf("with the old key dropped: %+v", a)
	}
}

// TestSealingKeysAreRotated takes the steps that the documents give, an instance at a time, so that before and after each step calls meet
// instances of both: whichever has asked, whichever hears the answer. It takes the shorter way too, which fails them.
func TestSealingKeysAreRotated(t *testing.T) {
	servers := map[string]testServer{}
	for _, ring := range []string{"1", "1,2", "2,1", "2"} {
		var keys []string
		for key := range strings.SplitSeq(ring, ",") {
			keys = append(keys, testKey(key[0]-'0'))
		}
		servers[ring] = newServer(t, WithTools(askingTools()...), WithGetenv(env("SEALING_KEYS", strings.Join(keys, ","))))
	}
	failed := func(rings ...string) (n int) {
		for _, asks := range rings {
			for _, hears := range rings {
				state := call(t, servers[asks], "remove", `{"name":"x"}`, "").round(t).RequestState
				if a := call(t, servers[hears], "remove", `{"name":"x"}`, `,"inputResponses":{"sure":`+accepted+`},"requestState":"`+state+`"`); a.Error != nil {
					n++
				}
			}
		}
		return n
	}
	for _, step := range [][]string{{"1", "1,2"}, {"1,2", "2,1"}, {"2,1", "2"}} {
		if n := failed(step...); n > 0 {
			t.Errorf("while %s becomes %s %d calls of 4 fail", step[0], step[1], n)
		}
	}
	if failed("1", "2,1") == 0 {
		t.Error("instances that do not know a key open what it has sealed")
	}
}

func TestPages(t *testing.T) {
	first, second := newServer(t, WithPageSize(2)), newServer(t, WithPageSize(2))
	for _, kind := range []struct{ era, method, list string }{{"modern", "tools/list", "tools"}, {"legacy", "tools/list", "tools"}} {
		var names []string
		cursor, pages := "", 0
		for {
			var w wire
			params := ""
			if cursor != "" {
				params = `"cursor":"` + cursor + `"`
			}
			if w = legacy("2025-06-18", kind.method, params); kind.era == "modern" {
				w = modern(kind.method, "", params)
			}
			srv := first
			if pages%2 == 1 {
				srv = second // another instance reads the cursor
			}
			_, got := w.send(t, srv.URL)
			var page struct {
				Tools      []struct{ Name string }
				NextCursor *string
				TTLMs      *int
				CacheScope string
			}
			if err := json.Unmarshal(parse(t, got).Result, &page); err != nil {
				t.Fatal(err)
			}
			if kind.era == "modern" && (page.TTLMs == nil || page.CacheScope != "public") {
				t.Errorf("page %d has no cache hints: %s", pages, got)
			}
			for _, tool := range page.Tools {
				names = append(names, tool.Name)
			}
			pages++
			if page.NextCursor == nil {
				break
			}
			cursor = *page.NextCursor
		}
		if got := strings.Join(names, " "); got != "add fail list panic shard" || pages != 3 {
			t.Errorf("%s: %s on %d pages", kind.era, got, pages)
		}
	}
	// A cursor belongs to its list.
	_, got := modern("tools/list", "", "").send(t, first.URL)
	var page struct{ NextCursor string }
	json.Unmarshal(parse(t, got).Result, &page)
	if _, got := modern("prompts/list", "", `"cursor":"`+page.NextCursor+`"`).send(t, first.URL); parse(t, got).code() != -32602 {
		t.Errorf("a cursor of tools on prompts: %s", got)
	}
}
