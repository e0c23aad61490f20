package function

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/ask"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/identity"
)

// These tests send what real clients send, and what can mean one thing only.

// An exchange is a request and what is wanted of its answer.
type exchange struct {
	name   string
	send   wire
	status int
	code   int    // of the JSON-RPC error; 0 for a result
	want   string // in the body
}

func (e exchange) run(t *testing.T, url string) {
	t.Helper()
	t.Run(e.name, func(t *testing.T) {
		t.Helper()
		resp, got := e.send.send(t, url)
		if resp.StatusCode != e.status || !strings.Contains(got, e.want) {
			t.Errorf("%d %s, want %d with %s", resp.StatusCode, got, e.status, e.want)
		}
		if resp.StatusCode == 202 {
			return
		}
		if a := parse(t, strings.TrimPrefix(strings.TrimSpace(got), "event: message\ndata: ")); a.code() != e.code {
			t.Errorf("code %d, want %d: %s", a.code(), e.code, got)
		}
	})
}

func TestPathsThatMeanTheSame(t *testing.T) {
	srv := newServer(t)
	at := func(path string, w wire) wire { w.path = path; return w }
	for _, w := range []wire{modern("tools/call", "add", `"name":"add","arguments":{"a":3}`), legacy("2025-06-18", "tools/call", `"name":"add","arguments":{"a":3}`)} {
		for _, path := range []string{"/mcp", "/mcp/", "/mcp//", "//mcp", "/mcp/?key=1", "/mcp?", "/%6dcp/"} {
			exchange{path, at(path, w), 200, 0, `{"a":3}`}.run(t, srv.URL)
		}
		for _, path := range []string{"/", "/MCP", "/mcp/x", "/mc", "/sse", "/messages/", "/register", "/.well-known/oauth-authorization-server/mcp", "/token?x=y"} {
			resp, got := at(path, w).with("Origin", "https://inspector.example").send(t, srv.URL)
			var a struct{ Error string }
			if err := json.Unmarshal([]byte(got), &a); err != nil || resp.StatusCode != 404 || !strings.Contains(a.Error, "the MCP endpoint is /mcp") ||
				resp.Header.Get("Content-Type") != "application/json" || resp.Header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("%s: %d %v %s", path, resp.StatusCode, resp.Header, got)
			}
			before := wire{method: "OPTIONS", path: path}.with("Origin", "https://inspector.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "mcp-protocol-version")
			if resp, _ := before.send(t, srv.URL); resp.StatusCode != 204 || resp.Header.Get("Access-Control-Allow-Origin") != "*" || resp.Header.Get("Access-Control-Allow-Headers") == "" {
				t.Errorf("preflight of %s: %d %v", path, resp.StatusCode, resp.Header)
			}
		}
	}
}

// TestWhoIsNotSignedIn wants each way in which clients begin to lead to where they sign in.
func TestWhoIsNotSignedIn(t *testing.T) {
	file, keys := keyFile(t, identity.Key{Tenant: "acme", Subject: "ci"})
	byKey := newServer(t, WithGetenv(env("AUTHENTICATION", "keys", "API_KEYS_FILE", file)))
	byToken := newServer(t, WithGetenv(env("AUTHENTICATION", "oauth", "OAUTH_ISSUERS", "https://login.example.com", "PUBLIC_URL", "https://mcp.example.com")))
	for _, method := range []string{"GET", "DELETE", "PUT", "PATCH", "HEAD"} {
		for name, c := range map[string]struct {
			url, auth string
			status    int
		}{
			"no key":      {byKey.URL, "-", 401},
			"a wrong key": {byKey.URL, "Bearer erlmcp_wrong", 401},
			"a key":       {byKey.URL, "Bearer " + keys[0], 405},
			"no token":    {byToken.URL, "-", 401},
		} {
			resp, got := wire{method: method, header: map[string]string{"Accept": "text/event-stream", "Authorization": c.auth}}.send(t, c.url)
			if resp.StatusCode != c.status || (c.status == 401) != strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Bearer ") {
				t.Errorf("%s with %s: %d %v %s", method, name, resp.StatusCode, resp.Header, got)
			}
			if c.url == byToken.URL && !strings.Contains(resp.Header.Get("WWW-Authenticate"), `resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp"`) {
				t.Errorf("%s: %v", method, resp.Header)
			}
			if c.status == 405 && (resp.Header.Get("Allow") == "" || method != "HEAD" && !strings.Contains(got, "send the header Authorization: Bearer with an API key, which the server's operator gives out")) {
				t.Errorf("%s: %v %s", method, resp.Header, got)
			}
		}
	}
	for _, path := range []string{"/register", "/authorize", "/token", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource/mcp/"} {
		resp, got := wire{method: "GET", path: path}.send(t, byKey.URL)
		var a struct {
			Error       string
			Description string `json:"error_description"`
		}
		if err := json.Unmarshal([]byte(got), &a); err != nil || resp.StatusCode != 404 || a.Error != a.Description || !strings.Contains(a.Error, "to sign in, send the header Authorization: Bearer with an API key") {
			t.Errorf("%s: %d %s", path, resp.StatusCode, got)
		}
	}
	resp, got := wire{method: "POST", path: "/register", body: "{}"}.send(t, byToken.URL)
	if resp.StatusCode != 404 || !strings.Contains(got, "an access token of https://login.example.com, as https://mcp.example.com/.well-known/oauth-protected-resource/mcp says") {
		t.Errorf("%d %s", resp.StatusCode, got)
	}
	if resp, got := (wire{method: "GET"}).send(t, newServer(t).URL); resp.StatusCode != 405 || !strings.Contains(got, "no credentials are needed") {
		t.Errorf("%d %s", resp.StatusCode, got)
	}
}

