package function

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"example.com/erlmcp/function/ask"
)

type (
	nested struct {
		Rows int `json:"rows"`
	}
	untagged struct{ Untagged int }
	spelled  struct {
		untagged
		Rows   int               `json:"rows"`
		Kind   string            `json:"kind"`
		Nested nested            `json:"nested"`
		List   []nested          `json:"list"`
		Map    map[string]nested `json:"map"`
		Self   itself            `json:"self"`
		Raw    json.RawMessage   `json:"raw"`
	}
	itself struct {
		Rows int `json:"rows"`
	}
)

func (i *itself) UnmarshalJSON(text []byte) error {
	type plain itself
	return json.Unmarshal(text, (*plain)(i))
}

// openSchema bounds what it knows and refuses nothing else.
const openSchema = `{"type":"object","properties":{"rows":{"type":"integer","maximum":1000},"nested":{"type":"object","properties":{"rows":{"maximum":1000}}}}}`

// TestNamesReachNoOtherField: a name that a schema and rules know nothing of reaches no field by another case.
func TestNamesReachNoOtherField(t *testing.T) {
	var got *spelled
	run := func(_ context.Context, in spelled) (string, error) { got = &in; return "ran", nil }
	srv := newServer(t, WithTools(
		NewTool("open", "Has a schema that is not closed.", run, ToolOptions{InputSchema: openSchema}),
		NewTool("allowed", "Has a condition.", run, ToolOptions{InputSchema: openSchema, AllowWhen: []Condition{{When: `args.?rows.orValue(0) <= 1000`}}}),
		NewTool("raw", "Reads by itself.", func(_ context.Context, raw json.RawMessage) (string, error) {
			got = &spelled{}
			return "ran", json.Unmarshal(raw, got)
		}, ToolOptions{InputSchema: openSchema}),
	), WithGetenv(env("POLICY_FILE", writeFile(t, "", `rules: [{name: few, when: 'has(args.rows) && args.rows > 1000', then: deny}]`))))
	for _, c := range []struct{ args, fault string }{
		{`{"rows":1000,"other":{"Rows":1}}`, ""},
		{`{"map":{"Rows":{"rows":1},"rows":{"rows":2}}}`, ""},
		{`{"Rows":5000}`, "Rows: not known, it is spelled rows"},
		{`{"rows":1,"ROWS":5000}`, "ROWS: not known"},
		{`{"ROWS":5000,"rows":1}`, "ROWS: not known"},
		{`{"row\u017f":5000}`, "it is spelled rows"}, // the long s
		{`{"\u212aind":"x"}`, "it is spelled kind"},  // the Kelvin sign
		{`{"untagged":1}`, "it is spelled Untagged"},
		{`{"nested":{"rOws":5000}}`, "nested.rOws: not known"},
		{`{"list":[{"rows":1},{"Rows":5000}]}`, "list[1].Rows: not known"},
		{`{"map":{"a":{"Rows":5000}}}`, "map.a.Rows: not known"},
		{`{"self":{"Rows":5000}}`, "self.Rows: not known"},
		{`{"raw":{"Rows":5000}}`, "raw.Rows: not known"},
		{`{"rows":1,"rows":5000}`, "duplicate member"},
		{`{"nested":{"rows":1,"ro\u0077s":5000}}`, "duplicate member"},
	} {
		tools := []string{"open", "allowed", "raw"}
		if !strings.Contains(c.args, "ows") || c.fault == "" { // raw's schema does not know the other names, and holds those of all places to its own
			tools = tools[:2]
		}
		for _, tool := range tools {
			got = nil
			for _, w := range []wire{modern("tools/call", tool, `"name":"`+tool+`","arguments":`+c.args), legacy("2025-06-18", "tools/call", `"name":"`+tool+`","arguments":`+c.args)} {
				_, answer := w.send(t, srv.URL)
				if ran := got != nil; ran != (c.fault == "") || !strings.Contains(answer, c.fault) {
					t.Errorf("%s %s: ran %t with %+v: %s", tool, c.args, ran, got, answer)
				}
			}
		}
	}
}

