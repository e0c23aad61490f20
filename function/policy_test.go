package function

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/admission"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/receipt"
)

func writeFile(t *testing.T, path, text string) string {
	t.Helper()
	if path == "" {
		path = filepath.Join(t.TempDir(), "policy.yaml")
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// when allows a tool where a condition holds.
func when(condition string) ToolOptions {
	return ToolOptions{AllowWhen: []Condition{{When: condition}}}
}

func policyTools(called *[]string) []Tool {
	type in struct {
		Rows int `json:"rows,omitempty"`
	}
	tool := func(name string, opts ...ToolOptions) Tool {
		return NewTool(name, "Does "+name+".", func(_ context.Context, in in) (string, error) {
			*called = append(*called, name)
			return "did " + name, nil
		}, opts...)
	}
	return []Tool{
		tool("look", ToolOptions{ReadOnly: true}), tool("wipe"), tool("export", when(`args.?rows.orValue(0) <= 100`)),
		tool("pay", ToolOptions{ConfirmWhen: []Condition{{When: `principal.tenant != "bank"`, Message: "This costs money."}}}), tool("audit", when(`principal.tenant == "bank"`)), tool("admin", ToolOptions{Scopes: []string{"admin"}}),
	}
}

const policyText = `
rules:
- name: readers
  when: principal.subject == "reader" && tool.kind == "tool" && !tool.readOnly
  then: deny
- name: step-up
  when: tool.name == "wipe"
  then: scopes
  scopes: [wipe]
- name: watch
  when: tool.name == "look"
  then: deny
  shadow: true
- name: no-prompts
  when: tool.kind == "prompt" || tool.name.startsWith("note://by/")
  then: deny
`

func TestPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file, keys := keyFile(t,
			identity.Key{Tenant: "acme", Subject: "reader", Scopes: []string{"read"}},
			identity.Key{Tenant: "acme", Subject: "writer", Scopes: []string{"read"}},
			identity.Key{Tenant: "bank", Subject: "boss", Scopes: []string{"*"}},
		)
		policy := writeFile(t, "", policyText)
		var log safeBuffer
		var called []string
		srv := newServer(t, WithLogger(slog.New(slog.NewJSONHandler(&log, nil))), WithTools(policyTools(&called)...),
			WithGetenv(env("AUTHENTICATION", "keys", "API_KEYS_FILE", file, "POLICY_FILE", policy)))
		reader, writer, boss := keys[0], keys[1], keys[2]
		as := func(key string, w wire) wire {
			return w.with("Authorization", "Bearer "+key)
		}
		tool := func(name, args string) wire {
			return modern("tools/call", name, `"name":"`+name+`","arguments":`+args)
		}

		for _, c := range []struct {
			who, key, want string
		}{
			{"reader", reader, "look"},
			{"writer", writer, "add admin export fail list look panic pay shard wipe"}, // what needs other scopes or arguments shows
			{"boss", boss, "add admin audit export fail list look panic pay shard wipe"},
		} {
			for era, w := range map[string]wire{"modern": modern("tools/list", "", ""), "legacy": legacy("2025-06-18", "tools/list", "")} {
				_, got := as(c.key, w).send(t, srv.URL)
				var l struct {
					Tools      []struct{ Name string }
					CacheScope string
				}
				if err := json.Unmarshal(parse(t, got).Result, &l); err != nil {
					t.Fatal(got)
				}
				var names []string
				for _, tool := range l.Tools {
					names = append(names, tool.Name)
				}
				if strings.Join(names, " ") != c.want || era == "modern" && l.CacheScope != "private" {
					t.Errorf("%s, %s: %q (%s)", c.who, era, names, l.CacheScope)
				}
			}
		}

		const unknown = `"message":"unknown tool: \"wipe\""`
		for _, c := range []struct {
			name   string
			w      wire
			status int
			want   string
		}{
			{"seen and called", as(reader, tool("look", `{}`)), 200, "did look"},
			{"hidden", as(reader, tool("wipe", `{}`)), 400, unknown},
			{"hidden, legacy", as(reader, legacy("2025-06-18", "tools/call", `"name":"wipe"`)), 200, unknown},
			{"hidden, and in need of scopes", as(reader, tool("admin", `{}`)), 400, `unknown tool: \"admin\"`},
			{"hidden by the tool", as(writer, tool("audit", `{}`)), 400, `unknown tool: \"audit\"`},
			{"scopes by a rule", as(writer, tool("wipe", `{}`)), 403, `wipe needs the scopes wipe`},
			{"scopes by a rule, legacy", as(writer, legacy("2025-06-18", "tools/call", `"name":"wipe"`)), 403, `wipe needs the scopes wipe`},
			{"scopes by the tool", as(writer, tool("admin", `{}`)), 403, `admin needs the scopes admin`},
			{"all scopes", as(boss, tool("wipe", `{}`)), 200, "did wipe"},
			{"few rows", as(writer, tool("export", `{"rows":100}`)), 200, "did export"},
			{"many rows", as(writer, tool("export", `{"rows":101}`)), 200, `{"code":2001,"reason":"not_entitled","scope":"tool:export","limit":"rule:export-1"`},
			{"rows of another type", as(writer, tool("export", `{"rows":"many"}`)), 200, "do not fit the input schema of export"},
			{"many rows, legacy", as(writer, legacy("2025-06-18", "tools/call", `"name":"export","arguments":{"rows":101}`)), 200, `"code":2001`},
			{"no confirmation needed", as(boss, tool("pay", `{}`)), 200, "did pay"},
			{"confirmation", as(writer, tool("pay", `{"rows":3}`)), 200, `"message":"This costs money. Call pay with {\"rows\":3}?"`},
			{"confirmation, legacy", as(writer, legacy("2025-06-18", "tools/call", `"name":"pay"`)), 200, "use a newer client"},
			{"prompt", as(writer, modern("prompts/get", "greet", `"name":"greet","arguments":{"who":"Ada"}`)), 400, `unknown prompt: \"greet\"`},
			{"template", as(writer, modern("resources/read", "note://by/ada", `"uri":"note://by/ada"`)), 400, `resource not found`},
			{"resource", as(writer, modern("resources/read", "=?base64?"+"bm90ZTovL2dyw7bDn2U="+"?=", `"uri":"note://größe"`)), 200, `hello`},
		} {
			resp, got := c.w.send(t, srv.URL)
			if resp.StatusCode != c.status || !strings.Contains(got, c.want) {
				t.Errorf("%s: %d %s, want %d with %s", c.name, resp.StatusCode, got, c.status, c.want)
			}
		}
		// Who has not said who it is learns nothing of a tool that may be hidden.
		if resp, _ := tool("admin", `{}`).send(t, srv.URL); resp.StatusCode != 401 || strings.Contains(resp.Header.Get("Www-Authenticate"), "admin") {
			t.Errorf("without credentials: %d %s", resp.StatusCode, resp.Header.Get("Www-Authenticate"))
		}
		if !strings.Contains(log.String(), `"scope":"rule:watch"`) {
			t.Errorf("shadow mode says nothing:\n%s", log.String())
		}

		// The person is asked, and an answer counts only to a question that was put.
		called = nil
		answer := func(inputs, state string) round {
			_, got := as(writer, modern("tools/call", "pay", `"name":"pay","arguments":{"rows":3},"inputResponses":{`+inputs+`}`+state)).send(t, srv.URL)
			return parse(t, got).round(t)
		}
		yes := `"erlmcp.confirm.pay-1":{"action":"accept","content":{"confirm":true}}`
		asked := answer(yes, "")
		if asked.ResultType != "input_required" || len(called) > 0 {
			t.Fatalf("an agent agreed for the person: %+v", asked)
		}
		state := `,"requestState":"` + asked.RequestState + `"`
		for _, no := range []string{`{"action":"decline"}`, `{"action":"cancel"}`, `{"action":"accept","content":{"confirm":false}}`} {
			if r := answer(`"erlmcp.confirm.pay-1":`+no, state); !r.IsError || !strings.Contains(r.Content[0].Text, "did not agree") {
				t.Errorf("%s: %+v", no, r)
			}
		}
		if r := answer(`"erlmcp.confirm.pay-1":{"action":"accept"}`, state); r.ResultType != "input_required" {
			t.Errorf("neither yes nor no: %+v", r)
		}
		if len(called) > 0 {
			t.Fatalf("called without consent: %q", called)
		}
		if r := answer(yes, state); r.ResultType != "complete" || r.Content[0].Text != "did pay" {
			t.Errorf("after a yes: %+v", r)
		}
		_, got := as(boss, modern("tools/call", "pay", `"name":"pay","arguments":{"rows":3},"inputResponses":{`+yes+`}`+state)).send(t, srv.URL)
		if parse(t, got).code() != -32602 {
			t.Errorf("another's consent: %s", got)
		}
	})
}

