package admission

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/policy"
)

// TestConsent has a rule ask the person at the client: what is called is shown, and each answer that a client can give has its meaning.
func TestConsent(t *testing.T) {
	q, err := confirmation(&policy.Decision{Rule: "pay", Message: "Money goes out."}, &catalog.Object{Object: policy.Object{Kind: "tool", Name: "pay"}},
		&mcp.Call{Method: "tools/call", Arguments: map[string]any{"to": "x\u202ey", "n": json.Number("1")}})
	if err != nil {
		t.Fatal(err)
	}
	var params struct{ Message string }
	if err := json.Unmarshal(q.Params, &params); err != nil || params.Message != `Money goes out. Call pay with {"n":1,"to":"x\u202ey"}?` {
		t.Errorf("%q, %v", params.Message, err)
	}
	for _, c := range []struct{ name, answer, want string }{
		{"yes", `{"action":"accept","content":{"confirm":true}}`, ""},
		{"no", `{"action":"accept","content":{"confirm":false}}`, "did not agree"},
		{"declined", `{"action":"decline"}`, "did not agree"},
		{"closed", `{"action":"cancel"}`, "did not agree"},
		{"no answer in it", `{"action":"accept","content":{}}`, "confirm: missing"},
		{"an action that there is not", `{"action":"yes"}`, "unknown action"},
		{"a text for a choice", `{"action":"accept","content":{"confirm":"true"}}`, "confirm"},
		{"no JSON", `{`, "answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := q.Accept(json.RawMessage(c.answer))
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	read, err := confirmation(&policy.Decision{Rule: "r"}, &catalog.Object{Object: policy.Object{Kind: "resource", Name: "doc"}}, &mcp.Call{Method: "resources/read", Name: "doc://1"})
	if err != nil || !strings.Contains(string(read.Params), `doc://1`) {
		t.Errorf("%s, %v", read.Params, err)
	}
}

// TestShownWhole draws arguments: what the person is shown is short, names each member, and is refused where it can't be both.
func TestShownWhole(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		arguments := map[string]any{}
		for range random.IntN(80) {
			name := strings.Repeat(string(rune('a'+random.IntN(26))), 1+random.IntN(12))
			switch random.IntN(4) {
			case 0:
				arguments[name] = strings.Repeat("é", random.IntN(2000))
			case 1:
				arguments[name] = []any{json.Number("1"), strings.Repeat("x", random.IntN(50)), map[string]any{"in": nil}}
			case 2:
				arguments[name] = make([]any, random.IntN(60))
			default:
				arguments[name] = map[string]any{"deep": []any{true, json.Number("2.5")}}
			}
		}
		text, err := shown(arguments)
		if err != nil {
			continue
		}
		if len(text) > maxShown {
			t.Fatalf("%d bytes", len(text))
		}
		for name := range arguments {
			if !strings.Contains(text, `"`+name+`":`) {
				t.Fatalf("%s is not in %s", name, text)
			}
		}
	}
	if _, err := shown(map[string]any{"a": strings.Repeat("x", 10), "b": manyMembers(2000)}); err != errTooMuch {
		t.Errorf("2000 members: %v", err)
	}
	if _, err := shown(map[string]any{"a": func() {}}); err == nil {
		t.Error("what is no JSON is shown")
	}
}

func manyMembers(n int) map[string]any {
	m := map[string]any{}
	for range n {
		m[strings.Repeat("k", len(m)%100+1)+string(rune('a'+len(m)%26))+string(rune('a'+len(m)/26%26))] = true
	}
	return m
}

// TestRulesAsk has rules ask before a call, say what they would do, ask for scopes, and fail.
func TestRulesAsk(t *testing.T) {
	for _, c := range []struct {
		name, method string
		rule         policy.Rule
		refused      string
	}{
		{"a person", "tools/call", policy.Rule{Name: "r", Then: policy.Confirm}, ""},
		{"a person, whom this method can't ask", "completion/complete", policy.Rule{Name: "r", Then: policy.Confirm}, "not_entitled"},
		{"in dry run", "tools/call", policy.Rule{Name: "r", When: "size(args) == 0", Then: policy.Deny, Shadow: true}, ""},
		{"for scopes by the arguments", "tools/call", policy.Rule{Name: "r", When: "size(args) == 0", Then: policy.Scopes, Scopes: []string{"more"}}, "insufficient_scope"},
		{"for scopes whatever the arguments", "tools/call", policy.Rule{Name: "r", Then: policy.Scopes, Scopes: []string{"more"}}, "insufficient_scope"},
		{"for what is not given", "tools/call", policy.Rule{Name: "r", When: `args.amount > 1`, Then: policy.Deny}, "not_entitled"},
		{"for what can't be evaluated", "tools/call", policy.Rule{Name: "r", When: `1 / size(args) > 1`, Then: policy.Deny}, "not_entitled"},
		{"with words of its own", "tools/call", policy.Rule{Name: "r", When: "size(args) == 0", Then: policy.Deny, Message: "never"}, "not_entitled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, _ := recordedWorld(t, catalog.Terms{Rules: []policy.Rule{c.rule}})
				h := w.head("tools/call", "t")
				a, refusal := w.Admit(t.Context(), h)
				if refusal == nil {
					call := &mcp.Call{Head: h, Method: c.method, Name: "t", Modern: true, Arguments: map[string]any{}}
					var started mcp.Admission
					if _, started, refusal = a.Start(t.Context(), call); started != nil {
						started.End(&mcp.Ending{Entered: true})
					}
				}
				wantReason(t, c.name, refusal, c.refused)
				if n := len(w.Decided()); n != 1 && c.rule.When+string(c.rule.Then) != string(policy.Scopes) { // what every call lacks is no decision of a rule
					t.Errorf("%v were counted", w.Decided())
				}
			})
		})
	}
}
