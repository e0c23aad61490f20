package dataplane

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/app"
	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/memnet"
	"example.com/erlmcp/function/internal/policy"
	"example.com/erlmcp/function/internal/seal"
)

// saying is a tool that is declared at a place and answers a text.
func saying(name, text, place string, change ...func(*catalog.Tool)) *catalog.Tool {
	t := catalog.FromFunc(name, "Says something.", func(context.Context, catalog.None) (string, error) { return text, nil })
	t.Terms.Place = place
	for _, c := range change {
		c(t)
	}
	return t
}

func terms(change func(*catalog.Terms)) func(*catalog.Tool) {
	return func(t *catalog.Tool) { change(&t.Terms) }
}

func calling(name string) string {
	return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + name + `","arguments":{}}}`
}

// TestBrokenDeclarations declares what has a fault each, over what is good: none changes anything, all say what is wrong with which entry, and
// operators see it wherever they look until something good is declared.
func TestBrokenDeclarations(t *testing.T) { synctest.Test(t, brokenDeclarations) }

func brokenDeclarations(t *testing.T) {
	var network memnet.Network
	redis := network.Redis(t)
	var log strings.Builder
	p, err := New(t.Context(), app.Options{
		Loopback: true, Logger: slog.New(slog.NewTextHandler(&log, nil)), WithoutTelemetry: true, Stand: app.StandIns{Dial: network.Dial},
		Getenv: func(name string) string {
			return map[string]string{"REDIS_URL": redis.URL, "SEALING_KEYS": base64.StdEncoding.EncodeToString(make([]byte, seal.KeySize))}[name]
		},
		Entries: []catalog.Entry{catalog.FromFunc("add", "Adds.", func(context.Context, struct{ A, B int }) (string, error) { return "sum", nil })},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	good := catalog.Declaration{Hash: "good", Entries: []catalog.Entry{saying("hello", "good", "c.yaml:1")}}
	if err := p.Declare(good); err != nil {
		t.Fatal(err)
	}
	version := p.Catalog().Version()
	get(p, "POST", "/mcp", calling("hello"))
	time.Sleep(5 * time.Second) // in a bubble: counters that nobody knows begin with nothing
	serves := func(when string) {
		t.Helper()
		if w := get(p, "POST", "/mcp", calling("hello")); !strings.Contains(w.Body.String(), `"text":"good"`) {
			t.Errorf("%s: %s", when, w.Body)
		}
		if got := p.Catalog().Version(); got != version {
			t.Errorf("%s: the catalog is %s, and was %s", when, got, version)
		}
	}
	rule := func(when string) func(*catalog.Tool) {
		return terms(func(t *catalog.Terms) { t.Rules = []policy.Rule{{Name: "r", When: when, Then: policy.Deny}} })
	}
	for _, c := range []struct {
		what    string
		entries []catalog.Entry
		says    []string // with the entry's place where the catalog knows it
	}{
		{"a name that is none", []catalog.Entry{saying("a b", "", "c.yaml:2")}, []string{`tool "a b" (c.yaml:2): a name has 1 to 128 letters`}},
		{"no description", []catalog.Entry{saying("x", "", "c.yaml:3", func(t *catalog.Tool) { t.Description = "" })}, []string{`tool "x" (c.yaml:3): a description is missing`}},
		{"a name of the program's", []catalog.Entry{saying("add", "", "c.yaml:4")}, []string{`tool "add" (c.yaml:4): there is another tool of this name, of the program`}},
		{"a name twice", []catalog.Entry{saying("x", "", "c.yaml:5"), saying("x", "", "d.yaml:9")}, []string{`tool "x" (d.yaml:9): there is another tool of this name, at c.yaml:5`}},
		{"a schema that is no object's", []catalog.Entry{saying("x", "", "c.yaml:6", func(t *catalog.Tool) { t.Input = []byte(`{"type":"array"}`) })}, []string{`tool "x" (c.yaml:6): input schema: the type must be "object"`}},
		{"a rule that is none", []catalog.Entry{saying("x", "", "c.yaml:7", rule("args.("))}, []string{`tool "x" (c.yaml:7): its policy: `}},
		{"a rule about no argument", []catalog.Entry{saying("x", "", "c.yaml:8", rule("args.amount > 1"))}, []string{`tool "x" (c.yaml:8): its policy: `, "args.amount"}},
		{"a breaker that never rests", []catalog.Entry{saying("x", "", "c.yaml:9", terms(func(t *catalog.Terms) { t.Breaker.Failures = 3 }))}, []string{`tool "x" (c.yaml:9): a breaker needs a number of failures and a time to rest`}},
		{"a template without a variable", []catalog.Entry{&catalog.Template{URI: "note://all", Name: "notes", Terms: catalog.Terms{Place: "c.yaml:10"}}}, []string{`resource template "note://all" (c.yaml:10): the template has no variable`}},
		{"calls a day without a store", []catalog.Entry{saying("x", "", "c.yaml:11", terms(func(t *catalog.Terms) { t.Limits.PerDay = 5 }))}, []string{"the limit on tool:x: calls a day need a store: set GOOGLE_CLOUD_PROJECT"}},
		{"required receipts without a store", []catalog.Entry{saying("x", "", "c.yaml:12", terms(func(t *catalog.Terms) { t.Strict = true }))}, []string{"RECEIPTS: the tool x is strict, and nothing is recorded"}},
		{"a call that no limit would ever admit", []catalog.Entry{saying("x", "", "c.yaml:13", terms(func(t *catalog.Terms) { t.Weight, t.Limits = 9, governor.Limit{PerSecond: 10} }))}, []string{"the limit on tool:x: a call of x costs 9"}},
		{"several faults", []catalog.Entry{saying("add", "", "c.yaml:14"), saying("", "", "c.yaml:15"), &catalog.Prompt{Name: "p", Terms: catalog.Terms{Place: "c.yaml:16", Timeout: -1}}},
			[]string{`(c.yaml:14): there is another tool`, `(c.yaml:15): a name has`, `prompt "p" (c.yaml:16): a description is missing`, `prompt "p" (c.yaml:16): the timeout`}},
	} {
		log.Reset()
		err := p.Declare(catalog.Declaration{Hash: c.what, Entries: append(c.entries, saying("new", "new", ""))})
		if err == nil {
			t.Errorf("%s is declared", c.what)
			continue
		}
		serves(c.what)
		ready, metrics := get(p, "GET", "/ready", ""), get(p, "GET", "/metrics", "").Body.String()
		for _, part := range c.says {
			escaped := strings.ReplaceAll(part, `"`, `\"`)
			if !strings.Contains(err.Error(), part) || !strings.Contains(ready.Body.String(), strings.ReplaceAll(escaped, ">", `\u003e`)) || !strings.Contains(log.String(), escaped) {
				t.Errorf("%s: %v\nready: %s\nlog: %s\nwant %q", c.what, err, ready.Body, &log, part)
			}
			if !strings.Contains(strings.Join(p.Self().Degraded, "\n"), part) {
				t.Errorf("%s: the fleet is told %q", c.what, p.Self().Degraded)
			}
		}
		if ready.Code != 200 || !strings.Contains(metrics, "erlmcp_catalog_rejected 1\n") {
			t.Errorf("%s: ready %d, and the metrics don't say it", c.what, ready.Code)
		}
		if w := get(p, "POST", "/mcp", calling("new")); !strings.Contains(w.Body.String(), "unknown tool") {
			t.Errorf("%s: a part of it is served: %s", c.what, w.Body)
		}
	}
	p.Reject(errors.New("c.yaml:7: it is no YAML"))
	p.Reject(errors.New("c.yaml:7: it is no YAML"))
	if d := p.Degraded(); len(d) != 1 || d[0] != "catalog: what was in force stays so: c.yaml:7: it is no YAML" || strings.Count(log.String(), "it is no YAML") != 1 {
		t.Errorf("%q, log %s", d, &log)
	}
	serves("no declaration at all")
	if err := p.Declare(good); err != nil || len(p.Degraded()) > 0 {
		t.Errorf("back to what is in force: %v, %q", err, p.Degraded())
	}
	serves("back to what is in force")
	metrics := get(p, "GET", "/metrics", "").Body.String()
	for _, line := range []string{"erlmcp_catalog_rejected 0\n", `erlmcp_catalog_declarations_total{outcome="taken"} 1`, `erlmcp_catalog_declarations_total{outcome="rejected"} 15`} {
		if !strings.Contains(metrics, line) {
			t.Errorf("the metrics lack %s", line)
		}
	}
}

// TestKindsComeAndGo declares kinds of entries that there were none of, and takes them back: what the server can do follows, in both eras, as
// do the scopes that its metadata names.
func TestKindsComeAndGo(t *testing.T) {
	p, err := New(t.Context(), app.Options{
		Loopback: true, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Getenv: func(name string) string { return map[string]string{"GOVERNOR_SCOPE": "instance"}[name] },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	prompt := &catalog.Prompt{Name: "greet", Description: "Greets.", Terms: catalog.Terms{Scopes: []string{"greeting"}},
		Get: func(context.Context, map[string]string) (*mcp.PromptResult, error) { return &mcp.PromptResult{}, nil }}
	const initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`
	const list = `{"jsonrpc":"2.0","id":1,"method":"prompts/list","params":{}}`
	for _, c := range []struct {
		what    string
		entries []catalog.Entry
		there   bool
	}{{"at first", nil, false}, {"declared", []catalog.Entry{prompt}, true}, {"taken back", nil, false}, {"declared again", []catalog.Entry{prompt}, true}} {
		if err := p.Declare(catalog.Declaration{Entries: c.entries, Hash: c.what}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(get(p, "POST", "/mcp", initialize).Body.String(), `"prompts":{}`); got != c.there {
			t.Errorf("%s: there are prompts: %t", c.what, got)
		}
		if got := strings.Contains(get(p, "POST", "/mcp", list).Body.String(), `"name":"greet"`); got != c.there {
			t.Errorf("%s: the prompt is listed: %t", c.what, got)
		}
		if got := strings.Join(p.current.Load().scopes, " ") == "greeting"; got != c.there {
			t.Errorf("%s: the scopes are %v", c.what, p.current.Load().scopes)
		}
	}
}

// TestLimitsGoOn declares limits anew: where a limit is the same, what was used of it stays used, and a changed one holds at once, with the calls
// that run under the one before.
func TestLimitsGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := made(t)
		if err != nil {
			t.Fatal(err)
		}
		entered, leave := make(chan struct{}), make(chan struct{})
		declare := func(hash string, perSecond float64, atATime int64) {
			t.Helper()
			hold := catalog.FromFunc("hold", "Holds "+hash, func(context.Context, catalog.None) (string, error) {
				entered <- struct{}{}
				<-leave
				return hash, nil
			})
			hold.Terms.Limits.Concurrency = atATime
			rare := saying("rare", hash, "", terms(func(t *catalog.Terms) { t.Limits = governor.Limit{PerSecond: perSecond, Burst: 2} }))
			if err := p.Declare(catalog.Declaration{Entries: []catalog.Entry{hold, rare}, Hash: hash}); err != nil {
				t.Fatal(err)
			}
		}
		says := func(tool, want string) {
			t.Helper()
			if w := get(p, "POST", "/mcp", calling(tool)); !strings.Contains(w.Body.String(), want) {
				t.Errorf("%s: %s, want %s", tool, w.Body, want)
			}
		}
		ended := make(chan string)
		run := func() {
			go func() { ended <- get(p, "POST", "/mcp", calling("hold")).Body.String() }()
			<-entered
		}
		declare("one", 0.5, 1)
		says("rare", `"one"`)
		says("rare", `"one"`)
		says("rare", `0.5 calls a second`)
		run()
		says("hold", "the limit of 1 calls at a time")
		for _, again := range []string{"two", "three", "four"} {
			declare(again, 0.5, 1)
			says("rare", "0.5 calls a second")
			says("hold", "the limit of 1 calls at a time")
		}
		time.Sleep(2100 * time.Millisecond)
		says("rare", `"four"`) // at the rate, and no sooner
		says("rare", "0.5 calls a second")
		declare("faster", 5, 2)
		says("rare", "5 calls a second") // the rate is used up, whatever it is
		time.Sleep(250 * time.Millisecond)
		says("rare", `"faster"`)
		run() // the second of two
		says("hold", "the limit of 2 calls at a time")
		declare("slower", 0.1, 1)
		says("hold", "the limit of 1 calls at a time")
		for range 2 { // another limit has at most its own burst
			get(p, "POST", "/mcp", calling("rare"))
		}
		says("rare", "0.1 calls a second")
		close(leave)
		got := []string{<-ended, <-ended}
		if all := strings.Join(got, " "); !strings.Contains(all, `"text":"one"`) || !strings.Contains(all, `"text":"faster"`) {
			t.Errorf("the calls that ran end as %s", all)
		}
		entered = make(chan struct{}, 1)
		says("hold", "slower")
	})
}

// TestSearchFollows declares tools that are found instead of listed: what is found and called by its name is always of the declaration in force, in both
// eras.
func TestSearchFollows(t *testing.T) {
	p, err := made(t)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(modern bool, tool, arguments string) string {
		params := `"name":"` + tool + `","arguments":` + arguments
		r := httptest.NewRequest("POST", "http://localhost/mcp", nil)
		body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{` + params + `}}`
		if modern {
			body = strings.Replace(body, `}}}`, `},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`, 1)
			r.Header.Set("Mcp-Protocol-Version", "2026-07-28")
			r.Header.Set("Mcp-Method", "tools/call")
			r.Header.Set("Mcp-Name", tool)
		}
		r.Body, r.ContentLength, r.Host, r.RemoteAddr = io.NopCloser(strings.NewReader(body)), int64(len(body)), "localhost:8080", "127.0.0.1:1"
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		return w.Body.String()
	}
	names := []string{"invoices", "parcels", "invoices"}
	for n, name := range names {
		d := catalog.Declaration{Hash: fmt.Sprint(n), Entries: []catalog.Entry{&catalog.Search{}, saying(name, fmt.Sprint(name, n), "c.yaml:1")}}
		if err := p.Declare(d); err != nil {
			t.Fatal(err)
		}
		for _, modern := range []bool{false, true} {
			found := ask(modern, catalog.FindTools, `{"query":"invoices parcels"}`)
			for _, other := range names {
				if strings.Contains(found, `"name":"`+other+`"`) != (other == name) {
					t.Errorf("with %s, modern %t, there is found: %s", name, modern, found)
				}
			}
			if got := ask(modern, catalog.CallTool, `{"name":"`+name+`"}`); !strings.Contains(got, fmt.Sprintf(`"text":"%s%d"`, name, n)) {
				t.Errorf("%s, modern %t: %s", name, modern, got)
			}
			if gone := names[(n+1)%2]; gone != name {
				if got := ask(modern, catalog.CallTool, `{"name":"`+gone+`"}`); !strings.Contains(got, "there is no tool") {
					t.Errorf("%s, which is gone, modern %t: %s", gone, modern, got)
				}
			}
		}
	}
}