// A call has a file read again that was read so long ago: beside the call, or with the call waiting for it.
const (
	lookAge = 2 * time.Second
	waitAge = 5 * time.Second
)

// TestPolicyReload changes the file under a running server.
func TestPolicyReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := writeFile(t, "", "rules: []")
		srv := newServer(t, WithGetenv(env("POLICY_FILE", path)))
		call := modern("tools/call", "add", `"name":"add","arguments":{"a":1}`)
		sent := func() (code int) {
			_, got := call.send(t, srv.URL)
			return parse(t, got).code()
		}
		ready := func() string {
			resp, err := fetch(t, srv.URL+"/ready")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, _ := io.ReadAll(resp.Body)
			return string(b)
		}
		const denied, wrong = -32602, "undeclared reference to 'tol"
		if sent() != 0 {
			t.Fatal("refused without a rule")
		}
		writeFile(t, path, `rules: [{name: none, then: deny}]`)
		time.Sleep(lookAge)
		if sent() != 0 {
			t.Error("who makes the file read again waits for it")
		}
		synctest.Wait()
		if sent() != denied {
			t.Error("the change is not in force")
		}
		writeFile(t, path, `rules: [{name: none, when: tol.name == "add", then: allow}]`)
		time.Sleep(lookAge)
		sent()
		synctest.Wait()
		if got := ready(); !strings.Contains(got, wrong) {
			t.Errorf("/ready does not say what is wrong: %s", got)
		}
		if sent() != denied {
			t.Error("a wrong file opened what was closed")
		}
		os.Remove(path)
		writeFile(t, path, "rules: []")
		time.Sleep(waitAge) // without a call
		if sent() != 0 {
			t.Error("the mended file is not in force for the first call after a while")
		}
		if got := ready(); strings.Contains(got, wrong) {
			t.Errorf("/ready goes on complaining: %s", got)
		}
	})
}

