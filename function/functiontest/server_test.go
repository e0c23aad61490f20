package functiontest

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"example.com/erlmcp/function"
)

type rows struct {
	Rows  int  `json:"rows,omitempty"`
	Force bool `json:"force,omitempty"`
}

func catalog() function.Catalog {
	read := func(_ context.Context, uri string, vars map[string]string) ([]function.ResourceContents, error) {
		if vars["name"] == "none" {
			return nil, function.ErrNotFound
		}
		return []function.ResourceContents{{URI: uri, MIMEType: "text/plain", Text: "of " + vars["name"]}, {URI: uri, Blob: []byte("\x00\xff")}}, nil
	}
	who := func(ctx context.Context, _ function.None) (string, error) {
		p := function.Caller(ctx)
		return p.Tenant + "/" + p.Subject + " " + strings.Join(p.Scopes, ","), nil
	}
	return function.Catalog{
		Tools: []function.Tool{
			function.NewTool("who", "Says who calls.", who),
			function.NewTool("blocks", "Answers content.", func(context.Context, function.None) ([]function.Content, error) {
				return []function.Content{
					function.Text("one"), function.Image([]byte("PNG"), "image/png"), function.Link("a://b", "b"),
					function.Embed(function.ResourceContents{URI: "c://d", Text: "d"}), function.Text("two"),
				}, nil
			}),
			function.NewTool("rare", "Can be called once.", who, function.ToolOptions{PerSecond: 0.001, Burst: 1}),
			function.NewTool("guarded", "Needs a scope.", who, function.ToolOptions{Scopes: []string{"write"}}),
			function.NewTool("ruled", "Has rules.", func(_ context.Context, in rows) (string, error) { return "done", nil },
				function.ToolOptions{AllowWhen: []function.Condition{{When: "!has(args.rows) || args.rows <= 100", Message: "at most 100 rows"}}}),
			function.NewTool("needs", "Depends on what may be missing.", func(_ context.Context, in rows) (string, error) { return "done", nil },
				function.ToolOptions{AllowWhen: []function.Condition{{When: "args.rows <= 100"}}}),
			function.NewTool("wipe", "Wipes.", func(_ context.Context, in rows) (string, error) { return "wiped", nil }),
		},
		Resources: []function.Resource{
			function.NewTemplate("note:///{name}", "note", read, function.ResourceOptions{Complete: function.CompleteFrom("Ada", "Alan", "Grace")}),
		},
		Prompts: []function.Prompt{function.NewPrompt("greet", "Greets.", func(_ context.Context, args map[string]string) ([]function.Message, error) {
			if args["name"] == "nobody" {
				return nil, function.BadArgument("nobody is there")
			}
			return []function.Message{function.UserSays(function.Text("Hello " + args["name"])), {Role: "assistant", Content: function.Image([]byte("PNG"), "image/png")}}, nil
		}, function.PromptOptions{Arguments: []function.Argument{{Name: "name", Required: true}}, Complete: function.CompleteFrom("Ada", "Alan")})},
	}
}

func TestContent(t *testing.T) {
	s := New(t, Setup{Catalog: catalog(), pageSize: 2})
	r := s.Call("blocks", nil)
	if len(r.Content) != 5 || r.Text != "one\ntwo" || string(r.Content[1].Data) != "PNG" || r.Content[1].MIMEType != "image/png" ||
		r.Content[2].URI != "a://b" || r.Content[2].Name != "b" || r.Content[3].Resource.Text != "d" {
		t.Errorf("%+v", r)
	}
	c := s.Read("note:///Ada")
	if c.Error != nil || len(c.Contents) != 2 || c.Contents[0].Text != "of Ada" || c.Contents[0].MIMEType != "text/plain" || string(c.Contents[1].Blob) != "\x00\xff" {
		t.Errorf("%+v", c)
	}
	for uri, code := range map[string]int{"note:///none": -32602, "nothing://x": -32602} {
		if c := s.Read(uri); c.Error == nil || c.Error.Code != code {
			t.Errorf("%s: %+v", uri, c.Error)
		}
	}
	m := s.Prompt("greet", map[string]string{"name": "Ada"})
	if m.Error != nil || m.Description != "Greets." || len(m.Messages) != 2 || m.Messages[0].Content.Text != "Hello Ada" || m.Messages[1].Role != "assistant" || string(m.Messages[1].Content.Data) != "PNG" {
		t.Errorf("%+v", m)
	}
	for name, args := range map[string]map[string]string{"greet": {"name": "nobody"}, "nothing": nil} {
		if m := s.Prompt(name, args); m.Error == nil || m.Error.Code != -32602 {
			t.Errorf("%s: %+v", name, m)
		}
	}
	if got := s.CompletePrompt("greet", "name", "a", nil); got.Error != nil || !slices.Equal(got.Values, []string{"Ada", "Alan"}) {
		t.Errorf("%+v", got)
	}
	if got := s.CompleteTemplate("note:///{name}", "name", "gr", map[string]string{"x": "y"}); got.Error != nil || !slices.Equal(got.Values, []string{"Grace"}) {
		t.Errorf("%+v", got)
	}
	if got := s.CompletePrompt("nothing", "name", "a", nil); got.Error == nil {
		t.Errorf("%+v", got)
	}
}

