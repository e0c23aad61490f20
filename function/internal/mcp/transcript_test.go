package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/seal"
)

var update = flag.Bool("update", false, "write the answers of today into the transcripts")

// An archive is a text in the format of golang.org/x/tools/txtar: a comment, and files that each begin with a line "-- name --".
type archive struct {
	comment string
	files   []file
}

type file struct{ name, text string }

var marker = regexp.MustCompile(`(?m)^-- (.+) --\n`)

func parseArchive(text string) (a archive) {
	at := marker.FindAllStringSubmatchIndex(text, -1)
	end := func(i int) int {
		if i < len(at) {
			return at[i][0]
		}
		return len(text)
	}
	a.comment = text[:end(0)]
	for i, m := range at {
		a.files = append(a.files, file{text[m[2]:m[3]], text[m[1]:end(i+1)]})
	}
	return a
}

func (a archive) String() string {
	var b strings.Builder
	b.WriteString(a.comment)
	for _, f := range a.files {
		fmt.Fprintf(&b, "-- %s --\n%s", f.name, f.text)
	}
	return b.String()
}

// splitRequest reads header lines, an empty line, and a body that ends before the last new line.
func splitRequest(text string) (http.Header, string) {
	h := http.Header{}
	for {
		line, rest, _ := strings.Cut(text, "\n")
		if text = rest; line == "" {
			return h, strings.TrimSuffix(text, "\n")
		}
		name, value, _ := strings.Cut(line, ":")
		h.Add(name, strings.TrimPrefix(value, " "))
	}
}

// sealed are the values that no two runs have alike. A transcript has {nextCursor}, {requestState} and {erlmcp/more} in their place: the last that came.
var sealed = regexp.MustCompile(`"(nextCursor|requestState|erlmcp/more)":"([^"]+)"`)