// TestKeysReload revokes a key under a running server.
func TestKeysReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text, key := identity.NewKey(identity.Key{Tenant: "acme", Subject: "ci"})
		write := func(path string, keys ...identity.Key) string {
			b, _ := json.Marshal(identity.KeyFile{Keys: keys})
			return writeFile(t, path, string(b))
		}
		path := write("", key)
		srv := newServer(t, WithGetenv(env("AUTHENTICATION", "keys", "API_KEYS_FILE", path)))
		call := modern("tools/call", "add", `"name":"add","arguments":{"a":1}`).with("Authorization", "Bearer "+text)
		if resp, got := call.send(t, srv.URL); resp.StatusCode != 200 {
			t.Fatal(got)
		}
		key.Revoked = time.Now()
		write(path, key)
		time.Sleep(lookAge)
		call.send(t, srv.URL)
		synctest.Wait()
		if resp, got := call.send(t, srv.URL); resp.StatusCode != 401 {
			t.Errorf("a revoked key goes on: %d %s", resp.StatusCode, got)
		}
	})
}

// TestTwoPrincipals keep two budgets: the key of a limit comes from the request.
func TestTwoPrincipals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file, keys := keyFile(t, identity.Key{Tenant: "acme", Subject: "one", Scopes: []string{"*"}}, identity.Key{Tenant: "acme", Subject: "two", Scopes: []string{"*"}}, identity.Key{Tenant: "bank", Subject: "one", Scopes: []string{"*"}})
		srv := newServer(t, WithGetenv(env("AUTHENTICATION", "keys", "API_KEYS_FILE", file, "CLIENT_RATE_LIMIT_PER_SECOND", "1", "TENANT_CALLS_PER_DAY", "2")))
		code := func(key string) int {
			_, got := modern("tools/call", "add", `"name":"add","arguments":{"a":1}`).with("Authorization", "Bearer "+key).send(t, srv.URL)
			return parse(t, got).code()
		}
		for i, want := range []struct{ key, code int }{{0, 0}, {0, 1056}, {1, 0}, {2, 0}, {2, 1056}} {
			if got := code(keys[want.key]); got != want.code {
				t.Errorf("call %d, of caller %d: %d, want %d", i, want.key, got, want.code)
			}
		}
		time.Sleep(1100 * time.Millisecond)
		if got := code(keys[0]); got != 1059 {
			t.Errorf("the tenant's third call today: %d", got)
		}
		if got := code(keys[2]); got != 0 {
			t.Errorf("the other tenant's second: %d", got)
		}
	})
}

func TestAnonymousLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, WithGetenv(env("ANONYMOUS_RATE_LIMIT_PER_SECOND", "2")))
		refusals := 0
		for range 6 {
			_, got := modern("tools/call", "add", `"name":"add","arguments":{"a":1}`).send(t, srv.URL)
			if a := parse(t, got); a.code() == 1056 && refused(t, a).Scope == "tenant:anonymous" {
				refusals++
			}
		}
		if refusals != 4 { // a client that starts sends as many at once as it may in a second
			t.Errorf("%d of 6 refused", refusals)
		}
	})
}

func TestProtectedResource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, WithTools(policyTools(new([]string))...), WithGetenv(env("AUTHENTICATION", "oauth", "OAUTH_ISSUERS", "https://login.example", "PUBLIC_URL", "https://mcp.example/", "OAUTH_SCOPES", "read")))
		for path, want := range map[string]string{
			"":     `{"resource":"https://mcp.example","resource_name":"erlmcp","authorization_servers":["https://login.example"],"scopes_supported":["admin","read"],"bearer_methods_supported":["header"]}`,
			"/mcp": `{"resource":"https://mcp.example/mcp","resource_name":"erlmcp","authorization_servers":["https://login.example"],"scopes_supported":["admin","read"],"bearer_methods_supported":["header"]}`,
		} {
			resp, err := fetch(t, srv.URL+"/.well-known/oauth-protected-resource"+path)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if got := strings.TrimSpace(string(b)); got != want || resp.Header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("%s: %s\nwant %s", path, got, want)
			}
		}
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodOptions, srv.URL+"/.well-known/oauth-protected-resource/mcp", nil)
		if resp, err := do(t, req); err != nil || resp.StatusCode != 204 || resp.Header.Get("Access-Control-Allow-Headers") != "*" {
			t.Errorf("a browser's first question: %v %v", resp, err)
		}
		closed := newServer(t)
		if resp, err := fetch(t, closed.URL+"/.well-known/oauth-protected-resource/mcp"); err != nil || resp.StatusCode != 404 {
			t.Errorf("without oauth: %v %v", resp.StatusCode, err)
		}
	})
}

// TestLocalCallers: on loopback a caller needs no credentials, and what it sends is held to the chain.
func TestLocalCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file, keys := keyFile(t, identity.Key{Tenant: "acme", Subject: "ci"})
		who := NewTool("who", "Says who calls.", func(ctx context.Context, _ None) (string, error) { p := Caller(ctx); return p.String(), nil })
		for _, c := range []struct {
			chain, key string
			status     int
			want       string
		}{
			{"", "", 200, "local/local"},
			{"", "whatever", 200, "local/local"},
			{"keys", "", 200, "local/local"},
			{"keys", keys[0], 200, "acme/keys ci"},
			{"keys", "whatever", 401, "not valid here"},
		} {
			srv := newServer(t, WithLoopback(), WithTools(who), WithGetenv(env("AUTHENTICATION", c.chain, "API_KEYS_FILE", file)))
			w := modern("tools/call", "who", `"name":"who","arguments":{}`)
			if c.key != "" {
				w = w.with("Authorization", "Bearer "+c.key)
			}
			if resp, got := w.send(t, srv.URL); resp.StatusCode != c.status || !strings.Contains(got, c.want) {
				t.Errorf("%+v: %d %s", c, resp.StatusCode, got)
			}
		}
	})
}