type leaves struct {
	City string `json:"city"`
	Days *int   `json:"days,omitempty"`
	Unit string `json:"unit,omitempty" enum:"metric,imperial"`
	Ship *struct {
		Zip  string   `json:"zip"`
		Note string   `json:"note,omitempty"`
		Tags []string `json:"tags,omitempty"`
	} `json:"ship,omitempty"`
	Lines []struct {
		Name  string `json:"name"`
		Count int    `json:"count,omitempty"`
	} `json:"lines,omitempty"`
}

// TestNullIsAbsence: programs write null for what is not set.
func TestNullIsAbsence(t *testing.T) {
	const either = `{"type":"object","properties":{"a":{"type":["integer","null"]},"b":{"type":"string"},"c":{"enum":["x",null]},"d":{}},"required":["b"]}`
	ran := func(_ context.Context, raw json.RawMessage) (string, error) { return "got " + string(raw), nil }
	srv := newServer(t, WithTools(append(askingTools(),
		NewTool("plan", "Plans.", func(_ context.Context, in leaves) (string, error) {
			b, err := json.Marshal(in)
			return string(b), err
		}),
		NewTool("raw", "Reads by itself.", ran, ToolOptions{InputSchema: either}),
		NewTool("few", "Has a rule.", func(_ context.Context, in leaves) (string, error) { return "allowed", nil }, ToolOptions{AllowWhen: []Condition{{When: "!has(args.days) || args.days < 3"}}}),
		NewTool("book", "Asks first.", func(context.Context, leaves) (string, error) { return "booked", nil }, ToolOptions{ConfirmWhen: []Condition{{When: "true", Message: "Really?"}}}),
	)...))
	const old = "2025-06-18"
	for _, c := range []struct{ name, method, header, params, want string }{
		{"optional arguments of a tool", "tools/call", "plan", `"name":"plan","arguments":{"city":"Oslo","days":null,"unit":null,"ship":null,"lines":null}`, `{\"city\":\"Oslo\"}`},
		{"optional members within", "tools/call", "plan", `"name":"plan","arguments":{"city":"Oslo","ship":{"zip":"1","note":null,"tags":null},"lines":[{"name":"a","count":null}]}`, `{\"zip\":\"1\"},\"lines\":[{\"name\":\"a\"}]`},
		{"an argument that is wanted", "tools/call", "plan", `"name":"plan","arguments":{"city":null}`, `"isError":true`},
		{"a member that is wanted within", "tools/call", "plan", `"name":"plan","arguments":{"city":"Oslo","ship":{"zip":null}}`, `"isError":true`},
		{"an argument that is not known", "tools/call", "plan", `"name":"plan","arguments":{"city":"Oslo","other":null}`, `"isError":true`},
		{"an element", "tools/call", "plan", `"name":"plan","arguments":{"city":"Oslo","lines":[null]}`, `"isError":true`},
		{"a value that the schema knows", "tools/call", "raw", `"name":"raw","arguments":{"a":null,"b":"null","c":null,"d":null}`, `got {\"a\":null,\"b\":\"null\",\"c\":null,\"d\":null}`},
		{"what a rule looks for", "tools/call", "few", `"name":"few","arguments":{"city":"Oslo","days":null}`, "allowed"},
	} {
		for _, w := range []wire{modern(c.method, c.header, c.params), legacy(old, c.method, c.params)} {
			if _, got := w.send(t, srv.URL); !strings.Contains(got, c.want) {
				t.Errorf("%s: %s: %s, want %s", c.name, w.body, got, c.want)
			}
		}
	}
	// A question's answer holds for the call with and without what is not set.
	for _, args := range []string{`{"city":"Oslo","days":null}`, `{"city":"Oslo"}`, `{"unit":null,"city":"Oslo"}`} {
		state := call(t, srv, "book", `{"city":"Oslo","days":null}`, `,"inputResponses":null`).round(t).RequestState
		r := call(t, srv, "book", args, `,"inputResponses":{"erlmcp.confirm.book-1":`+accepted+`},"requestState":"`+state+`"`).round(t)
		if len(r.Content) != 1 || r.Content[0].Text != "booked" {
			t.Errorf("%s: %+v", args, r)
		}
	}
}

