package function

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.com/erlmcp/function/internal/identity"
)

const entryRules = `
rules:
- {name: step-up, when: 'tool.name in ["secret", "secret://{name}", "secret://fixed"]', then: scopes, scopes: [secret]}
- {name: hidden, when: 'tool.name in ["hidden", "hidden://{name}", "hidden://fixed"]', then: deny}
- {name: asked, when: 'tool.name in ["asked", "asked://{name}", "asked://fixed"]', then: confirm}
- {name: eve, when: 'has(args.who) && args.who == "eve" || has(args.vars) && "name" in args.vars && args.vars.name == "eve"', then: deny}
- {name: needs, when: 'tool.name == "needs" && args.must == "x"', then: deny}
`

// entries are prompts, resources and templates under each of those names, and tools that read what they are told to.
func entries(done *[]string) []Option {
	complete := func(_ context.Context, argument, value string, known map[string]string) ([]string, error) {
		*done = append(*done, "completed "+argument)
		return []string{"secret value"}, nil
	}
	doc := func(_ context.Context, uri string, _ map[string]string) ([]ResourceContents, error) {
		*done = append(*done, "read "+uri)
		return []ResourceContents{{URI: uri, Text: "secret value"}}, nil
	}
	var prompts []Prompt
	var resources []Resource
	for _, name := range []string{"open", "secret", "hidden", "asked", "needs"} {
		prompts = append(prompts, NewPrompt(name, "Says something.", func(context.Context, map[string]string) ([]Message, error) {
			return []Message{UserSays(Text("secret value"))}, nil
		}, PromptOptions{Arguments: []Argument{{Name: "who"}, {Name: "style"}}, Complete: complete}))
		resources = append(resources,
			NewResource(name+"://fixed", name, doc, ResourceOptions{}),
			NewTemplate(name+"://{name}", name, doc, ResourceOptions{Complete: complete}))
	}
	type where struct {
		URI string `json:"uri"`
	}
	reader := func(name string, read func(context.Context, string) ([]ResourceContents, error)) Tool {
		return NewTool(name, "Reads.", func(ctx context.Context, in where) (string, error) {
			c, err := read(ctx, in.URI)
			if err != nil {
				return "", err
			}
			return c[0].Text, nil
		})
	}
	return []Option{WithPrompts(prompts...), WithResources(resources...), WithTools(reader("caller", Read), reader("server", ReadAsServer))}
}