// TestCallerFaults stop the start, all listed.
func TestCallerFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			env  []string
			want []string
		}{
			{[]string{"AUTHENTICATION", ""}, []string{"AUTHENTICATION: is not set"}},
			{[]string{"AUTHENTICATION", "keys,oauth,iap,google,kubernetes,cloudrun"}, []string{"API_KEYS_FILE: is not set", "OAUTH_ISSUERS: is not set", "PUBLIC_URL: is not set", "IAP_AUDIENCES: is not set", "GOOGLE_AUDIENCES: is not set", "KUBERNETES_ISSUER: is not set", "this is not Cloud Run"}},
			{[]string{"AUTHENTICATION", "anonymous,keys,keys,magic", "API_KEYS_FILE", "/nonexistent/keys.json"}, []string{"anonymous must come last", "keys is named twice", `"magic" is not one of`, "API_KEYS_FILE: open /nonexistent/keys.json"}},
			{[]string{"API_KEYS_FILE", writeFile(t, "", `{"keys":[{"id":"x"}]}`), "AUTHENTICATION", "keys"}, []string{`key 1 ("x"): the id must have`, "the tenant", "the subject", "the hash"}},
			{[]string{"AUTHENTICATION", "oauth", "OAUTH_ISSUERS", "https://login.example", "PUBLIC_URL", "https://mcp.example", "OAUTH_AUDIENCES", " , "}, []string{"OAUTH_AUDIENCES: is not set"}},
			{[]string{"PUBLIC_URL", "http://mcp.example", "OAUTH_ALGORITHMS", "HS256", "OAUTH_ISSUERS", "login.example", "EGRESS_ALLOW", "http://x"}, []string{"PUBLIC_URL:", "OAUTH_ALGORITHMS:", "OAUTH_ISSUERS:", "EGRESS_ALLOW:"}},
			{[]string{"POLICY_FILE", writeFile(t, "", "rules:\n- {name: a, when: 1 + , then: deny}\n- {then: perhaps}")}, []string{"POLICY_FILE:", "line 2 (a): when:", "line 3 (rule-2): then:"}},
		} {
			_, err := assemble(t.Context(), WithLogger(logTo(t)), onNetwork, WithGetenv(env(c.env...)))
			if err == nil {
				t.Errorf("%q starts", c.env)
				continue
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q: %v\nlacks %s", c.env, err, want)
				}
			}
		}
		bad := NewAction("bad", "Bad.", func(context.Context, None) error { return nil }, ToolOptions{AllowWhen: []Condition{{When: "principal.name == 3"}}})
		if _, err := assemble(t.Context(), WithLogger(logTo(t)), onNetwork, WithGetenv(env()), WithTools(bad)); err == nil || !strings.Contains(err.Error(), `tool "bad": its policy: rule 1 (bad-1): when:`) {
			t.Errorf("a wrong rule of a tool: %v", err)
		}
	})
}