// TestOriginsOfTheSetting lets in whom ALLOWED_ORIGINS names, and starts with origins alone.
func TestOriginsOfTheSetting(t *testing.T) {
	srv := newServer(t, WithGetenv(env("ALLOWED_ORIGINS", "https://a.example, https://b.example")))
	for origin, status := range map[string]int{"https://b.example": 200, "https://c.example": 403} {
		if resp, got := legacy("2025-06-18", "ping", "").with("Origin", origin).send(t, srv.URL); resp.StatusCode != status {
			t.Errorf("%s: %d %s", origin, resp.StatusCode, got)
		}
	}
	if _, err := assemble(t.Context(), WithLogger(logTo(t)), onNetwork, WithGetenv(env("ALLOWED_ORIGINS", "https://a.example/x"))); err == nil || !strings.Contains(err.Error(), "is not an origin") {
		t.Error(err)
	}
}

func TestWhatIsNotThere(t *testing.T) {
	srv := newServer(t, WithGetenv(env("POLICY_FILE", writeFile(t, "", `rules: [{name: hidden, when: 'tool.name == "note://secret"', then: deny}]`))),
		WithResources(NewResource("note://secret", "secret", func(context.Context, string, map[string]string) ([]ResourceContents, error) { return nil, nil }, ResourceOptions{})),
		WithPrompts(NewPrompt("plain", "Has no completion.", func(context.Context, map[string]string) ([]Message, error) { return nil, nil }, PromptOptions{Arguments: []Argument{{Name: "one"}}})))
	prompt := func(name, argument string) string {
		return `"ref":{"type":"ref/prompt","name":"` + name + `"},"argument":{"name":"` + argument + `","value":""}`
	}
	template := func(argument string) string {
		return `"ref":{"type":"ref/resource","uri":"note://by/{name}"},"argument":{"name":"` + argument + `","value":""}`
	}
	for _, c := range []struct {
		params string
		code   int
	}{
		{prompt("greet", "who"), 0},
		{prompt("plain", "one"), 0},
		{template("name"), 0},
		{prompt("greet", "Who"), -32602},
		{prompt("greet", ""), -32602},
		{prompt("greet", "name"), -32602},
		{prompt("plain", "two"), -32602},
		{template("who"), -32602},
		{template("{name}"), -32602},
		{prompt("nope", "who"), -32602},
	} {
		for _, w := range []wire{modern("completion/complete", "", c.params), legacy("2025-06-18", "completion/complete", c.params)} {
			if _, got := w.send(t, srv.URL); parse(t, got).code() != c.code {
				t.Errorf("%s: %s", c.params, got)
			}
		}
	}
	for _, method := range []string{"resources/subscribe", "resources/unsubscribe"} {
		for params, code := range map[string]int{
			`"uri":"note://größe"`: 0, `"uri":"note://by/ada"`: 0, `"uri":"note://secret"`: -32002, `"uri":"note://nothing"`: -32002, `"uri":"nothing"`: -32002, `"uri":""`: -32002, ``: -32602, `"uri":null`: -32602, `"uri":7`: -32602,
		} {
			if _, got := legacy("2025-06-18", method, params).send(t, srv.URL); parse(t, got).code() != code {
				t.Errorf("%s %s: %s", method, params, got)
			}
		}
	}
}