// TestAnswersAreReadAsTheyAreSpelled: what a person answers is what a question's schema has seen.
func TestAnswersAreReadAsTheyAreSpelled(t *testing.T) {
	srv := newServer(t, WithTools(append(askingTools(), NewTool("count", "Asks for a number.", func(ctx context.Context, _ None) (string, error) {
		var c choice
		err := ask.Client(ctx, ask.Form("count", "How many?", &c))
		return fmt.Sprintf("count=%d", c.Count), err
	}), NewTool("pay", "Pays.", func(context.Context, None) (string, error) { return "paid", nil }, ToolOptions{ConfirmWhen: []Condition{{When: "true", Message: "Really?"}}}))...))
	for _, c := range []struct{ tool, args, key, answer string }{
		{"remove", `{"name":"x"}`, "sure", `{"action":"accept","content":{"confirm":false,"Confirm":true}}`},
		{"remove", `{"name":"x"}`, "sure", `{"action":"accept","content":{"confirm":false,"confirm":true}}`},
		{"remove", `{"name":"x"}`, "sure", `{"action":"decline","Action":"accept","content":{"confirm":true}}`},
		{"remove", `{"name":"x"}`, "sure", `{"action":"accept","content":{"confirm":false},"Content":{"confirm":true}}`},
		{"count", `{}`, "count", `{"action":"accept","content":{"color":"red","COUNT":0}}`},
		{"count", `{}`, "count", `{"action":"accept","content":{"color":"red","count":1,"Count":0}}`},
		{"pay", `{}`, "erlmcp.confirm.pay-1", `{"action":"accept","content":{"confirm":false,"CONFIRM":true}}`},
		{"pay", `{}`, "erlmcp.confirm.pay-1", `{"action":"decline","ACTION":"accept","content":{"confirm":true}}`},
		{"pay", `{}`, "erlmcp.confirm.pay-1", `{"action":"accept","content":{"confirm":true},"Action":"decline"}`},
	} {
		state := call(t, srv, c.tool, c.args, "").round(t).RequestState
		r := call(t, srv, c.tool, c.args, `,"inputResponses":{"`+c.key+`":`+c.answer+`},"requestState":"`+state+`"`).round(t)
		if _, again := r.InputRequests[c.key]; !again {
			t.Errorf("%s: %s is taken for an answer: %+v", c.tool, c.answer, r)
		}
	}
}

const exactSchema = `{"type":"object","properties":{"n":{"type":"integer","not":{"const":77}}}}`

