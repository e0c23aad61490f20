package policy

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestExpressions holds values against what CEL's specification says of them, and whole numbers beyond what a double holds.
func TestExpressions(t *testing.T) {
	for _, c := range []struct {
		text  string
		scope []string
		vars  Scope
		want  any    // value
		fault string // of compiling or of evaluating
	}{
		{`body.daily.map(d, {'day': d.date, 'high': d.temp.max})`, AnswerScope, Scope{"body": map[string]any{"daily": []any{
			map[string]any{"date": "2026-01-02", "temp": map[string]any{"max": int64(9007199254740993)}}}}},
			[]any{map[string]any{"day": "2026-01-02", "high": int64(9007199254740993)}}, ""},
		{`body.items.filter(i, i.open).size()`, AnswerScope, Scope{"body": map[string]any{"items": []any{map[string]any{"open": true}, map[string]any{"open": false}}}}, int64(1), ""},
		{`body.?next.orValue(null)`, AnswerScope, Scope{"body": map[string]any{}}, nil, ""},
		{`body.?next`, AnswerScope, Scope{"body": map[string]any{"next": "x"}}, "x", ""},
		{`principal.tenant + "-" + args.id`, RequestScope, Scope{"principal.tenant": "acme", "args": map[string]any{"id": "7"}}, "acme-7", ""},
		{`uint(18446744073709551615u)`, AnswerScope, Scope{}, uint64(18446744073709551615), ""},
		{`timestamp("2026-01-02T03:04:05Z")`, AnswerScope, Scope{}, "2026-01-02T03:04:05Z", ""},
		{`duration("90s")`, AnswerScope, Scope{}, "1m30s", ""},
		{`body.missing`, AnswerScope, Scope{"body": map[string]any{}}, nil, "no such key: missing"},
		{`{1: "a"}`, AnswerScope, Scope{}, nil, "has names for keys"},
		{`1.0 / 0.0`, AnswerScope, Scope{}, nil, "no number of JSON"},
		{`b"x"`, AnswerScope, Scope{}, nil, "a bytes is no value of JSON"},
		{`body.map(a, body.map(b, body.map(c, body.map(d, 1))))`, AnswerScope, Scope{"body": make([]any, 1000)}, nil, "cost limit exceeded"},
		{`principal.tenant`, AnswerScope, nil, nil, "there are the variables body, args"},
		{`body`, RequestScope, nil, nil, "there are the variables principal.tenant"},
		{`args.`, RequestScope, nil, nil, "Syntax error"},
	} {
		e, err := CompileExpression(c.text, c.scope)
		var got any
		if err == nil {
			got, err = e.Value(t.Context(), c.vars)
		}
		switch {
		case c.fault != "":
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%s: %v, %v, want a fault with %q", c.text, got, err, c.fault)
			}
		case err != nil || !reflect.DeepEqual(got, c.want):
			t.Errorf("%s: %#v, %v, want %#v", c.text, got, err, c.want)
		default:
			if _, err := json.Marshal(got); err != nil {
				t.Errorf("%s: %v", c.text, err)
			}
		}
	}
}

// TestExpressionsAreBounded evaluates what would take all memory, or longer than a call has.
func TestExpressionsAreBounded(t *testing.T) {
	long := strings.Repeat("y", 1<<20)
	many := make([]any, 20_000)
	for i := range many {
		many[i] = long[:i%100]
	}
	for _, text := range []string{"args.s.replace('y', args.s)", "args.s.replace('', args.s, 100000)", "['', '', '', args.s, args.s].map(x, args.s).join(args.s + args.s + args.s + args.s)",
		"body.map(x, args.s).join()", "body.map(x, x).join(args.s)"} {
		e, err := CompileExpression(text, AnswerScope)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Value(t.Context(), Scope{"body": many, "args": map[string]any{"s": long}}); err == nil || !strings.Contains(err.Error(), "more than 16 MiB") {
			t.Errorf("%s: %v", text, err)
		}
	}
	for text, want := range map[string]string{
		"'abab'.replace('b', 'cc')": "accacc", "'abab'.replace('b', 'c', 1)": "acab", "'ab'.replace('', '-')": "-a-b-", "'ab'.replace('b', 'c', -1)": "ac", "'ab'.replace('b', 'c', 0)": "ab",
		"['a', 'b'].join()": "ab", "['a', 'b'].join(', ')": "a, b", "body.map(x, x).join('')": "xyz", "[].join('-')": "",
	} {
		e, err := CompileExpression(text, AnswerScope)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := e.Value(t.Context(), Scope{"body": []any{"x", "yz"}, "args": map[string]any{}}); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", text, got, err, want)
		}
	}
	slow, err := CompileExpression("body.map(x, body.filter(y, y == x))", AnswerScope)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	start := time.Now()
	if _, err := slow.Value(ctx, Scope{"body": many, "args": map[string]any{}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}