// TestURIsThatMeanTheSame reads resources by what clients write of their URIs.
func TestURIsThatMeanTheSame(t *testing.T) {
	read := func(_ context.Context, _ string, vars map[string]string) ([]ResourceContents, error) {
		b, err := json.Marshal(vars)
		return []ResourceContents{{URI: "x:y", Text: string(b)}}, err
	}
	names := []string{"New York", "a,b", "O'Brien (x)!*", "São Paulo", "50%", "a:b@c", "1+1=2", "a&b;c"}
	srv := newServer(t, WithResources(
		NewResource("docs://über/uns", "fixed", read, ResourceOptions{}),
		NewTemplate("city:{name}", "city", read, ResourceOptions{Complete: CompleteFrom(names...)}),
		NewTemplate("search:all{?q,lang,page}", "search", read, ResourceOptions{}),
	))
	for _, c := range []struct{ uri, want string }{
		{"docs://über/uns", "null"},
		{"docs://%C3%BCber/uns", "null"},
		{"docs://%c3%bcber/uns", "null"},
		{"DOCS://%C3%BCber/un%73", "null"},
		{"docs://%C3%BCber/./x/../uns", "null"},
		{"docs://uber/uns", ""},
		{"docs://%FCber/uns", ""},
		{"search:all", `{}`},
		{"search:all?q=a", `{"q":"a"}`},
		{"search:all?page=2&q=a%20b&lang=de", `{"lang":"de","page":"2","q":"a b"}`},
		{"search:all?lang=de&q=a,b", `{"lang":"de","q":"a,b"}`},
		{"search:all?q=wie geht's?", `{"q":"wie geht's?"}`},
		{"search:all?other=1", ""},
		{"search:all?q=1&q=2", ""},
	} {
		for _, version := range []string{"", "2025-06-18", "2024-11-05"} {
			_, got := reading(version, c.uri).send(t, srv.URL)
			var r struct{ Contents []struct{ Text string } }
			if a := parse(t, got); c.want == "" && a.code() == 0 || c.want != "" && (json.Unmarshal(a.Result, &r) != nil || len(r.Contents) != 1 || r.Contents[0].Text != c.want) {
				t.Errorf("%s (%s): %s, want %s", c.uri, version, got, c.want)
			}
		}
	}
	// What completion offers is found, by clients that encode all, what the RFC says, and nothing.
	_, got := modern("completion/complete", "", `"ref":{"type":"ref/resource","uri":"city:{name}"},"argument":{"name":"name","value":""}`).send(t, srv.URL)
	var offered struct{ Completion struct{ Values []string } }
	if err := json.Unmarshal(parse(t, got).Result, &offered); err != nil || len(offered.Completion.Values) != len(names) {
		t.Fatal(got)
	}
	component := strings.NewReplacer("+", "%20", "%27", "'", "%28", "(", "%29", ")", "%2A", "*", "%21", "!")
	for _, name := range offered.Completion.Values {
		want, _ := json.Marshal(map[string]string{"name": name})
		for _, written := range []string{strings.ReplaceAll(url.QueryEscape(name), "+", "%20"), component.Replace(url.QueryEscape(name)), strings.ReplaceAll(name, "%", "%25")} {
			for _, version := range []string{"", "2025-11-25"} {
				_, got := reading(version, "city:"+written).send(t, srv.URL)
				var r struct{ Contents []struct{ Text string } }
				if json.Unmarshal(parse(t, got).Result, &r) != nil || len(r.Contents) != 1 || r.Contents[0].Text != string(want) {
					t.Errorf("city:%s (%s): %s, want %s", written, version, got, want)
				}
			}
		}
	}
}