// TestNumbersAreExact: rules, consent and a tool see the same number, or there is no call.
func TestNumbersAreExact(t *testing.T) {
	var got any
	type whole struct {
		N int64 `json:"n,omitempty"`
	}
	type unsigned struct {
		N uint64 `json:"n"`
	}
	type double struct {
		N float64 `json:"n"`
	}
	type single struct {
		N float32 `json:"n"`
	}
	type anything struct {
		N any `json:"n"`
	}
	only := func(schema string) ToolOptions {
		return ToolOptions{InputSchema: schema, AllowWhen: []Condition{{When: "args.?n.orValue(0) == 9007199254741000 || args.?n.orValue(0u) == 18446744073709551615u || args.?n.orValue(0.0) == 0.1 || args.?n.orValue(0) <= 1000"}}}
	}
	srv := newServer(t, WithTools(
		NewTool("int", "Takes a number.", func(_ context.Context, in whole) (string, error) { got = in.N; return "ran", nil }, only(exactSchema)),
		NewTool("uint", "Takes a number.", func(_ context.Context, in unsigned) (string, error) { got = in.N; return "ran", nil }, only(`{"type":"object"}`)),
		NewTool("float", "Takes a number.", func(_ context.Context, in double) (string, error) { got = in.N; return "ran", nil }, ToolOptions{InputSchema: `{"type":"object"}`}),
		NewTool("float32", "Takes a number.", func(_ context.Context, in single) (string, error) { got = in.N; return "ran", nil }, ToolOptions{InputSchema: `{"type":"object"}`}),
		NewTool("any", "Takes a number.", func(_ context.Context, in anything) (string, error) { got = in.N; return "ran", nil }, only(`{"type":"object"}`)),
		NewTool("map", "Takes a number.", func(_ context.Context, in map[string]any) (string, error) { got = in["n"]; return "ran", nil }, only("")),
	))
	const denied, misfit, unread = "refused by policy", "can't be held exactly", "-32602"
	for _, c := range []struct {
		tool, n string
		want    any    // that the tool got
		refused string // or why it was not called
	}{
		{"int", "9007199254741000", int64(9007199254741000), ""},
		{"int", "1000", int64(1000), ""},
		{"int", "9007199254741001", nil, denied},
		{"int", "9007199254740999", nil, denied},
		{"int", "-9007199254741000", int64(-9007199254741000), ""},
		{"int", "9007199254741000.0", int64(9007199254741000), ""},
		{"int", "9007199254740993.0", nil, unread},
		{"int", "1e400", nil, unread},
		{"int", "9223372036854775808", nil, denied},
		{"int", "77", nil, "do not fit"},
		{"uint", "18446744073709551615", uint64(18446744073709551615), ""},
		{"uint", "18446744073709551614", nil, denied},
		{"uint", "18446744073709551616", nil, unread},
		{"uint", "9007199254741001", nil, denied},
		{"float", "9007199254740992", float64(1 << 53), ""},
		{"float", "9007199254740993", nil, misfit},
		{"float", "18446744073709551615", nil, misfit},
		{"float", "6.02214076e23", 6.02214076e23, ""},
		{"float", "1152921504606847000", nil, misfit},
		{"float32", "16777216", float32(1 << 24), ""},
		{"float32", "16777217", nil, misfit},
		{"any", "9007199254741000", json.Number("9007199254741000"), ""},
		{"any", "9007199254741001", nil, denied},
		{"any", "0.1", json.Number("0.1"), ""},
		{"any", "123456789012345678901234567890", nil, unread},
		{"map", "9007199254741000", json.Number("9007199254741000"), ""},
		{"map", "9007199254741001", nil, denied},
	} {
		got = nil
		a := call(t, srv, c.tool, `{"n":`+c.n+`}`, "")
		answer := fmt.Sprintf("%s %v", a.Result, a.code())
		if a.Error != nil {
			answer += a.Error.Message
		}
		if got != c.want || !strings.Contains(answer, c.refused) {
			t.Errorf("%s of %s: got %v (%T), want %v; %s", c.tool, c.n, got, got, c.want, answer)
		}
	}
}

// TestMultiplesAreExact: what is divided is the number, not the double beside it.
func TestMultiplesAreExact(t *testing.T) {
	take := func(context.Context, json.RawMessage) (string, error) { return "ran", nil }
	srv := newServer(t, WithTools(
		NewTool("open", "Takes numbers.", take, ToolOptions{InputSchema: `{"type":"object","properties":{"even":{"multipleOf":2},"list":{"items":{"multipleOf":3}},"tenth":{"multipleOf":0.1}}}`}),
		NewTool("hidden", "Takes numbers.", take, ToolOptions{InputSchema: `{"type":"object","properties":{"even":{"anyOf":[{"multipleOf":2}]}}}`}),
	))
	for _, c := range []struct {
		tool, args string
		ran        bool
	}{
		{"open", `{"even":9007199254740994,"other":9007199254740993}`, true},
		{"open", `{"even":9007199254740993}`, false},
		{"open", `{"even":9007199254740995}`, false},
		{"open", `{"even":18446744073709551614}`, true},
		{"open", `{"even":18446744073709551615}`, false},
		{"open", `{"even":-9007199254740993}`, false},
		{"open", `{"list":[3,9007199254740994]}`, false},
		{"open", `{"tenth":9007199254740993}`, true},
		{"hidden", `{"even":4503599627370496}`, true},
		{"hidden", `{"even":4503599627370498}`, true},
		{"hidden", `{"even":9007199254740993}`, false},
	} {
		if r := call(t, srv, c.tool, c.args, "").round(t); r.IsError == c.ran {
			t.Errorf("%s %s: %+v", c.tool, c.args, r)
		}
	}
}