func TestCallers(t *testing.T) {
	s := New(t, Setup{
		Catalog: catalog(), pageSize: 2,
		Callers: []Caller{{Tenant: "acme", Scopes: []string{"read"}}, {Tenant: "acme", Subject: "boss", Scopes: []string{"*"}}, {Tenant: "shop"}},
		Rules: `rules:
- {name: ours, when: 'principal.tenant == "shop" && tool.name == "wipe"', then: deny}
- {name: forced, when: 'tool.name == "wipe" && has(args.force) && args.force', then: deny, message: nothing is forced}
- {name: typo, when: 'tool.name == "wipe" && args.rowz > 3', then: deny}`,
		Settings: map[string]string{"TENANT_MAX_CONCURRENT_CALLS": "5"},
	})
	for caller, want := range map[string]string{"": "local/local *", "acme": "acme/default read", "acme/boss": "acme/boss *", "shop": "shop/default ", "shop/default": "shop/default "} {
		as := s
		if caller != "" {
			as = s.As(caller)
		}
		if r := as.Call("who", nil); r.Text != want {
			t.Errorf("%q: %+v, want %q", caller, r, want)
		}
	}
	for _, c := range []struct {
		caller, tool string
		args         any
		reason, text string // of a refusal
	}{
		{"acme/boss", "guarded", nil, "", "acme/boss *"},
		{"acme", "ruled", rows{Rows: 100}, "", "done"},
		{"acme", "ruled", rows{}, "", "done"},
		{"acme", "ruled", rows{Rows: 101}, "not_entitled", "at most 100 rows"},
		{"acme", "needs", rows{Rows: 100}, "", "done"},
		{"acme", "needs", rows{}, "not_entitled", "it depends on rows, which is not given"},
		{"acme", "wipe", rows{Force: true}, "not_entitled", "nothing is forced"},
		{"acme", "wipe", rows{}, "not_entitled", "it depends on rowz, which is not given"},
	} {
		r := s.As(c.caller).Call(c.tool, c.args)
		if r.Error != nil || !strings.Contains(r.Text, c.text) || (r.Refusal != nil) != (c.reason != "") || r.Refusal != nil && (r.Refusal.Reason != c.reason || r.Refusal.Scope != "tool:"+c.tool) {
			t.Errorf("%+v: %+v %+v", c, r, r.Refusal)
		}
	}
	if r := s.As("shop").Call("wipe", rows{}); r.Error == nil || r.Error.Code != -32602 {
		t.Errorf("a tool that is hidden: %+v", r)
	}
}

func TestLimits(t *testing.T) {
	s := New(t, Setup{Catalog: catalog(), pageSize: 2})
	if r := s.Call("rare", nil); r.IsError || r.Refusal != nil {
		t.Errorf("%+v", r)
	}
	r := s.Call("rare", nil)
	if !r.IsError || r.Refusal == nil || r.Refusal.Reason != "rate" || r.Refusal.Code != 1056 || r.Refusal.Scope != "tool:rare" || r.Refusal.RetryAfter <= 0 {
		t.Errorf("%+v %+v", r, r.Refusal)
	}
	s = New(t, Setup{Catalog: catalog(), pageSize: 2, Callers: []Caller{{Tenant: "acme"}}, Settings: map[string]string{"TENANT_CALLS_PER_DAY": "2"}})
	var reasons []string
	for range 3 {
		reason := ""
		if r := s.As("acme").Call("who", nil); r.Refusal != nil {
			reason = r.Refusal.Reason
		}
		reasons = append(reasons, reason)
	}
	if !slices.Equal(reasons, []string{"", "", "quota"}) {
		t.Errorf("%q", reasons)
	}
}

// TestRulesThatNameNothing stop the start: they would refuse every call.
func TestRulesThatNameNothing(t *testing.T) {
	for condition, want := range map[string]string{
		"args.rowz <= 100":              "is about args.rowz, and the arguments are force, rows",
		`args["row"] == 1`:              "is about args.row,",
		"has(args.row) && args.row > 1": "is about args.row,",
		"args.?rowz.orValue(1) > 1":     "is about args.rowz,",
		"args.Force":                    "is about args.Force,",
		"args.rows <= 100 && args.x":    "is about args.x,",
		"args.rows <= 100":              "",
		"args.force":                    "",
		"!args.force":                   "",
		"size(args) > 0":                "",
	} {
		tool := function.NewTool("t", "Has a rule.", func(context.Context, rows) (string, error) { return "", nil }, function.ToolOptions{AllowWhen: []function.Condition{{When: condition}}})
		s, err := function.New(t.Context(), function.Options{Loopback: true, Getenv: func(string) string { return "" }, Logger: slog.New(slog.DiscardHandler), Catalog: function.Catalog{Tools: []function.Tool{tool}}})
		if err == nil {
			s.Close()
		}
		var start *function.StartError
		if (err != nil) != (want != "") || err != nil && (!errors.As(err, &start) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", condition, err, want)
		}
	}
}