// TestConnectingIsNoCall lets no rate of calls, whosever it is, keep a client from connecting, pinging and listing.
func TestConnectingIsNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := network.Redis(t)
		file, keys := keyFile(t, identity.Key{Tenant: "acme", Subject: "ann"}, identity.Key{Tenant: "acme", Subject: "bob"})
		getenv := env("REDIS_URL", redis.URL, "AUTHENTICATION", "keys,anonymous", "API_KEYS_FILE", file,
			"RATE_LIMIT_PER_SECOND", "1", "TENANT_RATE_LIMIT_PER_SECOND", "1", "CLIENT_RATE_LIMIT_PER_SECOND", "1", "ANONYMOUS_RATE_LIMIT_PER_SECOND", "1")
		servers := []string{newServer(t, WithGetenv(getenv)).URL, newServer(t, WithGetenv(getenv)).URL}
		time.Sleep(4 * time.Second) // a new Redis gives out nothing at first
		for i, auth := range []string{"Bearer " + keys[0], "Bearer " + keys[1], "-"} {
			as := func(w wire) wire { return w.with("Authorization", auth) }
			url := servers[i%2]
			call := as(modern("tools/call", "add", `"name":"add","arguments":{"a":1}`))
			for range 3 {
				call.send(t, url)
			}
			note := as(legacy("2025-06-18", "", ""))
			note.body = `{"jsonrpc":"2.0","method":"notifications/initialized"}`
			for _, c := range []struct {
				name string
				send wire
				is   bool // a call
			}{
				{"initialize", as(legacy("", "initialize", `"protocolVersion":"2025-06-18"`)), false},
				{"initialized", note, false},
				{"ping", as(legacy("2025-06-18", "ping", "")), false},
				{"discover", as(modern("server/discover", "", "")), false},
				{"tools/list", as(modern("tools/list", "", "")), false},
				{"legacy tools/list", as(legacy("2025-06-18", "tools/list", "")), false},
				{"prompts/list", as(modern("prompts/list", "", "")), false},
				{"resources/list", as(legacy("2025-06-18", "resources/list", "")), false},
				{"resources/templates/list", as(modern("resources/templates/list", "", "")), false},
				{"logging/setLevel", as(legacy("2025-06-18", "logging/setLevel", `"level":"info"`)), false},
				{"an unknown tool", as(modern("tools/call", "nope", `"name":"nope"`)), false},
				{"tools/call", call, true},
				{"legacy tools/call", as(legacy("2025-06-18", "tools/call", `"name":"add","arguments":{"a":1}`)), true},
				{"resources/read", as(modern("resources/read", "note://by/ada", `"uri":"note://by/ada"`)), true},
				{"prompts/get", as(modern("prompts/get", "greet", `"name":"greet","arguments":{"who":"Ada"}`)), true},
				{"completion/complete", as(modern("completion/complete", "", `"ref":{"type":"ref/prompt","name":"greet"},"argument":{"name":"who","value":""}`)), true},
			} {
				resp, got := c.send.send(t, url)
				if resp.StatusCode != 202 && (parse(t, got).code() == 1056) != c.is || resp.StatusCode == 202 && c.is {
					t.Errorf("%s of client %d: %s", c.name, i, got)
				}
			}
		}
		// An agent that lists at each turn, and one that does nothing else: the first is not held up by the second.
		list, other := modern("tools/list", "", "").with("Authorization", "Bearer "+keys[0]), modern("tools/list", "", "").with("Authorization", "Bearer "+keys[1])
		refused := 0
		for range 100 {
			if _, got := other.send(t, servers[1]); parse(t, got).code() == 1056 {
				refused++
			}
		}
		if refused < 50 {
			t.Errorf("%d of 100 lists at once are refused", refused)
		}
		time.Sleep(3 * time.Second)
		for i := range 10 {
			if _, got := list.send(t, servers[0]); parse(t, got).code() != 0 {
				t.Errorf("list %d: %s", i, got)
			}
		}
		time.Sleep(3 * time.Second)
		if _, got := modern("tools/call", "add", `"name":"add","arguments":{"a":1}`).with("Authorization", "Bearer "+keys[0]).send(t, servers[0]); parse(t, got).code() != 0 {
			t.Errorf("a call after lists: %s", got)
		}
	})
}

