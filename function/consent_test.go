package function

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/ask"
)

// anyArguments is a tool that a person must agree to, and counts its calls.
func anyArguments(ran *atomic.Int64, name string, opts ...ToolOptions) Tool {
	var o ToolOptions
	if len(opts) > 0 {
		o = opts[0]
	}
	o.ConfirmWhen = []Condition{{When: "true", Message: "Really?"}}
	return NewTool(name, "Pays.", func(context.Context, map[string]any) (string, error) {
		ran.Add(1)
		return "paid", nil
	}, o)
}

func consentText(t *testing.T, r round, key string) string {
	t.Helper()
	var p struct{ Message string }
	if err := json.Unmarshal(r.InputRequests[key].Params, &p); err != nil {
		t.Fatalf("%v: %+v", err, r)
	}
	return p.Message
}

// TestConsentShowsTheArguments: nothing that a caller writes hides what the person agrees to.
func TestConsentShowsTheArguments(t *testing.T) {
	var ran atomic.Int64
	srv := newServer(t, WithTools(anyArguments(&ran, "pay")))
	many := func(n int, value string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"a%03d":%s,`, i, value)
		}
		return b.String()
	}
	for _, c := range []struct{ name, args, want string }{
		{"no arguments", `{}`, `Really? Call pay?`},
		{"spaces in front", strings.Repeat(" ", 600) + `{` + strings.Repeat("\n", 600) + ` "amount" : 5000 }`, `Call pay with {"amount":5000}?`},
		{"in one order", `{"to":"m","amount":1e3,"z":null,"b":[true,false]}`, `with {"amount":1000,"b":[true,false],"to":"m","z":null}?`},
		{"a long text in front", `{"a":"` + strings.Repeat("x", 600) + `","amount":5000}`, `xxxx"… (520 more characters),"amount":5000}?`},
		{"of spaces", `{"a":"` + strings.Repeat(" ", 600) + `","amount":5000}`, ` "… (520 more characters),"amount":5000}?`},
		{"a long name", `{"` + strings.Repeat("a", 600) + `":1,"b":5000}`, `aaa"… (520 more characters):1,"b":5000}?`},
		{"nested", `{"order":{"a":"` + strings.Repeat("x", 600) + `","amount":5000}}`, `more characters),"amount":5000}}?`},
		{"a long list", `{"a":[` + strings.Repeat("1,", 99) + `2],"amount":5000}`, `1,1,… (80 more elements)],"amount":5000}?`},
		{"letters of many bytes", `{"a":"` + strings.Repeat("ü", 85) + `","b":"` + strings.Repeat("ü", 600) + `"}`, `üüü"… (520 more characters)}?`},
		{"many members", `{` + many(60, `"`+strings.Repeat("x", 100)+`"`) + `"z":5000}`, `"z":5000}?`},
		{"very many members", `{` + many(150, `"`+strings.Repeat("x", 100)+`"`) + `"z":5000}`, ``},
		{"a deep one", `{"a":` + strings.Repeat(`{"a":`, 60) + `5000` + strings.Repeat(`}`, 60) + `}`, `5000` + strings.Repeat(`}`, 61) + `?`},
		{"lists of lists", `{"a":[` + strings.Repeat(`["`+strings.Repeat("x", 90)+`","x","y"],`, 90) + `[]],"z":5000}`, `(71 more elements)],"z":5000}?`},
		{"text around", `{"a":"\u202e0005 tnuoma\u202c","b":"\u2066\u200b\ufeff"}`, `{"a":"\u202e0005 tnuoma\u202c","b":"\u2066\u200b\ufeff"}?`},
		{"controls", `{"a":"x\ny\tz\r\u0000\u001b[2J\u007f\u0085"}`, `{"a":"x\ny\tz\u000d\u0000\u001b[2J\u007f\u0085"}?`},
		{"quotes", `{"a":"\",\"amount\":1,\"b\":\"\\"}`, `{"a":"\",\"amount\":1,\"b\":\"\\"}?`},
		{"spaces like others", `{"a":"\u00a0\u2003\u3000\u2028\u2029\u3164\u2800"}`, `{"a":"\u00a0\u2003\u3000\u2028\u2029\u3164\u2800"}?`},
		{"tags", `{"a":"\udb40\udc41\ue000"}`, `{"a":"\u{e0041}\ue000"}?`},
		{"what left out looks like", `{"a":"b\"… (9 more characters)"}`, `{"a":"b\"… (9 more characters)"}?`},
		{"letters", `{"a":"größe 日本 😀"}`, `{"a":"größe 日本 😀"}?`},
	} {
		a := call(t, srv, "pay", c.args, "")
		if c.want == "" {
			if a.code() != 2001 || !strings.Contains(a.Error.Message, "can't be shown so many arguments") {
				t.Errorf("%s: %+v", c.name, a)
			}
			continue
		}
		if text := consentText(t, a.round(t), "erlmcp.confirm.pay-1"); !strings.HasSuffix(text, c.want) || len(text) > 4200 {
			t.Errorf("%s: %s, want %s", c.name, text, c.want)
		}
	}
	if ran.Load() > 0 {
		t.Error("called without consent")
	}
	docs := newServer(t, WithResources(documents(new([]string))...), WithGetenv(env("POLICY_FILE", writeFile(t, "", `rules: [{name: ask, then: confirm, message: "Sure?"}]`))))
	_, got := reading("", "doc://%61nn").send(t, docs.URL)
	if text := consentText(t, parse(t, got).round(t), "erlmcp.confirm.ask"); text != `Sure? Call doc://{name} with {"uri":"doc://ann"}?` {
		t.Error(text)
	}
	// A tool's own question.
	own := newServer(t, WithTools(NewTool("own", "Asks.", func(ctx context.Context, in map[string]any) (string, error) {
		var sure bool
		return "", ask.Client(ctx, ask.Confirm("sure", fmt.Sprint("Delete ", in["name"], "?\nما\u200cبین"), &sure))
	})))
	if text := consentText(t, call(t, own, "own", `{"name":"a\u202eb\u0007"}`, "").round(t), "sure"); text != `Delete a\u202eb\u0007?`+"\nما\u200cبین" {
		t.Errorf("%q", text)
	}
}