// TestHiddenCallsAreRefusals wants of a call that a policy hides an answer like that of what there is not, and receipt, log and metric of
// a refusal with its rule.
func TestHiddenCallsAreRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file, keys := keyFile(t, identity.Key{Tenant: "acme", Subject: "reader", Scopes: []string{"read"}})
		policy := writeFile(t, "", policyText)
		var log safeBuffer
		var called []string
		store := &shaky{}
		say := func(context.Context, None) (string, error) { return "here", nil }
		srv := newServer(t, WithLogger(slog.New(slog.NewJSONHandler(&log, nil))), WithTools(append(policyTools(&called), NewTool("strict", "Strict.", say, ToolOptions{RequireReceipt: true}))...),
			WithGetenv(env("AUTHENTICATION", "keys", "API_KEYS_FILE", file, "POLICY_FILE", policy)),
			func(o *Options) {
				o.stand.Receipts = func(s receipt.Store) receipt.Store { store.Store = s; return store }
			})
		tool := func(name string) wire { return modern("tools/call", name, `"name":"`+name+`"`) }
		old := func(name string) wire { return legacy("2025-06-18", "tools/call", `"name":"`+name+`"`) }
		cases := []struct {
			name          string
			hidden, there func(string) wire // the same call of what is hidden, and of what there is not
			of            string
			rule          string
		}{
			{"a tool", tool, tool, "wipe", "readers"},
			{"a tool, legacy", old, old, "wipe", "readers"},
			{"a tool in need of scopes", tool, tool, "admin", "readers"},
			{"a strict tool", tool, tool, "strict", "readers"},
			{"a tool that hides itself", tool, tool, "audit", "readers"},
			{"a tool that costs money", old, old, "pay", "readers"},
			{"a prompt", func(name string) wire { return modern("prompts/get", name, `"name":"`+name+`"`) },
				func(name string) wire { return modern("prompts/get", name, `"name":"`+name+`"`) }, "greet", "no-prompts"},
		}
		ids := make([]string, len(cases))
		for i, c := range cases {
			time.Sleep(2 * time.Second) // refusals of one second are counted in the first
			send := func(w wire) (*http.Response, string) {
				resp, got := w.with("Authorization", "Bearer "+keys[0]).send(t, srv.URL)
				return resp, got
			}
			resp, got := send(c.hidden(c.of))
			ids[i] = resp.Header.Get("X-Request-Id")
			none, want := send(c.there("sesame"))
			if strings.ReplaceAll(got, c.of, "sesame") != want || resp.StatusCode != none.StatusCode || len(resp.Header) != len(none.Header) {
				t.Errorf("%s: the caller sees %d %s %v, and of what there is not %d %s %v", c.name, resp.StatusCode, got, resp.Header, none.StatusCode, want, none.Header)
			}
			var line struct {
				Decision, Reason, Scope, Limit string
				Tool                           string
			}
			for text := range strings.Lines(log.String()) {
				if strings.Contains(text, ids[i]) && strings.Contains(text, `"decision"`) {
					json.Unmarshal([]byte(text), &line)
				}
			}
			if line.Decision != "refused" || line.Reason != "not_entitled" || line.Limit != "rule:"+c.rule || !strings.HasSuffix(line.Scope, ":"+c.of) {
				t.Errorf("%s: the log says %+v", c.name, line)
			}
		}
		if n := data(srv.Server).Gate().Decided()[admission.Decided{Rule: "readers", Effect: "deny"}]; n != 6 {
			t.Errorf("%d calls are counted by the rule, want 6", n)
		}
		srv.Close()
		for i, c := range cases {
			all := find(t, store, ids[i])
			if len(all) != 1 || all[0].Kind != receipt.Refused || all[0].Decision != receipt.Refuse || all[0].Reason != "not_entitled" ||
				!strings.HasSuffix(all[0].Limit, ":"+c.of+" rule:"+c.rule) || all[0].Tool != c.of {
				t.Errorf("%s: its receipts: %+v", c.name, all)
			}
		}
		if len(called) > 0 {
			t.Errorf("called: %v", called)
		}
	})
}

// TestKilledCallsHaveTheReason wants the operator's reason in the receipts of the calls that a kill switch refuses.
func TestKilledCallsHaveTheReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := NewInMemoryStore()
		store := &shaky{}
		srv := start(t, WithMemory(memory), WithTools(packedTools()...), WithGetenv(env("GOVERNOR_SCOPE", "instance", "REFUSALS", "error")),
			func(o *Options) {
				o.stand.Receipts = func(s receipt.Store) receipt.Store { store.Store = s; return store }
			})
		reasons := []string{"it leaks", `it "quotes"`, "line\nbreak", "<b>&amp;", "ünïcode \u202e", strings.Repeat("long ", 90)}
		ids := make([]string, len(reasons))
		for i, reason := range reasons {
			if _, err := memory.memory.Store.Change(t.Context(), func(o *directives.Directives) error {
				return o.Kill(directives.Kill{Scope: "tool:plain", Reason: reason, At: time.Now()})
			}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Second)
			resp, got := modern("tools/call", "plain", `"name":"plain"`).send(t, srv.URL)
			if ids[i] = resp.Header.Get("X-Request-Id"); resp.StatusCode != 503 {
				t.Errorf("%q: %d %s", reason, resp.StatusCode, got)
			}
		}
		srv.Close()
		for i, reason := range reasons {
			all := find(t, store, ids[i])
			var detail struct{ Note string }
			if len(all) != 1 || all[0].Reason != "kill_switch" || json.Unmarshal([]byte(all[0].Detail), &detail) != nil || detail.Note != reason {
				t.Errorf("%q: its receipts: %+v", reason, all)
			}
		}
	})
}