// TestAskedAgain wants to read first why an answer can't be used.
func TestAskedAgain(t *testing.T) {
	const schema = `{"type":"object","properties":{"response":{"type":"string","minLength":2,"maxLength":9,"pattern":"^[a-z]*$"},"size":{"type":"string","enum":["S","M"]},"count":{"type":"integer","minimum":1,"maximum":3},"sure":{"type":"boolean"}},"required":["response"]}`
	srv := newServer(t, WithTools(append(askingTools(), NewTool("form", "Asks.", func(ctx context.Context, _ None) (string, error) {
		var got string
		err := ask.Client(ctx, ask.FormSchema("q", "What do you say?", schema, func(content json.RawMessage) error {
			if got = string(content); strings.Contains(got, "nonsense") {
				return errors.New("response: that is nonsense")
			}
			return nil
		}))
		return got, err
	}), NewTool("pay", "Pays.", func(context.Context, None) (string, error) { return "paid", nil }, ToolOptions{ConfirmWhen: []Condition{{When: "true", Message: "Really?"}}}))...))
	for _, c := range []struct{ tool, key, answer, want string }{
		{"form", "q", `{"action":"accept"}`, "response: missing. What do you say?"},
		{"form", "q", `{"action":"accept","content":null}`, "response: missing. What do you say?"},
		{"form", "q", `{"action":"accept","content":{}}`, "response: missing. What do you say?"},
		{"form", "q", `{"action":"accept","content":{"response":null}}`, "response: missing. What do you say?"},
		{"form", "q", `{"action":"accept","content":{"response":7}}`, "response: 7 is not a string. What do you say?"},
		{"form", "q", `{"action":"accept","content":{"response":"ok","size":"XL"}}`, `size: "XL" is not one of S, M. What do you say?`},
		{"form", "q", `{"action":"accept","content":{"size":"XL","count":9}}`, `response: missing; count: 9 is more than 3; size: "XL" is not one of S, M. What do you say?`},
		{"form", "q", `{"action":"accept","content":{"response":"ok","count":0}}`, "count: 0 is less than 1. What do you say?"},
		{"form", "q", `{"action":"accept","content":{"response":"ok","count":1.5}}`, "count: 1.5 is not a whole number. What do you say?"},
		{"form", "q", `{"action":"accept","content":{"response":"ok","sure":"yes"}}`, `sure: "yes" is not true or false. What do you say?`},
		{"form", "q", `{"action":"accept","content":{"response":"x"}}`, "response: \"x\" has fewer than 2 characters. What do you say?"},
		{"form", "q", `{"action":"accept","content":{"response":"OK"}}`, `response: "OK" does not match ^[a-z]*$. What do you say?`},
		{"form", "q", `{"action":"accept","content":{"Response":"ok","response":"ok"}}`, "Response: not known, it is spelled response. What do you say?"},
		{"form", "q", `{"action":"accept","content":{"response":"nonsense"}}`, "response: that is nonsense. What do you say?"},
		{"form", "q", `{"action":"perhaps"}`, `unknown action "perhaps". What do you say?`},
		{"form", "q", `{"action":"accept","content":{"response":"ok"}}`, ""},
		{"pay", "erlmcp.confirm.pay-1", `{"action":"accept","content":{}}`, "confirm: missing. Really?"},
		{"pay", "erlmcp.confirm.pay-1", `{"action":"accept","content":{"confirm":true}}`, ""},
		{"visit", "page", `{"action":"later"}`, `unknown action "later". Sign in`},
	} {
		message := func(r round) string {
			var p struct{ Message string }
			json.Unmarshal(r.InputRequests[c.key].Params, &p)
			return p.Message
		}
		caps := func(w wire) wire {
			w.body = strings.Replace(w.body, `"elicitation":{}`, `"elicitation":{"form":{},"url":{}}`, 1)
			return w
		}
		send := func(more string) round {
			_, got := caps(modern("tools/call", c.tool, `"name":"`+c.tool+`","arguments":{}`+more)).send(t, srv.URL)
			return parse(t, got).round(t)
		}
		r := send("")
		for again := range 2 { // the words do not pile up
			r = send(`,"inputResponses":{"` + c.key + `":` + c.answer + `},"requestState":"` + r.RequestState + `"`)
			if got := message(r); !strings.HasPrefix(got, c.want) || (got == "") != (c.want == "") {
				t.Errorf("%s, %s, time %d: %q, want %q", c.tool, c.answer, again+1, got, c.want)
			}
			if c.want == "" {
				break
			}
		}
	}
}