func TestEachMethodIsDecidedAsItsEntry(t *testing.T) {
	var done []string
	file, keys := keyFile(t, identity.Key{Tenant: "acme", Subject: "ann"}, identity.Key{Tenant: "acme", Subject: "bob", Scopes: []string{"secret"}})
	srv := newServer(t, append(entries(&done), WithGetenv(env("AUTHENTICATION", "keys", "API_KEYS_FILE", file, "POLICY_FILE", writeFile(t, "", entryRules))))...)
	ann, bob := keys[0], keys[1]
	complete := func(kind, name, argument, value, known string) string {
		key := map[string]string{"prompt": "name", "resource": "uri"}[kind]
		return fmt.Sprintf(`"ref":{"type":"ref/%s","%s":"%s"},"argument":{"name":"%s","value":"%s"},"context":{"arguments":{%s}}`, kind, key, name, argument, value, known)
	}
	for _, c := range []struct {
		method, params, who string
		want                string // "" where it is done
	}{
		{"completion/complete", complete("prompt", "open", "who", "x", ""), ann, ""},
		{"completion/complete", complete("prompt", "secret", "who", "x", ""), ann, "secret needs the scopes secret"},
		{"completion/complete", complete("prompt", "secret", "who", "x", ""), bob, ""},
		{"completion/complete", complete("prompt", "hidden", "who", "x", ""), bob, "unknown prompt"},
		{"completion/complete", complete("prompt", "asked", "who", "x", ""), bob, "can't ask"},
		{"completion/complete", complete("prompt", "open", "who", "eve", ""), bob, "refused by policy"},
		{"completion/complete", complete("prompt", "open", "style", "x", `"who":"eve"`), bob, "refused by policy"},
		{"completion/complete", complete("prompt", "needs", "style", "x", ""), bob, ""}, // the rule is about what is not known yet
		{"completion/complete", complete("prompt", "needs", "style", "x", `"must":"x"`), bob, "refused by policy"},
		{"completion/complete", complete("prompt", "secret://{name}", "who", "x", ""), ann, "needs the scopes"},
		{"completion/complete", complete("resource", "open://{name}", "name", "x", ""), ann, ""},
		{"completion/complete", complete("resource", "secret://{name}", "name", "x", ""), ann, "needs the scopes secret"},
		{"completion/complete", complete("resource", "secret://{name}", "name", "x", ""), bob, ""},
		{"completion/complete", complete("resource", "hidden://{name}", "name", "x", ""), bob, "unknown resource template"},
		{"completion/complete", complete("resource", "asked://{name}", "name", "x", ""), bob, "can't ask"},
		{"completion/complete", complete("resource", "open://{name}", "name", "eve", ""), bob, "refused by policy"},
		{"completion/complete", complete("resource", "nowhere://{name}", "name", "x", ""), bob, "unknown resource template"},
		{"prompts/get", `"name":"secret"`, ann, "needs the scopes secret"},
		{"prompts/get", `"name":"secret"`, bob, ""},
		{"resources/read", `"uri":"secret://fixed"`, ann, "needs the scopes secret"},
		{"resources/read", `"uri":"secret://x"`, ann, "needs the scopes secret"},
		{"resources/subscribe", `"uri":"open://fixed"`, ann, ""},
		{"resources/subscribe", `"uri":"secret://fixed"`, ann, "needs the scopes secret"},
		{"resources/subscribe", `"uri":"secret://fixed"`, bob, ""},
		{"resources/subscribe", `"uri":"SECRET://%66ixed"`, ann, "needs the scopes secret"},
		{"resources/subscribe", `"uri":"secret://x"`, ann, "needs the scopes secret"},
		{"resources/subscribe", `"uri":"hidden://fixed"`, bob, "not found"},
		{"resources/subscribe", `"uri":"hidden://x"`, bob, "not found"},
		{"resources/subscribe", `"uri":"asked://fixed"`, bob, "can't ask"},
		{"resources/subscribe", `"uri":"open://%65ve"`, bob, "refused by policy"},
		{"resources/subscribe", `"uri":"open://.."`, bob, "may not have the segment"},
		{"resources/unsubscribe", `"uri":"secret://fixed"`, ann, "needs the scopes secret"},
		{"resources/unsubscribe", `"uri":"hidden://fixed"`, bob, "not found"},
		{"resources/unsubscribe", `"uri":"open://fixed"`, bob, ""},
		{"resources/subscribe", `"uri":7`, bob, "must be a string"},
		{"resources/subscribe", ``, bob, "params.uri is missing"},
	} {
		waves := []wire{legacy("2025-06-18", c.method, c.params)}
		switch c.method {
		case "completion/complete":
			// A header that no rule holds against the body decides nothing.
			waves = append(waves, modern(c.method, "", c.params), modern(c.method, "open", c.params), modern(c.method, "secret", c.params))
		case "prompts/get", "resources/read":
			waves = append(waves, modern(c.method, strings.Trim(c.params[strings.Index(c.params, ":")+1:], `"`), c.params))
		}
		for i, w := range waves {
			done = nil
			_, got := w.with("Authorization", "Bearer "+c.who).send(t, srv.URL)
			if a := parse(t, got); (a.code() == 0) != (c.want == "") || c.want != "" && (len(done) > 0 || !strings.Contains(got, c.want)) {
				t.Errorf("%s %s (%d): %s %q, want %q", c.method, c.params, i, got, done, c.want)
			}
		}
	}
}

