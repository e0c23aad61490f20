package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/seal"
)

// memory is an exchange without a network.
type memory struct {
	body    string
	status  int
	reply   string
	refusal *Refusal
	events  []string
	told    []string // outcomes
}

func (m *memory) Body(string, Late) ([]byte, error) { return []byte(m.body), nil }
func (m *memory) Peek() []byte                      { return []byte(m.body) }
func (m *memory) Reply(status int, body []byte) error {
	m.status, m.reply = status, string(body)
	return nil
}
func (m *memory) Accept()             { m.status = 202 }
func (m *memory) Stream(event []byte) { m.events = append(m.events, string(event)) }
func (m *memory) Observe(_ context.Context, told *Message) {
	m.told = append(m.told, told.Outcome.String())
}
func (m *memory) Refuse(r *Refusal, s int, b []byte) { m.refusal = r; m.Reply(s, b) }

// counter is a gate that counts what it hands out and what comes back.
type counter struct {
	caller   string
	refuse   *Refusal // at Admit
	refuseAt int      // refuse the n-th Start; 0 for none
	heads    []RequestHeader
	begun    []string
	outcomes []Outcome
	dropped  int
	charged  int
	yielded  int
}

func (g *counter) Admit(_ context.Context, h *RequestHeader) (Admission, *Refusal) {
	g.heads = append(g.heads, *h)
	if g.refuse != nil {
		return nil, g.refuse
	}
	return g, nil
}

func (g *counter) MayRead(context.Context, *Call, string) error { return nil }

func (g *counter) Start(ctx context.Context, c *Call) (context.Context, Admission, *Refusal) {
	g.begun = append(g.begun, c.Method+" "+c.Name)
	if len(g.begun) == g.refuseAt {
		return nil, nil, &Refusal{Reason: RateLimited, Message: "too fast", Scope: "tool:ask", Limit: "1/s", RetryAfter: 1500 * time.Millisecond, Receipt: "r1"}
	}
	return ctx, g, nil
}

func (g *counter) Caller() string                          { return g.caller }
func (g *counter) Tenant() string                          { return "" }
func (g *counter) Believed() bool                          { return true }
func (g *counter) End(e *Ending)                           { g.outcomes = append(g.outcomes, e.Outcome) }
func (g *counter) Drop(context.Context)                    { g.dropped++ }
func (g *counter) Invalid(context.Context, *Call) *Refusal { return nil }
func (g *counter) Yield()                                  { g.yielded++ }
func (g *counter) Charge(context.Context) *Refusal         { g.charged++; return nil }

var header = http.Header{"Mcp-Protocol-Version": {Version20260728}, "Mcp-Method": {"tools/call"}, "Mcp-Name": {"consult"}}