const yesToPay = `,"inputResponses":{"erlmcp.confirm.pay-1":` + accepted + `}`

// TestAnAnswerCountsOnce sends one yes again and again, at once and one after the other, to one instance and to another.
func TestAnAnswerCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := network.Redis(t)
		var ran atomic.Int64
		asking := func(name string) Tool {
			return NewTool(name, "Asks twice.", func(ctx context.Context, _ None) (string, error) {
				var sure, again bool
				if err := ask.Client(ctx, ask.Confirm("sure", "Sure?", &sure)); err != nil {
					return "", err
				}
				if err := ask.Client(ctx, ask.Confirm("again", "Again?", &again)); err != nil {
					return "", err
				}
				ran.Add(1)
				return "ran", nil
			})
		}
		both := NewTool("either", "Goes on after a no.", func(ctx context.Context, _ None) (string, error) {
			var sure bool
			if err := ask.Client(ctx, ask.Confirm("sure", "Sure?", &sure)); err != nil && err != ask.ErrDeclined {
				return "", err
			}
			ran.Add(1)
			return "ran", nil
		})
		options := []Option{WithTools(anyArguments(&ran, "pay"), anyArguments(&ran, "strict", ToolOptions{RequireReceipt: true}), asking("twice"), both), WithMemory(NewInMemoryStore()), WithGetenv(env("REDIS_URL", redis.URL))}
		first, second := newServer(t, options...), newServer(t, options...)
		synctest.Wait()
		state := func(r round) string { return `,"requestState":"` + r.RequestState + `"` }
		replay := func(name, tool, more string, want int64) {
			t.Helper()
			ran.Store(0)
			done := make(chan struct{})
			for i := range 20 {
				srv := []testServer{first, second}[i%2]
				go func() {
					defer func() { done <- struct{}{} }()
					_, got := modern("tools/call", tool, `"name":"`+tool+`","arguments":{}`+more).send(t, srv.URL)
					if !strings.Contains(got, "paid") && !strings.Contains(got, "ran") && !strings.Contains(got, "an answer counts once") && !strings.Contains(got, "input_required") {
						t.Errorf("%s: %s", name, got)
					}
				}()
			}
			for range 20 {
				<-done
			}
			if n := ran.Load(); n != want {
				t.Errorf("%s: ran %d times, want %d", name, n, want)
			}
		}
		for _, tool := range []string{"pay", "strict"} {
			yes := strings.Replace(yesToPay, "pay", tool, 1)
			replay(tool, tool, yes+state(call(t, first, tool, `{}`, "").round(t)), 1)
		}
		one := call(t, first, "twice", `{}`, "").round(t)
		sure := `,"inputResponses":{"sure":` + accepted + `}`
		two := call(t, second, "twice", `{}`, sure+state(one)).round(t)
		replay("the first answer", "twice", sure+state(one), 0)
		replay("both", "twice", `,"inputResponses":{"again":`+accepted+`}`+state(two), 1)
		replay("the state of both", "twice", state(two), 0)
		// A state is of no use for a second chain of questions.
		one = call(t, first, "twice", `{}`, "").round(t)
		two = call(t, first, "twice", `{}`, sure+state(one)).round(t)
		three := call(t, first, "twice", `{}`, state(two)).round(t) // asks again
		replay("asked again", "twice", `,"inputResponses":{"again":`+accepted+`}`+state(three), 1)
		replay("asked before", "twice", `,"inputResponses":{"again":`+accepted+`}`+state(two), 0)
		replay("a no", "either", `,"inputResponses":{"sure":{"action":"decline"}}`+state(call(t, first, "either", `{}`, "").round(t)), 1)

		old := call(t, first, "pay", `{}`, "").round(t)
		time.Sleep(15 * time.Minute)
		if a := call(t, first, "pay", `{}`, yesToPay+state(old)); a.code() != -32602 || !strings.Contains(a.Error.Message, "expired") {
			t.Errorf("too late: %+v", a)
		}
	})
}