func TestReadDecidesForTheCaller(t *testing.T) {
	var done []string
	file, keys := keyFile(t, identity.Key{Tenant: "acme", Subject: "ann", Scopes: []string{"x"}}, identity.Key{Tenant: "acme", Subject: "bob", Scopes: []string{"secret"}})
	srv := newServer(t, append(entries(&done), WithGetenv(env("AUTHENTICATION", "keys", "API_KEYS_FILE", file, "POLICY_FILE", writeFile(t, "", entryRules))))...)
	ann, bob := keys[0], keys[1]
	for _, c := range []struct {
		tool, uri, who string
		want           string // "" where it is read
	}{
		{"caller", "open://fixed", ann, ""}, {"caller", "open://x", ann, ""}, {"caller", "OPEN://X/y/%2e%2e", ann, "unknown"},
		{"caller", "secret://fixed", ann, "needs the scopes secret"}, {"caller", "secret://x", ann, "needs the scopes secret"}, {"caller", "SECRET://%66ixed", ann, "needs the scopes secret"},
		{"caller", "secret://fixed", bob, ""}, {"caller", "secret://x", bob, ""},
		{"caller", "hidden://fixed", bob, "unknown"}, {"caller", "hidden://x", bob, "unknown"}, {"caller", "nowhere://x", bob, "unknown"},
		{"caller", "asked://fixed", bob, "needs the consent"}, {"caller", "open://eve", bob, "refused by policy"}, {"caller", "open://%65ve", bob, "refused by policy"},
		{"caller", "open://..", bob, "may not have the segment"}, {"caller", "open://%", bob, "percent sign"},
		{"server", "secret://fixed", ann, ""}, {"server", "hidden://x", ann, ""}, {"server", "open://eve", ann, ""}, {"server", "asked://fixed", ann, ""},
		{"server", "open://..", ann, "may not have the segment"}, {"server", "nowhere://x", ann, "unknown"},
	} {
		done = nil
		_, got := modern("tools/call", c.tool, `"name":"`+c.tool+`","arguments":{"uri":"`+c.uri+`"}`).with("Authorization", "Bearer "+c.who).send(t, srv.URL)
		r := parse(t, got).round(t)
		if r.IsError != (c.want != "") || !strings.Contains(got, c.want) || (len(done) > 0) != (c.want == "") {
			t.Errorf("%s of %s: %s, want %q", c.tool, c.uri, got, c.want)
		}
	}
	// Prompts and resources read by the same rules.
	var nested Prompt
	for name, read := range map[string]func(context.Context, string) ([]ResourceContents, error){"unknown": Read, "secret value": ReadAsServer} {
		nested = NewPrompt("nested", "Reads.", func(ctx context.Context, _ map[string]string) ([]Message, error) {
			c, err := read(ctx, "hidden://fixed")
			if err != nil {
				return nil, BadArgument("%v", err)
			}
			return []Message{UserSays(Text(c[0].Text))}, nil
		}, PromptOptions{})
		srv := newServer(t, append(entries(&done), WithPrompts(nested), WithGetenv(env("POLICY_FILE", writeFile(t, "", entryRules))))...)
		if _, got := modern("prompts/get", "nested", `"name":"nested"`).send(t, srv.URL); !strings.Contains(got, name) {
			t.Errorf("%s: %s", name, got)
		}
	}
	if _, err := Read(t.Context(), "open://fixed"); err == nil {
		t.Error("read outside of a call")
	}
}

// TestMethodsThatNameAnEntry holds the list of methods against what the tests above know.
func TestMethodsThatNameAnEntry(t *testing.T) {
	var done []string
	srv := newServer(t, entries(&done)...)
	about := []string{"completion/complete", "prompts/get", "resources/read", "resources/subscribe", "resources/unsubscribe", "tools/call"}
	for _, method := range []string{
		"initialize", "ping", "tools/list", "prompts/list", "resources/list", "resources/templates/list", "logging/setLevel", "server/discover",
		"subscriptions/listen", "tasks/get", "tasks/update", "tasks/cancel", "tasks/result", "tasks/list", "resources/watch",
	} {
		params := `"name":"secret","uri":"secret://fixed","level":"info","ref":{"type":"ref/prompt","name":"secret"},"notifications":{"resourceSubscriptions":["secret://fixed"]}`
		for _, w := range []wire{legacy("2025-06-18", method, params), modern(method, "secret", params)} {
			_, got := w.send(t, srv.URL)
			var r struct{ Contents, Messages json.RawMessage }
			a := parse(t, got)
			json.Unmarshal(a.Result, &r)
			if r.Contents != nil || r.Messages != nil || len(done) > 0 || slices.Contains(about, method) {
				t.Errorf("%s is about an entry: %s", method, got)
			}
		}
	}
}