// TestComplaintsAboutArguments are -32602, and other faults of prompts and resources are not.
func TestComplaintsAboutArguments(t *testing.T) {
	fail := func(what string) error {
		switch what {
		case "away":
			return fmt.Errorf("the shop: %w", ErrUnavailable)
		case "late":
			return fmt.Errorf("the shop: %w", context.DeadlineExceeded)
		case "bad":
			return BadArgument("bad is no good")
		case "nothing":
			return ErrNotFound
		case "panic":
			panic("x")
		}
		return fmt.Errorf("there is no city %q", what)
	}
	get := func(_ context.Context, args map[string]string) ([]Message, error) { return nil, fail(args["city"]) }
	read := func(_ context.Context, _ string, vars map[string]string) ([]ResourceContents, error) {
		return nil, fail(vars["city"])
	}
	srv := newServer(t, WithPrompts(NewPrompt("plan", "Plans.", get, PromptOptions{Arguments: []Argument{{Name: "city"}}})),
		WithResources(NewResource("shop:fixed", "fixed", read, ResourceOptions{}), NewTemplate("shop:in/{city}{?street}", "in", read, ResourceOptions{})))
	for _, c := range []struct {
		city     string
		prompt   int
		resource int
	}{{"Atlantis", -32602, -32602}, {"New York", -32602, -32602}, {"bad", -32602, -32602}, {"away", -32603, -32603}, {"late", -32603, -32603}, {"panic", -32603, -32603}} {
		prompt, uri := `"name":"plan","arguments":{"city":"`+c.city+`"}`, "shop:in/"+strings.ReplaceAll(c.city, " ", "%20")
		for _, w := range []wire{modern("prompts/get", "plan", prompt), legacy("2025-06-18", "prompts/get", prompt)} {
			if resp, got := w.send(t, srv.URL); parse(t, got).code() != c.prompt || w.header["Mcp-Method"] != "" && c.prompt == -32602 && resp.StatusCode != 400 {
				t.Errorf("a prompt of %s: %d %s", c.city, resp.StatusCode, got)
			}
		}
		for _, w := range []wire{modern("resources/read", uri, `"uri":"`+uri+`"`), legacy("2025-06-18", "resources/read", `"uri":"`+uri+`"`)} {
			if _, got := w.send(t, srv.URL); parse(t, got).code() != c.resource {
				t.Errorf("a resource of %s: %s", c.city, got)
			}
		}
	}
	for _, w := range []wire{modern("prompts/get", "plan", `"name":"plan"`), modern("resources/read", "shop:fixed", `"uri":"shop:fixed"`)} {
		if _, got := w.send(t, srv.URL); parse(t, got).code() != -32603 {
			t.Errorf("a fault without arguments: %s", got)
		}
	}
	if _, got := modern("resources/read", "shop:in/nothing", `"uri":"shop:in/nothing"`).send(t, srv.URL); !strings.Contains(got, "resource not found") {
		t.Error(got)
	}
}