// TestAnswersToOtherQuestions: an answer counts for the question that was put, and none without a state.
func TestAnswersToOtherQuestions(t *testing.T) {
	var ran atomic.Int64
	question := "Sure?"
	asks := NewTool("asks", "Asks.", func(ctx context.Context, _ None) (string, error) {
		var sure bool
		if err := ask.Client(ctx, ask.Confirm("sure", question, &sure)); err != nil {
			return "", err
		}
		ran.Add(1)
		return "ran", nil
	})
	policy := writeFile(t, "", `rules: [{name: ask, when: 'tool.name == "other"', then: confirm, message: "First?"}]`)
	srv := newServer(t, WithTools(asks, anyArguments(&ran, "pay"), NewTool("other", "Runs.", func(context.Context, None) (string, error) { ran.Add(1); return "ran", nil })), WithGetenv(env("POLICY_FILE", policy)))
	state := func(r round) string { return `,"requestState":"` + r.RequestState + `"` }
	sure := `,"inputResponses":{"sure":` + accepted + `}`
	ask := call(t, srv, "asks", `{}`, "").round(t)
	wrong := call(t, srv, "asks", `{}`, `,"inputResponses":{"else":`+accepted+`}`+state(ask)).round(t)
	for name, c := range map[string]struct{ tool, more string }{
		"a tool's question without a state":                 {"asks", sure},
		"a rule's question without a state":                 {"pay", yesToPay},
		"a rule's question of another name":                 {"pay", `,"inputResponses":{"erlmcp.confirm.pay-2":` + accepted + `}` + state(call(t, srv, "pay", `{}`, "").round(t))},
		"another's key":                                     {"asks", `,"inputResponses":{"erlmcp.confirm.pay-1":` + accepted + `}` + state(ask)},
		"no object":                                         {"asks", `,"inputResponses":{"sure":true}` + state(ask)},
		"the state alone":                                   {"asks", state(wrong)},
		"the operator's question, answered as a tool's own": {"other", sure + state(call(t, srv, "other", `{}`, "").round(t))},
	} {
		if r := call(t, srv, c.tool, `{}`, c.more).round(t); r.ResultType != "input_required" || ran.Load() > 0 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	question = "Sure of something else?"
	if r := call(t, srv, "asks", `{}`, sure+state(ask)).round(t); r.ResultType != "input_required" || ran.Load() > 0 {
		t.Errorf("a question that is another by now: %+v", r)
	}
	question = "Sure?"
	if r := call(t, srv, "asks", `{}`, sure+state(ask)).round(t); r.ResultType != "complete" || ran.Load() != 1 {
		t.Errorf("the question that was put: %+v", r)
	}
}

// TestAnswersWithoutRedis: a strict tool is not called on a guess, and another where this instance has not seen the answer.
func TestAnswersWithoutRedis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := network.Redis(t)
		t.Cleanup(func() { time.Sleep(time.Second) }) // so often the Redis client's goroutine that dials looks whether it is closed
		var ran atomic.Int64
		tools := WithTools(anyArguments(&ran, "pay"), anyArguments(&ran, "strict", ToolOptions{RequireReceipt: true}))
		ring := env()
		for _, c := range []struct {
			name         string
			getenv       func(string) string
			stop         bool
			pays, strict int64
		}{
			{"Redis is away", env("REDIS_URL", redis.URL, "GOVERNOR_ENABLED", "false"), true, 1, 0},
			{"Redis is there", env("REDIS_URL", redis.URL), false, 1, 1},
			{"none, and keys that others may have", ring, false, 1, 0},
			{"none, and a key of its own", func(name string) string {
				if name == "SEALING_KEYS" {
					return ""
				}
				return ring(name)
			}, false, 1, 1},
		} {
			redis.Start()
			srv := newServer(t, tools, WithMemory(NewInMemoryStore()), WithGetenv(c.getenv))
			synctest.Wait()
			for tool, want := range map[string]int64{"pay": c.pays, "strict": c.strict} {
				asked := call(t, srv, tool, `{}`, "").round(t)
				if c.stop {
					redis.Stop()
				}
				ran.Store(0)
				var said string
				for range 3 {
					r := call(t, srv, tool, `{}`, strings.Replace(yesToPay, "pay", tool, 1)+`,"requestState":"`+asked.RequestState+`"`).round(t)
					said += r.Content[0].Text + "\n"
				}
				if ran.Load() != want || want == 0 && strings.Count(said, "can't be found out") != 3 {
					t.Errorf("%s, %s: ran %d times: %s", c.name, tool, ran.Load(), said)
				}
				redis.Start()
			}
		}
	})
}