func askBody(more string) string {
	return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"consult"` + more +
		`,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{}}}}}`
}

func TestStateIsBoundToTheCallerAndTime(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	keys, err := seal.NewRing(bytes.Repeat([]byte{1}, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(caller string, at time.Time, more string) *memory {
		s := NewServer(Options{Catalog: shelf{}, Gate: &counter{caller: caller}, Keys: keys, Now: func() time.Time { return at }})
		x := &memory{body: askBody(more)}
		s.Serve(t.Context(), ReadRequestHeader(header, "", "", now), x)
		return x
	}
	var r struct{ Result struct{ RequestState string } }
	if err := json.Unmarshal([]byte(ask("alice", now, "").reply), &r); err != nil || r.Result.RequestState == "" {
		t.Fatal(err, r)
	}
	state := `,"inputResponses":{"q":{}},"requestState":"` + r.Result.RequestState + `"`
	for _, c := range []struct {
		caller string
		at     time.Time
		want   string
	}{
		{"alice", now.Add(stateTTL - time.Millisecond), `"resultType":"complete"`},
		{"mallory", now, "-32602"},
		{"alice", now.Add(stateTTL), "expired"},
	} {
		if got := ask(c.caller, c.at, state).reply; !strings.Contains(got, c.want) {
			t.Errorf("%s after %v: %s, want %s", c.caller, c.at.Sub(now), got, c.want)
		}
	}
}

// What the gate gives is given back once, however a request goes.
func TestGateIsBalanced(t *testing.T) {
	limit := &Refusal{Reason: RateLimited, Message: "too fast", RetryAfter: time.Second}
	legacyBody := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"consult"}}`
	panicBody := strings.ReplaceAll(askBody(""), `"consult"`, `"panic"`)
	panicHeader := header.Clone()
	panicHeader.Set("Mcp-Name", "panic")
	keys := seal.RandomRing()
	var asked struct{ Result struct{ RequestState string } }
	asking := &memory{body: askBody("")}
	NewServer(Options{Catalog: shelf{}, Gate: &counter{}, Keys: keys}).Serve(t.Context(), ReadRequestHeader(header, "", "", time.Now()), asking)
	if err := json.Unmarshal([]byte(asking.reply), &asked); err != nil {
		t.Fatal(err)
	}
	answeredState := `,"inputResponses":{"q":{}},"requestState":"` + asked.Result.RequestState + `"`
	for _, c := range []struct {
		name           string
		gate           counter
		header         http.Header
		body           string
		heads, begun   int
		dropped, ended int
		outcome        Outcome
		status         int
		want           string
		told           string
	}{
		{"asked", counter{}, header, askBody(""), 1, 1, 0, 1, InputRequired, 200, "input_required", "input_required"},
		{"answered and not asked", counter{}, header, askBody(`,"inputResponses":{"q":{}}`), 1, 1, 0, 1, InputRequired, 200, "input_required", "input_required"},
		{"completed", counter{}, header, askBody(answeredState), 1, 1, 0, 1, Completed, 200, "complete", "completed"},
		{"panicked", counter{}, panicHeader, panicBody, 1, 1, 0, 1, Panicked, 200, "-32603", "panicked"},
		{"headers unlike the body", counter{}, panicHeader, askBody(""), 1, 0, 1, 0, 0, 400, "-32020", "failed"},
		{"not JSON", counter{}, header, `{`, 1, 0, 1, 0, 0, 400, "-32700", "invalid"},
		{"notification", counter{}, header, `{"jsonrpc":"2.0","method":"x"}`, 1, 0, 1, 0, 0, 202, "", "completed"},
		{"bad state", counter{}, header, askBody(`,"requestState":"x"`), 1, 0, 1, 0, 0, 400, "-32602", "failed"},
		{"refused from the headers", counter{refuse: limit}, header, `{"id":"a","rest is never decoded`, 1, 0, 0, 0, 0, 429, `"id":"a","error":{"code":1056`, "refused"},
		{"refused at begin", counter{refuseAt: 1}, header, askBody(""), 1, 1, 0, 0, 0, 200, `"text":"too fast (receipt r1)"}],"isError":true,"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"","version":""},"erlmcp/refusal":{"code":1056,"reason":"rate","scope":"tool:ask","limit":"1/s","retryAfterMs":1500,"receipt":"r1"}}}`, "refused"},
		{"legacy refused at begin", counter{refuseAt: 1}, http.Header{}, legacyBody, 1, 1, 0, 0, 0, 200, `"isError":true,"_meta":{"erlmcp/refusal":{"code":1056,`, "refused"},
		{"batch, its second element refused", counter{refuseAt: 2}, http.Header{}, "[" + legacyBody + "," + legacyBody + "," + legacyBody + "]", 1, 3, 0, 2, ToolFailed, 200, `"isError":true,"_meta":{"erlmcp/refusal":{"code":1056,"reason":"rate","scope":"tool:ask","limit":"1/s","retryAfterMs":1500,"receipt":"r1"}}}},{"jsonrpc"`, "tool_failed refused tool_failed"},
		{"batch of nothing to do", counter{}, http.Header{}, `[{"jsonrpc":"2.0","method":"x"}]`, 1, 0, 1, 0, 0, 202, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := c.gate
			s := NewServer(Options{Catalog: shelf{}, Gate: &g, Keys: keys})
			x := &memory{body: c.body}
			s.Serve(t.Context(), ReadRequestHeader(c.header, "", "", time.Now()), x)
			if len(g.heads) != c.heads || len(g.begun) != c.begun || g.dropped != c.dropped || len(g.outcomes) != c.ended {
				t.Errorf("heads %d, begun %d, dropped %d, ended %d", len(g.heads), len(g.begun), g.dropped, len(g.outcomes))
			}
			for _, o := range g.outcomes {
				if o != c.outcome {
					t.Errorf("outcome %v, want %v", o, c.outcome)
				}
			}
			if got := strings.Join(x.told, " "); got != c.told {
				t.Errorf("told %q, want %q", got, c.told)
			}
			if x.status != c.status || !strings.Contains(x.reply, c.want) {
				t.Errorf("%d %s, want %d %s", x.status, x.reply, c.status, c.want)
			}
		})
	}
}

// Headers that nothing will hold against a body decide nothing.
func TestGateSeesNoHeadersOfLegacyRequests(t *testing.T) {
	g := &counter{}
	s := NewServer(Options{Catalog: shelf{}, Gate: g, Keys: seal.RandomRing()})
	s.Serve(t.Context(), ReadRequestHeader(http.Header{"Mcp-Method": {"tools/call"}, "Mcp-Name": {"cheap"}}, "", "", time.Now()), &memory{body: `{"jsonrpc":"2.0","id":1,"method":"ping"}`})
	if h := g.heads[0]; h.Method != "" || h.Name != "" {
		t.Errorf("%+v", h)
	}
}

