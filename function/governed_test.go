package function

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/directives"
)

// governed has a tool that may run once at a time, and one that may be called once in a while.
func governed(t *testing.T, opts ...Option) (url string, entered, leave chan struct{}) {
	entered, leave = make(chan struct{}, 8), make(chan struct{})
	tools := []Tool{
		NewAction("single", "One at a time.", func(ctx context.Context, _ None) error {
			entered <- struct{}{}
			select {
			case <-leave:
			case <-ctx.Done():
			}
			return nil
		}, ToolOptions{MaxConcurrent: 1}),
		NewTool("rare", "Two, and one every 0.4 s.", func(context.Context, None) (string, error) { return "here", nil }, ToolOptions{PerSecond: 2.5, Burst: 2}),
		NewTool("heavy", "Weighs three.", func(context.Context, None) (string, error) { return "here", nil }, ToolOptions{PerSecond: 1, Burst: 3, Weight: 3}),
	}
	return newServer(t, append([]Option{WithTools(tools...)}, opts...)...).URL, entered, leave
}

type refusalData struct {
	Reason, Scope, Limit, Receipt string
	RetryAfterMs                  int
}

func refused(t *testing.T, a answered) refusalData {
	t.Helper()
	var d refusalData
	if a.Error == nil {
		t.Fatal("not refused")
	}
	if err := json.Unmarshal(a.Error.Data, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestConcurrencyLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		url, entered, leave := governed(t)
		first := make(chan string)
		go func() {
			_, got := modern("tools/call", "single", `"name":"single"`).send(t, url)
			first <- got
		}()
		<-entered
		resp, got := modern("tools/call", "single", `"name":"single"`).send(t, url)
		a := parse(t, got)
		d := refused(t, a)
		if resp.StatusCode != 200 || a.code() != 1060 || d.Reason != "concurrency" || d.Scope != "tool:single" || d.Limit != "1" || d.RetryAfterMs <= 0 {
			t.Errorf("modern: %d %s", resp.StatusCode, got)
		}
		if string(a.ID) != `"one"` || d.Receipt != resp.Header.Get("X-Request-Id") {
			t.Errorf("id %s, receipt %s, request %s", a.ID, d.Receipt, resp.Header.Get("X-Request-Id"))
		}
		if resp.Header.Get("Retry-After") == "" || resp.Header.Get("RateLimit") != "" {
			t.Errorf("%v", resp.Header)
		}
		resp, got = legacy("2025-11-25", "tools/call", `"name":"single"`).send(t, url)
		if a := parse(t, got); resp.StatusCode != 200 || a.code() != 1060 || string(a.ID) != "1" {
			t.Errorf("legacy: %d %s", resp.StatusCode, got)
		}
		large := modern("tools/call", "single", `"name":"single","arguments":{"pad":"`+strings.Repeat("x", 1<<20)+`"}`)
		resp, got = large.send(t, url)
		if a := parse(t, got); resp.StatusCode != 200 || a.code() != 1060 || string(a.ID) != `"one"` || !resp.Close {
			t.Errorf("a large request: %d %s, connection kept: %t", resp.StatusCode, got, !resp.Close)
		}
		leave <- struct{}{}
		if got := <-first; !strings.Contains(got, "done") {
			t.Errorf("the first call: %s", got)
		}
		go func() { leave <- struct{}{} }()
		if _, got := modern("tools/call", "single", `"name":"single"`).send(t, url); !strings.Contains(got, "done") {
			t.Errorf("after the first has returned: %s", got)
		}
	})
}

func TestSlotComesBackHoweverACallEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		url, _, leave := governed(t)
		close(leave)
		call := modern("tools/call", "single", `"name":"single"`)
		for _, c := range []struct {
			name string
			send wire
			code int
		}{
			{"header mismatch", modern("tools/call", "single", `"name":"rare"`), -32020},
			{"not JSON", wire{header: call.header, body: "{"}, -32700},
			{"arguments do not fit", modern("tools/call", "single", `"name":"single","arguments":{"x":1}`), 0},
			{"no _meta", wire{header: call.header, body: `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"single"}}`}, -32602},
			{"notification", wire{header: call.header, body: `{"jsonrpc":"2.0","method":"tools/call","params":{"name":"single"}}`}, 0},
		} {
			resp, got := c.send.send(t, url)
			if resp.StatusCode != 202 && parse(t, got).code() != c.code {
				t.Errorf("%s: %s", c.name, got)
			}
			if _, got := call.send(t, url); !strings.Contains(got, "done") {
				t.Errorf("after %s the slot is gone: %s", c.name, got)
			}
		}
	})
}