// TestNamesThatModelsTake: providers take ^[a-zA-Z0-9_-]{1,64}$, and tools of the governor have had dots in their names.
func TestNamesThatModelsTake(t *testing.T) {
	var log bytes.Buffer
	srv := newServer(t, WithMemory(NewInMemoryStore()), WithLogger(slog.New(slog.NewTextHandler(&log, nil))), WithTools(NewTool("dotted.name", "Has a dot.", func(context.Context, None) (string, error) { return "dotted", nil })),
		WithGetenv(env("TAIEA_TOOLS", "health.check,support_model,receipts.verify_chain", "POLICY_FILE", writeFile(t, "", `rules: [{name: hidden, when: 'tool.name == "taiea_support_model"', then: deny}]`))))
	for _, w := range []wire{modern("tools/list", "", ""), legacy("2025-06-18", "tools/list", "")} {
		_, got := w.send(t, srv.URL)
		for _, name := range []string{`"taiea_health_check"`, `"taiea_receipts_verify_chain"`, `"dotted.name"`} {
			if strings.Count(got, `"name":`+name) != 1 {
				t.Errorf("%s is not there once: %s", name, got)
			}
		}
		if strings.Contains(got, "taiea.") || strings.Contains(got, "support") {
			t.Error(got)
		}
	}
	for name, want := range map[string]string{
		"taiea_health_check": `"status":"`, "taiea.health.check": `"status":"`, "taiea_receipts_verify_chain": `"whole":`, "taiea.receipts.verify_chain": `"whole":`, "dotted.name": "dotted",
		"taiea.support.model": "unknown tool", "taiea_support_model": "unknown tool", "taiea.health_check": "unknown tool", "taiea_health.check": "unknown tool", "Taiea.health.check": "unknown tool", "dotted_name": "unknown tool",
	} {
		for _, w := range []wire{modern("tools/call", name, `"name":"`+name+`"`), legacy("2025-06-18", "tools/call", `"name":"`+name+`"`)} {
			if _, got := w.send(t, srv.URL); !strings.Contains(got, want) {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
	}
	srv.Close()
	if said := log.String(); !strings.Contains(said, "tool dotted.name: its name has other characters") || strings.Contains(said, "tool taiea") {
		t.Error(said)
	}
	for _, tools := range [][]Tool{wireTools(), askingTools()} {
		if findings, err := (Catalog{Tools: tools}).Lint(); err != nil || len(findings) > 0 {
			t.Errorf("%q %v", findings, err)
		}
	}
}

// TestOrdersAndRulesByFormerNames wants rules and overrides by the names that tools of the governor had in force, and told at the start.
func TestOrdersAndRulesByFormerNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules := `
rules:
- {name: closed, when: 'tool.name.startsWith("taiea.support")', then: deny}
- {name: open, when: 'tool.name in ["taiea.health.check", "taiea.receipts.verify_chain"]', then: allow}
- {name: rest, when: 'tool.name.startsWith("taiea_")', then: deny}
`
		memory := WithMemory(NewInMemoryStore())
		settings := WithGetenv(env("REDIS_URL", network.Redis(t).URL, "TAIEA_TOOLS", "", "POLICY_FILE", writeFile(t, "", rules)))
		op, err := openOperator(t.Context(), settings, memory, onNetwork)
		if err != nil {
			t.Fatal(err)
		}
		defer op.Close()
		one, slow, many := 1.0, 0.001, 50.0
		for _, v := range []directives.Override{
			{Scope: "tool:taiea.health.check", Limits: directives.Limits{PerSecond: &slow, Burst: &one}},
			{Scope: "tool:taiea.receipts.verify_chain", Limits: directives.Limits{PerSecond: &slow, Burst: &one}},
			{Scope: "tool:taiea_receipts_verify_chain", Limits: directives.Limits{PerSecond: &many, Burst: &many}},
		} {
			if _, err := op.Change(t.Context(), func(o *directives.Directives) error { return o.Override(v) }); err != nil {
				t.Fatal(err)
			}
		}
		var log safeBuffer
		s := newServer(t, settings, memory, WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		time.Sleep(3 * time.Second)
		said := log.String()
		for _, words := range []string{
			`rule="line 3 (closed)" had=taiea.support.model has=taiea_support_model`, `rule="line 4 (open)" had=taiea.health.check has=taiea_health_check`,
			"the override on tool:taiea.health.check holds for tool:taiea_health_check, which it is called now",
			"the override on tool:taiea.receipts.verify_chain does nothing beside the one on tool:taiea_receipts_verify_chain",
		} {
			if !strings.Contains(said, words) {
				t.Errorf("the log does not say %q: %s", words, said)
			}
		}
		if strings.Contains(said, "(rest)") {
			t.Error(said)
		}
		call := func(name string) string {
			_, got := modern("tools/call", name, `"name":"`+name+`"`).send(t, s.URL)
			return got
		}
		for _, c := range []struct{ name, want string }{
			{"taiea_support_model", "unknown tool"}, {"taiea.support.model", "unknown tool"},
			{"taiea_health_check", `"status":"`}, {"taiea_health_check", "the limit of 0.001 calls a second on tool:taiea_health_check is reached"}, {"taiea.health.check", "is reached"},
			{"taiea_receipts_verify_chain", `"whole":`}, {"taiea_receipts_verify_chain", `"whole":`},
		} {
			if got := call(c.name); !strings.Contains(got, c.want) {
				t.Errorf("%s: %s, want %s", c.name, got, c.want)
			}
		}
		limits, _, err := op.Limits(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range limits {
			if strings.HasPrefix(l.Scope, "tool:taiea.") || l.Scope == "tool:taiea_health_check" && l.PerSecond != slow {
				t.Errorf("%+v", l)
			}
		}
		for scope, want := range map[string]string{"tool:taiea.health.check": "tool:taiea_health_check", "tool:taiea_health_check": "tool:taiea_health_check", "tool:taiea.health": ""} {
			if now := op.Known(scope); now != want {
				t.Errorf("%s is called %q", scope, now)
			}
		}
	})
}