// TestTranscripts plays the requests of each file in testdata to a server with the catalog of [shelf], and wants each answer to the byte:
// its status, what the server says became of it, the notifications before it, and its body. Lines of a file's comment such as "option
// pages 2" configure the server. A request with the header Test-Refuse is refused at the point that it names.
func TestTranscripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			a := parseArchive(string(text))
			server := newShelfServer(t, a.comment)
			values := map[string]string{}
			for i := 0; i < len(a.files); i += 2 {
				name, ok := strings.CutSuffix(a.files[i].name, ": request")
				if !ok || i+1 == len(a.files) || a.files[i+1].name != name+": response" {
					t.Fatalf("%s: a request and its response are wanted", a.files[i].name)
				}
				header, body := splitRequest(a.files[i].text)
				for placeholder, value := range values {
					body = strings.ReplaceAll(body, placeholder, value)
				}
				x := &memory{body: body}
				server.Serve(t.Context(), ReadRequestHeader(header, "r-1", "", time.Now()), x)
				last := ""
				got := sealed.ReplaceAllStringFunc(x.transcript(), func(m string) string {
					part := sealed.FindStringSubmatch(m)
					values["{"+part[1]+"}"], last = part[2], part[2]
					return `"` + part[1] + `":"{` + part[1] + `}"`
				})
				if last != "" { // in words, too
					got = strings.ReplaceAll(got, last, "{sealed}")
				}
				if got != a.files[i+1].text && !*update {
					t.Errorf("%s: got\n%swant\n%s", name, got, a.files[i+1].text)
				}
				a.files[i+1].text = got
			}
			if *update {
				if err := os.WriteFile(path, []byte(a.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// transcript is the answer as transcripts have it.
func (m *memory) transcript() string {
	var b strings.Builder
	fmt.Fprintln(&b, strings.TrimSpace(fmt.Sprint(m.status, " ", strings.Join(m.told, " "))))
	for _, e := range m.events {
		fmt.Fprintf(&b, "data: %s\n", e)
	}
	if m.reply != "" {
		b.WriteString(m.reply + "\n")
	}
	return b.String()
}

func newShelfServer(t *testing.T, comment string) *Server {
	keys, err := seal.NewRing(bytes.Repeat([]byte{1}, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	opts := Options{
		Catalog: shelf{}, Gate: &testGate{"alice"}, Keys: keys, Info: Info{Name: "shelf", Version: "1", Instructions: "Ask first."},
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Timeout: 20 * time.Second,
	}
	for _, line := range strings.Split(comment, "\n") {
		name, value, _ := strings.Cut(strings.TrimPrefix(line, "option "), " ")
		switch {
		case !strings.HasPrefix(line, "option "):
		case name == "pages":
			opts.PageSize, _ = strconv.Atoi(value)
		case name == "refusals":
			opts.RefusalErrors = value == "errors"
		case name == "answers":
			opts.Answers = &answersOnce{seen: map[string]bool{}, away: value == "away"}
		case name == "catalog":
			opts.Catalog = bare{}
		default:
			t.Fatal(line)
		}
	}
	return NewServer(opts)
}

// answersOnce has each answer count once, or says that it can't find out.
type answersOnce struct {
	seen map[string]bool
	away bool
}

func (a *answersOnce) First(_ context.Context, id string, _ time.Duration, certain bool) (bool, error) {
	if a.away && certain {
		return false, errors.New("the store is away")
	}
	first := !a.seen[id]
	a.seen[id] = true
	return first, nil
}

// testGate refuses at the point that the header Test-Refuse names.
type testGate struct{ caller string }

func refusedAt(h http.Header, point string) *Refusal {
	switch {
	case h.Get("Test-Refuse") != point:
		return nil
	case point == "Challenge":
		return &Refusal{Reason: Unauthenticated, Message: "sign in", Challenge: "Bearer"}
	}
	return &Refusal{Reason: RateLimited, Message: "too fast", Scope: "tenant", Limit: "1/s", RetryAfter: 1500 * time.Millisecond, Receipt: "r1"}
}

// An admitted request remembers where it is to be refused.
type admitted struct {
	counter
	header http.Header
}

func (g *testGate) Admit(_ context.Context, h *RequestHeader) (Admission, *Refusal) {
	if r := refusedAt(h.Header, "Challenge"); r != nil {
		return nil, r
	}
	return &admitted{counter{caller: g.caller}, h.Header}, refusedAt(h.Header, "Admit")
}

func (a *admitted) Start(ctx context.Context, c *Call) (context.Context, Admission, *Refusal) {
	if r := refusedAt(a.header, "Start"); r != nil {
		return nil, nil, r
	}
	if a.header.Get("Test-Demand") != "" {
		c.Require(question("consent", "elicitation", "Really?"))
	}
	if c.Name == "secret" {
		c.Conceal(&Refusal{Reason: NotEntitled})
	}
	return ctx, a, nil
}

func (a *admitted) Charge(context.Context) *Refusal         { return refusedAt(a.header, "Charge") }
func (a *admitted) Invalid(context.Context, *Call) *Refusal { return refusedAt(a.header, "Invalid") }

func (g *testGate) MayRead(_ context.Context, _ *Call, uri string) error {
	if strings.Contains(uri, "closed") {
		return ErrUnknown
	}
	return nil
}

func question(key, capability, message string) InputRequest {
	params, _ := json.Marshal(map[string]any{"mode": "form", "message": message, "requestedSchema": map[string]any{"type": "object", "properties": map[string]any{}}})
	if capability == "elicitation.url" {
		params, _ = json.Marshal(map[string]any{"mode": "url", "message": message, "url": "https://example.com/sign-in", "elicitationId": "1"})
	}
	return InputRequest{Key: key, Method: "elicitation/create", Capability: capability, Params: params, Accept: func(raw json.RawMessage) error {
		var r struct{ Action string }
		switch json.Unmarshal(raw, &r); r.Action {
		case "accept":
			return nil
		case "decline":
			return errors.New("the user declined")
		}
		return Malformed(fmt.Errorf("unknown action %q", r.Action))
	}}
}

// bare is a catalog of nothing.
type bare struct{ shelf }

func (bare) Has(Kind) bool                             { return false }
func (bare) Completes() bool                           { return false }
func (bare) Entry(string, string) (kind, entry string) { return "", "" }
func (bare) List(context.Context, Kind) Listing        { return Listing{} }
func (bare) Tool(context.Context, string) *Tool        { return nil }
func (bare) Prompt(context.Context, string) *Prompt    { return nil }
func (bare) Resource(context.Context, string) (*Resource, map[string]string, error) {
	return nil, nil, nil
}

// shelf is the catalog of the transcripts.
type shelf struct{}

func (shelf) Has(Kind) bool                                  { return true }
func (shelf) Completes() bool                                { return true }
func (shelf) Entry(method, name string) (kind, entry string) { return "", "" }
func (shelf) Named(tool string) string {
	if tool == "plus" { // which it was called once
		return "add"
	}
	return tool
}

func (shelf) Indirect(tool string) Indirection {
	return map[string]Indirection{"call": ByName, ReadMore: ByCursor}[tool]
}

func (shelf) Settle(_ string, arguments map[string]any, nulls bool) {
	if nulls {
		for name, v := range arguments {
			if v == nil {
				delete(arguments, name)
			}
		}
	}
}

func (shelf) List(_ context.Context, kind Kind) Listing {
	lists := [][][2]string{
		Tools: {
			{"add", `"inputSchema":{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}},"required":["a"]}`},
			{"ask", `"inputSchema":{"type":"object"}`}, {"fail", `"inputSchema":{"type":"object"}`}, {"list", `"inputSchema":{"type":"object"}`},
			{"talk", `"inputSchema":{"type":"object"}`},
		},
		Prompts:   {{"greet", `"arguments":[{"name":"who","required":true}]`}},
		Resources: {{"note://größe", `"uri":"note://größe"`}},
		Templates: {{"note://by/{name}", `"uriTemplate":"note://by/{name}"`}},
	}
	l := Listing{TTL: time.Minute, Private: kind == Resources}
	for _, e := range lists[kind] {
		legacy := `{"name":"` + e[0] + `",` + e[1] + `}`
		l.Items = append(l.Items, Item{Key: e[0], Legacy: []byte(legacy), JSON: []byte(strings.Replace(legacy, `,`, `,"title":"Modern",`, 1))})
	}
	return l
}

func (shelf) Tool(_ context.Context, name string) *Tool {
	say := func(text string) func(context.Context, *Call) (*Result, error) {
		return func(context.Context, *Call) (*Result, error) { return &Result{Content: []Content{Text(text)}}, nil }
	}
	answer := func(r Result) *Tool {
		return &Tool{Call: func(context.Context, *Call) (*Result, error) { return &r, nil }}
	}
	fail := func(err error) *Tool {
		return &Tool{Call: func(context.Context, *Call) (*Result, error) { return nil, err }}
	}
	half, over := 0.5, 1.5
	tools := map[string]*Tool{
		"add": {Check: checkSum, Call: sum},
		"shard": {
			Headers: []HeaderParam{NewHeaderParam("Shard", []string{"shard"}), NewHeaderParam("Count", []string{"count"}), NewHeaderParam("Dry", []string{"dry"}), NewHeaderParam("Deep", []string{"a", "b"})},
			Call: func(ctx context.Context, c *Call) (*Result, error) {
				shard, _ := c.Arguments["shard"].(string)
				return say("shard "+shard)(ctx, c)
			},
		},
		"long": {ReadsOn: true, Call: func(_ context.Context, c *Call) (*Result, error) {
			switch {
			case c.From == nil:
				return &Result{Content: []Content{Text("begins")}, More: &Place{Path: "items", From: 2, Hash: []byte("h")}}, nil
			case c.From.Path != "items" || c.From.From != 2 || string(c.From.Hash) != "h":
				return nil, fmt.Errorf("this is another place: %v", c.From)
			}
			return say("goes on, of "+string(c.Raw))(nil, c)
		}},
		"cut":    answer(Result{Content: []Content{Text("begins")}, More: &Place{}}),
		"list":   answer(Result{Content: []Content{Text("[1,2]")}, Structured: []byte(`[1,2]`)}),
		"fail":   fail(errors.New("the disk is full")),
		"silent": fail(errors.New(" ")),
		"away":   fail(fmt.Errorf("the shop: %w", ErrUnavailable)),
		"error":  fail(invalidParams("this is no good")),
		"misfit": fail(&Misfit{errors.New("a is missing")}),
		"panic":  {Call: func(context.Context, *Call) (*Result, error) { panic("hunter2") }},
		"fault": {Call: func(context.Context, *Call) (*Result, error) {
			var none []int
			return nil, fmt.Errorf("%d", none[len(none)])
		}},
		"void":   {Call: func(context.Context, *Call) (*Result, error) { return nil, nil }},
		"no":     answer(Result{Content: []Content{Text("no")}, IsError: true}),
		"lines":  answer(Result{Structured: []byte(" {\n\"n\":\r\n1}")}),
		"blank":  answer(Result{Content: []Content{Text(" \n"), Text("x"), Text("")}}),
		"escape": answer(Result{Content: []Content{Text("\"\\\n\r\t\x01\b\f<é\u2028\xff>")}}),
		"all": answer(Result{Content: []Content{
			{Type: "text", Text: "t", Annotations: &Annotations{Audience: []string{"user", "assistant"}, Priority: &half, LastModified: time.Date(2026, 11, 30, 1, 2, 3, 0, time.UTC)}},
			{Type: "image", Data: []byte("i"), MIMEType: "image/png"}, {Type: "audio", Data: []byte("a"), MIMEType: "audio/wav"},
			{Type: "resource_link", URI: "note://x", Name: "x", Title: "X", Description: "An x.", MIMEType: "text/plain"},
			{Type: "resource", Resource: &ResourceContents{URI: "note://x", MIMEType: "text/plain", Text: "x"}},
			{Type: "resource", Resource: &ResourceContents{URI: "note://x", Blob: []byte("x")}},
		}}),
		"slow": {Timeout: time.Millisecond, Call: func(ctx context.Context, _ *Call) (*Result, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}},
		"talk": {Call: func(_ context.Context, c *Call) (*Result, error) {
			c.Progress(1, 3, "first")
			c.Progress(1, 3, "not greater: dropped")
			c.Progress(2.5, 0, "")
			return &Result{Content: []Content{Text("said\nall")}}, errors.Join(c.Log("debug", "talk", "fine detail"), c.Log("warning", "", map[string]int{"left": 2}))
		}},
		"shout": {Call: func(_ context.Context, c *Call) (*Result, error) { return nil, c.Log("loud", "", 1) }},
		"read": {Call: func(ctx context.Context, c *Call) (*Result, error) {
			uri, _ := c.Arguments["uri"].(string)
			r, err := c.Read(ctx, uri)
			if err != nil {
				return nil, err
			}
			return &Result{Content: []Content{Text(c.Caller() + " reads " + r.Contents[0].Text)}}, nil
		}},
		"ask": {Call: func(ctx context.Context, c *Call) (*Result, error) {
			if err := c.Ask(ctx, question("sure", "elicitation", "Sure?")); err != nil {
				return nil, err
			}
			if err := c.Ask(ctx, question("choice", "elicitation", "Which?")); err != nil {
				return nil, fmt.Errorf("wrapped: %w", err)
			}
			return say("asked")(ctx, c)
		}},
		"consult": {Call: func(ctx context.Context, c *Call) (*Result, error) {
			q := question("q", "elicitation", "Any words?")
			q.Accept = func(json.RawMessage) error { return nil }
			return &Result{}, c.Ask(ctx, q)
		}},
		"visit": {Strict: true, Call: func(ctx context.Context, c *Call) (*Result, error) {
			return &Result{}, c.Ask(ctx, question("page", "elicitation.url", "Sign in"))
		}},
		"typed": {Call: func(context.Context, *Call) (*Result, error) { return nil, nil }, Fits: func(*Result) error { return errors.New("n: missing") }},
	}
	for name, c := range map[string]Content{
		"bad image":    {Type: "image", Data: []byte("i")},
		"bad audio":    {Type: "audio", MIMEType: "audio/wav"},
		"bad link":     {Type: "resource_link", URI: "note://x"},
		"bad uri":      {Type: "resource_link", URI: "x", Name: "x"},
		"bad resource": {Type: "resource"},
		"bad embedded": {Type: "resource", Resource: &ResourceContents{URI: "x"}},
		"bad type":     {Type: "video"},
		"bad audience": {Type: "text", Text: "x", Annotations: &Annotations{Audience: []string{"me"}}},
		"bad priority": {Type: "text", Text: "x", Annotations: &Annotations{Priority: &over}},
	} {
		tools[name] = answer(Result{Content: []Content{c}})
	}
	tools["bad structure"] = answer(Result{Structured: []byte(`{"n":`)})
	return tools[name]
}

func checkSum(args map[string]any) error {
	for name, v := range args {
		if _, whole := v.(int64); !whole || name != "a" && name != "b" {
			return fmt.Errorf("%s: %v is no good", name, v)
		}
	}
	return nil
}

func sum(_ context.Context, c *Call) (*Result, error) {
	a, _ := c.Arguments["a"].(int64)
	b, _ := c.Arguments["b"].(int64)
	text := fmt.Sprintf(`{"a":%d}`, a+b)
	return &Result{Content: []Content{Text(text)}, Structured: []byte(text)}, nil
}

// failure is what prompts and resources fail with that are given its name.
func failure(what string) error {
	switch what {
	case "away":
		return fmt.Errorf("the shop: %w", ErrUnavailable)
	case "bad":
		return invalidParams("bad is no good")
	case "nobody":
		return ErrUnknown
	case "wrong":
		return errors.New("there is no such city")
	case "panic":
		panic("hunter2")
	}
	return nil
}

func (shelf) Prompt(_ context.Context, name string) *Prompt {
	say := func(messages ...PromptMessage) *Prompt {
		return &Prompt{Get: func(context.Context, *Call, map[string]string) (*PromptResult, error) {
			return &PromptResult{Messages: messages}, nil
		}}
	}
	return map[string]*Prompt{
		"greet": {Required: []string{"who"}, Get: func(_ context.Context, _ *Call, args map[string]string) (*PromptResult, error) {
			hello := []PromptMessage{{"user", Text("Hello, " + args["who"])}, {"assistant", Text("")}, {"assistant", Text("Hello.")}}
			return &PromptResult{Description: "Greets.", Messages: hello}, failure(args["who"])
		}},
		"ask": {Get: func(ctx context.Context, c *Call, _ map[string]string) (*PromptResult, error) {
			return &PromptResult{}, c.Ask(ctx, question("sure", "elicitation", "Sure?"))
		}},
		"role":  say(PromptMessage{"system", Text("x")}),
		"block": say(PromptMessage{"user", Content{Type: "resource_link"}}),
		"void":  {Get: func(context.Context, *Call, map[string]string) (*PromptResult, error) { return nil, nil }},
	}[name]
}

func (shelf) Resource(_ context.Context, uri string) (*Resource, map[string]string, error) {
	read := &Resource{Read: func(ctx context.Context, c *Call, uri string, vars map[string]string) (*ReadResult, error) {
		switch vars["name"] {
		case "void":
			return nil, nil
		case "asker":
			if err := c.Ask(ctx, question("sure", "elicitation", "Sure?")); err != nil {
				return nil, err
			}
		case "blob":
			return &ReadResult{Contents: []ResourceContents{{MIMEType: "x/y", Blob: []byte{0}}, {URI: "note://other", Text: "o"}}, Private: true}, nil
		}
		return &ReadResult{Contents: []ResourceContents{{Text: "hello " + vars["name"]}}, TTL: time.Second}, failure(vars["name"])
	}}
	name, templated := strings.CutPrefix(uri, "note://by/")
	switch {
	case uri == "note://größe":
		return read, nil, nil
	case templated && strings.Contains(name, "/"):
	case templated && strings.Contains(name, "%2F"):
		return read, nil, errors.New("name leads elsewhere")
	case templated:
		return read, map[string]string{"name": name}, nil
	}
	return nil, nil, nil
}

func (shelf) Completer(_ context.Context, kind Kind, name string) *Completer {
	switch {
	case kind == Prompts && name == "greet":
		return &Completer{Arguments: []string{"who"}, Complete: func(_ context.Context, _, value string, known map[string]string) ([]string, error) {
			if value == "many" {
				return strings.Split(strings.Repeat("x ", 101), " "), nil
			}
			return []string{"Ada", "Alan", value + known["tone"]}, failure(value)
		}}
	case kind == Templates:
		return &Completer{Arguments: []string{"name"}}
	}
	return nil
}