// TestConsentIsForOneNumber: state that was sealed for one number is of no use for its neighbour.
func TestConsentIsForOneNumber(t *testing.T) {
	var paid []int64
	pay := NewTool("pay", "Pays.", func(_ context.Context, in struct {
		Cents int64 `json:"cents"`
	}) (string, error) {
		paid = append(paid, in.Cents)
		return "paid", nil
	}, ToolOptions{ConfirmWhen: []Condition{{When: "args.cents > 9007199254740992", Message: "Really?"}}})
	srv := newServer(t, WithTools(pay))
	for _, c := range []struct{ asked, paid string }{
		{"9007199254740993", "9007199254740994"}, {"9007199254740994", "9007199254740993"}, {"9223372036854775807", "9223372036854775806"}, {"9007199254740995", "9007199254740996"},
		{"9223372036854775296", "9223372036854775807"}, {"9007199254740997", "-9007199254740997"},
	} {
		asked := call(t, srv, "pay", `{"cents":`+c.asked+`}`, "").round(t)
		if q := asked.InputRequests["erlmcp.confirm.pay-1"]; !strings.Contains(string(q.Params), c.asked) {
			t.Fatalf("%s: the person is asked %s", c.asked, q.Params)
		}
		yes := `,"inputResponses":{"erlmcp.confirm.pay-1":` + accepted + `},"requestState":"` + asked.RequestState + `"`
		if a := call(t, srv, "pay", `{"cents":`+c.paid+`}`, yes); a.code() != -32602 {
			t.Errorf("consent to %s paid %s: %s", c.asked, c.paid, a.Result)
		}
		paid = nil
		if call(t, srv, "pay", `{"cents":`+c.asked+`}`, yes); len(paid) != 1 || fmt.Sprint(paid[0]) != c.asked {
			t.Errorf("consent to %s paid %d", c.asked, paid)
		}
	}
}

// TestSchemasHoldTheirNumbers: a bound that a double does not hold stops the start.
func TestSchemasHoldTheirNumbers(t *testing.T) {
	none := func(context.Context, json.RawMessage) (string, error) { return "", nil }
	for _, schema := range []string{
		`{"type":"object","properties":{"n":{"maximum":9007199254740993}}}`, `{"type":"object","properties":{"n":{"minimum":-9007199254740993}}}`,
		`{"type":"object","properties":{"n":{"const":9007199254740993}}}`, `{"type":"object","properties":{"n":{"enum":[1,18446744073709551615]}}}`,
		`{"type":"object","properties":{"n":{"exclusiveMaximum":9223372036854775807}}}`, `{"type":"object","properties":{"n":{"anyOf":[{"minimum":1e400}]}}}`,
		`{"type":"object","properties":{"n":{"maximum":1,"maximum":5000}}}`,
	} {
		_, err := assemble(t.Context(), WithTools(NewTool("n", "Takes a number.", none, ToolOptions{InputSchema: schema})), WithGetenv(env()))
		if err == nil || !strings.Contains(err.Error(), "input schema") {
			t.Errorf("%s: %v", schema, err)
		}
	}
	type bounded struct {
		N int64 `json:"n" maximum:"9007199254740993"`
	}
	_, err := assemble(t.Context(), WithTools(NewTool("n", "Takes a number.", func(context.Context, bounded) (string, error) { return "", nil })), WithGetenv(env()))
	if err == nil || !strings.Contains(err.Error(), "can't be held exactly") {
		t.Error(err)
	}
}