// TestBodiesThatAreNoText are what no transcript can hold.
func TestBodiesThatAreNoText(t *testing.T) {
	for _, body := range []string{
		strings.Replace(askBody(""), `"id":1`, "\"id\":\"\xff\"", 1), strings.Replace(askBody(""), `"_meta"`, "\"x\":\"\xc3\",\"_meta\"", 1), askBody(",\"\xed\xa0\x80\":1"), "\x00",
	} {
		x := &memory{body: body}
		NewServer(Options{Catalog: shelf{}, Gate: &counter{}, Keys: seal.RandomRing()}).Serve(t.Context(), ReadRequestHeader(header, "", "", time.Now()), x)
		if x.status != 400 || !strings.Contains(x.reply, `{"jsonrpc":"2.0","error":{"code":-32700,`) || len(body) > 1 && !strings.Contains(x.reply, "UTF-8") {
			t.Errorf("%q: %d %s", body, x.status, x.reply)
		}
	}
}

func FuzzMessage(f *testing.F) {
	f.Add([]byte(askBody(`,"inputResponses":{"q":{}},"requestState":"x"`)))
	f.Add([]byte(`{"jsonrpc":"2.0","id":7,"method":"completion/complete","params":{"ref":{"type":"ref/prompt"},"argument":{}}}`))
	f.Add([]byte(`{"jsonrpc":"2.0","id":"\u0031","result":{}}`))
	f.Add([]byte(`[{"jsonrpc":"2.0","id":7,"method":"ping"},null]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		s := scanner{buf: body}
		m, err := s.message()
		if err == nil {
			err = s.end()
		}
		// encoding/json finds the same method and id wherever the message is accepted.
		if err == nil {
			var want struct {
				ID     json.RawMessage `json:"id"`
				Method string          `json:"method"`
			}
			// Names match by case in JSON-RPC, and encoding/json folds it: decode into a map first.
			var members map[string]json.RawMessage
			if err := json.Unmarshal(body, &members); err != nil {
				t.Fatalf("accepted %q, encoding/json: %v", body, err)
			}
			want.ID = members["id"]
			json.Unmarshal(members["method"], &want.Method)
			if m.method != want.Method || !bytes.Equal(m.id, want.ID) {
				t.Fatalf("%q: id %s method %q, want %s %q", body, m.id, m.method, want.ID, want.Method)
			}
			if id, _ := peekRequest(body); m.id != nil && !bytes.Equal(id, m.id) {
				t.Fatalf("%q: ScanID found %s, want %s", body, id, m.id)
			}
		}
		// Whatever the body, the whole engine answers, in JSON.
		for _, h := range []http.Header{header, {}} {
			x := &memory{body: string(body)}
			NewServer(Options{Catalog: shelf{}, Gate: &counter{}, Keys: seal.RandomRing()}).Serve(t.Context(), ReadRequestHeader(h, "", "", time.Now()), x)
			if x.status != 202 && !json.Valid([]byte(x.reply)) {
				t.Fatalf("%q: %d %q", body, x.status, x.reply)
			}
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add("plain", "plain")
	f.Add("=?base64?YWRk?=", "add")
	f.Add("=?base64?YWR?=", "ad")
	f.Add("=?base64??=", "")
	f.Add("42.0", "42")
	f.Add("=?base64?=", "") // the two marks overlap: plain text
	f.Fuzz(func(t *testing.T, value, text string) {
		got, err := decoded(value)
		if err == nil && strings.HasPrefix(value, sentinelStart) && strings.HasSuffix(value, sentinelEnd) && len(value) >= len(sentinelStart)+len(sentinelEnd) {
			// One text has one encoding: a second spelling could slip past whoever compares the encoded form.
			if again := sentinelStart + strictBase64.EncodeToString([]byte(got)) + sentinelEnd; again != value {
				t.Fatalf("%q decodes to %q, which encodes to %q", value, got, again)
			}
		}
		encoded := sentinelStart + strictBase64.EncodeToString([]byte(text)) + sentinelEnd
		p := NewHeaderParam("X", []string{"a"})
		if json.Valid([]byte(text)) {
			if v, err := Decode([]byte(text)); err == nil {
				p.check(http.Header{p.Key: {value}}, map[string]any{"a": v})
			}
		}
		if valid := strings.ToValidUTF8(text, "") == text; valid {
			if err := p.check(http.Header{p.Key: {encoded}}, map[string]any{"a": text}); err != nil {
				t.Fatalf("%q in base64 is not taken for itself: %v", text, err)
			}
		}
	})
}