func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		url, _, _ := governed(t)
		call := modern("tools/call", "rare", `"name":"rare"`)
		for range 2 {
			if _, got := call.send(t, url); !strings.Contains(got, "here") {
				t.Fatalf("within the burst: %s", got)
			}
		}
		resp, got := call.send(t, url)
		d := refused(t, parse(t, got))
		if resp.StatusCode != 200 || d.Reason != "rate" || d.Limit != "2.5/s" || d.RetryAfterMs < 1 || d.RetryAfterMs > 500 {
			t.Errorf("%d %s", resp.StatusCode, got)
		}
		if resp.Header.Get("RateLimit") != `"tool:rare";r=0;t=1` || resp.Header.Get("RateLimit-Policy") != `"tool:rare";q=2;w=1` {
			t.Errorf("%v", resp.Header)
		}
		// Who honours the wait gets in, and so does who honours the coarser header.
		time.Sleep(time.Duration(d.RetryAfterMs) * time.Millisecond)
		if _, got := call.send(t, url); !strings.Contains(got, "here") {
			t.Errorf("after retryAfterMs: %s", got)
		}
		resp, _ = call.send(t, url)
		seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(seconds) * time.Second)
		if _, got := call.send(t, url); !strings.Contains(got, "here") {
			t.Errorf("after Retry-After: %s", got)
		}
		heavy := modern("tools/call", "heavy", `"name":"heavy"`)
		if _, got := heavy.send(t, url); !strings.Contains(got, "here") {
			t.Errorf("%s", got)
		}
		if _, got := heavy.send(t, url); parse(t, got).code() != 1056 {
			t.Errorf("a call of weight 3 left tokens of 3: %s", got)
		}
	})
}

func TestBatchElementsAreAdmittedOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		url, _, _ := governed(t)
		one := func(id int) string {
			return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"rare"}}`, id)
		}
		w := legacy("", "", "")
		w.body = "[" + one(1) + "," + one(2) + "," + one(3) + "," + `{"jsonrpc":"2.0","id":4,"method":"ping"}` + "]"
		_, got := w.send(t, url)
		var answers []json.RawMessage
		if err := json.Unmarshal([]byte(got), &answers); err != nil || len(answers) != 4 {
			t.Fatal(got)
		}
		for i, want := range []int{0, 0, 1056, 0} {
			if parse(t, string(answers[i])).code() != want {
				t.Errorf("element %d: %s", i+1, answers[i])
			}
		}
	})
}

func TestLimitOnEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		url := newServer(t, WithGetenv(env("RATE_LIMIT_PER_SECOND", "2"))).URL
		call := modern("tools/call", "add", `"name":"add","arguments":{"a":1}`)
		admitted := func(w wire, times int) (n int) {
			for range times {
				if _, got := w.send(t, url); parse(t, got).code() != 1056 {
					n++
				}
			}
			return n
		}
		if n := admitted(call, 5); n != 1 {
			t.Errorf("%d of 5 calls at once under 2/s", n)
		}
		if n := admitted(modern("tools/list", "", ""), 50); n != 40 {
			t.Errorf("%d of 50 lists at once under 2/s: they are counted apart, and 40 may come at once", n)
		}
		time.Sleep(520 * time.Millisecond)
		if n := admitted(call, 2); n != 1 {
			t.Errorf("%d of 2 calls after as many lists as may be", n)
		}

		off := newServer(t, WithGetenv(env("RATE_LIMIT_PER_SECOND", "1", "GOVERNOR_ENABLED", "false"))).URL
		for range 5 {
			if _, got := call.send(t, off); parse(t, got).code() != 0 {
				t.Errorf("GOVERNOR_ENABLED=false refuses: %s", got)
			}
		}
	})
}

func TestUnknownNamesMakeNoKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		for i := range 200 {
			name := fmt.Sprint("made-up-", i)
			modern("tools/call", name, `"name":"`+name+`"`).send(t, s.URL)
		}
		if n := data(s.Server).Governor.Accounts(); n > 2 {
			t.Errorf("%d accounts", n)
		}
	})
}

// TestOrdersAndQuotasOutliveRedis has a fleet of two on an embedded Redis, which is emptied.
func TestOrdersAndQuotasOutliveRedis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := network.Redis(t)
		getenv := env("REDIS_URL", redis.URL)
		tools := WithTools(
			NewTool("scarce", "Three a day.", func(context.Context, None) (string, error) { return "here", nil }, ToolOptions{PerDay: 3}),
			NewTool("free", "No limit.", func(context.Context, None) (string, error) { return "here", nil }),
		)
		url := newServer(t, WithGetenv(getenv), WithMemory(NewInMemoryStore()), tools).URL
		scarce, free := modern("tools/call", "scarce", `"name":"scarce"`), modern("tools/call", "free", `"name":"free"`)
		for i := range 5 {
			resp, got := scarce.send(t, url)
			a := parse(t, got)
			if i < 3 {
				if a.code() != 0 {
					t.Fatalf("call %d of 3: %s", i+1, got)
				}
				continue
			}
			d := refused(t, a)
			if resp.StatusCode != 200 || a.code() != 1059 || d.Reason != "quota" || d.Limit != "3/day" || d.RetryAfterMs <= 0 || resp.Header.Get("Retry-After") == "" ||
				!strings.Contains(a.Error.Message, "midnight UTC") {
				t.Errorf("%d %s", resp.StatusCode, got)
			}
		}

		op, err := openOperator(t.Context(), WithGetenv(getenv), tools, onNetwork)
		if err != nil {
			t.Fatal(err)
		}
		defer op.Close()
		order := func(change func(*directives.Directives) error) {
			t.Helper()
			if _, err := op.Change(t.Context(), change); err != nil {
				t.Fatal(err)
			}
		}
		until := func(code int) {
			t.Helper()
			for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
				resp, got := free.send(t, url)
				a := parse(t, got)
				if a.code() == code {
					if code == 2041 && (resp.StatusCode != 200 || refused(t, a).Reason != "kill_switch" || !strings.Contains(a.Error.Message, "it leaks")) {
						t.Errorf("%d %s", resp.StatusCode, got)
					}
					return
				}
				if time.Since(begin) > 4*time.Second {
					t.Fatalf("want code %d: %s", code, got)
				}
			}
		}
		order(func(o *directives.Directives) error {
			return o.Kill(directives.Kill{Scope: "tool:free", Reason: "it leaks", At: time.Now()})
		})
		until(2041)
		redis.FlushAll()
		for range 10 {
			if _, got := free.send(t, url); parse(t, got).code() != 2041 {
				t.Errorf("a killed tool after Redis was emptied: %s", got)
			}
			time.Sleep(50 * time.Millisecond)
		}
		if _, got := scarce.send(t, url); parse(t, got).code() != 1059 {
			t.Errorf("a used up quota after Redis was emptied: %s", got)
		}
		for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) { // an instance puts its copy back
			o, err := op.Directives(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(o.Kills) == 1 {
				break
			}
			if time.Since(begin) > 2*time.Second {
				t.Fatal("the orders are still lost")
			}
		}
		order(func(o *directives.Directives) error { return o.Lift("tool:free") })
		until(0)

		rate := 0.01
		order(func(o *directives.Directives) error {
			return o.Override(directives.Override{Scope: "tool:free", Limits: directives.Limits{PerSecond: &rate}})
		})
		until(1056)
		list, instances, err := op.Limits(t.Context())
		if err == nil || !strings.Contains(err.Error(), "GOOGLE_CLOUD_PROJECT") { // the operator's own settings name no store
			t.Errorf("%v", err)
		}
		found := false
		for _, l := range list {
			found = found || l.Scope == "tool:free" && l.PerSecond == rate
		}
		if !found || instances != 1 {
			t.Errorf("%+v, %d instances", list, instances)
		}
		order(func(o *directives.Directives) error { return o.Reset("tool:free") })
		until(0)

		// A script that changes limits again and again is held up, and a kill switch never is.
		for i := range 30 {
			if _, err = op.Change(t.Context(), func(o *directives.Directives) error {
				return o.Override(directives.Override{Scope: "tool:free", Limits: directives.Limits{PerSecond: &rate}})
			}); err != nil {
				break
			}
			if i == 29 {
				t.Error("30 changes at once went through")
			}
		}
		if err != nil && !strings.Contains(err.Error(), "wait") {
			t.Error(err)
		}
		order(func(o *directives.Directives) error {
			return o.Kill(directives.Kill{Scope: "tool:free", Reason: "it leaks", At: time.Now()})
		})
		until(2041)
	})
}

func TestNewerFormatStopsTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := network.Redis(t)
		redis.HSet("{erlmcp}:epoch", "epoch", "1", "format", "2")
		s := start(t, WithGetenv(env("REDIS_URL", redis.URL)))
		if err := s.plane.(listens).Serve(t.Context(), network.Listen()); err == nil || !strings.Contains(err.Error(), "deploy the newer version") {
			t.Errorf("%v", err)
		}
	})
}

// TestNotReadyBeforeOrdersAreKnown has neither a Redis nor a store that answers.
func TestNotReadyBeforeOrdersAreKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Second) })      // so often the Redis client's goroutine that dials looks whether it is closed
		t.Setenv("FIRESTORE_EMULATOR_HOST", "127.0.0.1:1") // its library reads that for itself
		url := newServer(t, WithGetenv(env("REDIS_URL", "redis://127.0.0.1:1", "GOOGLE_CLOUD_PROJECT", "none"))).URL
		for path, want := range map[string]string{"/ready": "starting", "/health": `"taiea_ready":false`} {
			resp, err := fetch(t, url+path)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if (resp.StatusCode == 503) != (path == "/ready") || !strings.Contains(string(b), want) {
				t.Errorf("%s: %d %s", path, resp.StatusCode, b)
			}
		}
		begin := time.Now()
		resp, got := modern("tools/call", "echo", `"name":"echo"`).send(t, url)
		if a := parse(t, got); resp.StatusCode != 200 || a.code() != 1005 || resp.Header.Get("Retry-After") == "" {
			t.Errorf("%d %s", resp.StatusCode, got)
		}
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("refused after %v", took)
		}
	})
}

// TestStartupWaitsForRedis starts before its Redis can be reached, as with Direct VPC egress.
func TestStartupWaitsForRedis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := network.Redis(t)
		redis.Stop()
		url := newServer(t, WithMemory(NewInMemoryStore()), WithGetenv(env("REDIS_URL", redis.URL))).URL
		startup := func() (int, string) {
			resp, err := fetch(t, url+"/startup")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, _ := io.ReadAll(resp.Body)
			return resp.StatusCode, string(b)
		}
		if status, body := startup(); status != 503 || !strings.Contains(body, "Redis") {
			t.Errorf("before Redis: %d %s", status, body)
		}
		redis.Start()
		for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) { // as the platform asks again
			status, body := startup()
			if status == 200 && strings.Contains(body, `"degraded":[]`) {
				break
			}
			if time.Since(begin) > 2*time.Second {
				t.Fatalf("with Redis: %d %s", status, body)
			}
		}
	})
}

func TestBreakerOfATool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fails := true
		url := newServer(t, WithTools(NewTool("crm", "Calls out.", func(context.Context, None) (string, error) {
			if fails {
				return "", fmt.Errorf("the CRM is away: %w", ErrUnavailable)
			}
			return "here", nil
		}, ToolOptions{Upstream: "crm", Breaker: Breaker{Failures: 2, Rest: 300 * time.Millisecond}}))).URL
		call := modern("tools/call", "crm", `"name":"crm"`)
		for range 2 {
			if _, got := call.send(t, url); !strings.Contains(got, "the CRM is away") {
				t.Fatal(got)
			}
		}
		resp, got := call.send(t, url)
		if a := parse(t, got); resp.StatusCode != 200 || a.code() != 1086 || refused(t, a).Scope != "upstream:crm" {
			t.Errorf("%d %s", resp.StatusCode, got)
		}
		fails = false
		time.Sleep(310 * time.Millisecond)
		for range 3 {
			if _, got := call.send(t, url); parse(t, got).code() != 0 {
				t.Error(got)
			}
		}
	})
}

func TestTenantLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		url := newServer(t, WithGetenv(env("TENANT_RATE_LIMIT_PER_SECOND", "1", "CLIENT_MAX_CONCURRENT_CALLS", "1", "TENANT_CALLS_PER_DAY", "2")), WithTools(
			NewTool("free", "No limit.", func(context.Context, None) (string, error) { return "here", nil }))).URL
		call := modern("tools/call", "free", `"name":"free"`)
		if _, got := call.send(t, url); parse(t, got).code() != 0 {
			t.Fatal(got)
		}
		_, got := call.send(t, url)
		if d := refused(t, parse(t, got)); d.Scope != "tenant:anonymous" || d.Limit != "1/s" {
			t.Error(got)
		}
		time.Sleep(1200 * time.Millisecond)
		if _, got := call.send(t, url); parse(t, got).code() != 0 {
			t.Fatal(got)
		}
		time.Sleep(1200 * time.Millisecond)
		_, got = call.send(t, url)
		if d := refused(t, parse(t, got)); d.Scope != "tenant:anonymous" || d.Limit != "2/day" {
			t.Error(got)
		}
	})
}

func TestQuotaNeedsAStore(t *testing.T) {
	tool := NewAction("x", "X.", func(context.Context, None) error { return nil }, ToolOptions{PerDay: 5})
	_, err := assemble(t.Context(), WithGetenv(env("REDIS_URL", "redis://127.0.0.1:1")), WithTools(tool))
	if err == nil || !strings.Contains(err.Error(), "tool:x: calls a day") || !strings.Contains(err.Error(), "GOOGLE_CLOUD_PROJECT") {
		t.Errorf("%v", err)
	}
	if _, err = assemble(t.Context(), WithGetenv(env("REDIS_URL", "redis://127.0.0.1:1", "TENANT_CALLS_PER_DAY", "5"))); err == nil || !strings.Contains(err.Error(), "each-tenant") {
		t.Errorf("%v", err)
	}
}
