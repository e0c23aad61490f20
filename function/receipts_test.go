package function

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/cloudkms"
	"example.com/erlmcp/function/internal/cloudkms/cloudkmstest"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/verify"
	"example.com/erlmcp/function/internal/seal"
)

// shaky is a store that can be taken away.
type shaky struct {
	receipt.Store
	away atomic.Bool
}

func (s *shaky) PutSegment(ctx context.Context, seg *receipt.Segment) error {
	if s.away.Load() {
		return errors.New("the store is away")
	}
	return s.Store.PutSegment(ctx, seg)
}

// recorded serves tools on a store that the test has.
func recorded(t *testing.T, tools []Tool, opts ...Option) (url string, store *shaky, end func()) {
	t.Helper()
	store = &shaky{}
	s := start(t, append([]Option{WithLoopback(), WithTools(tools...), func(o *Options) {
		o.stand.Receipts = func(s receipt.Store) receipt.Store { store.Store = s; return store }
	}}, opts...)...)
	return s.URL, store, s.Close
}

func find(t *testing.T, store receipt.Store, id string) []receipt.Receipt {
	t.Helper()
	all, report, err := verify.Find(context.Background(), store, id, nil)
	if err != nil || !report.OK() {
		t.Fatalf("%s: %v %v", id, err, report)
	}
	return all
}

// sum is the hash of what the tenant local sends or gets, under the keys that tests have.
func sum(t *testing.T, text string) string {
	t.Helper()
	ring, err := seal.ParseRing(testKey(1))
	if err != nil {
		t.Fatal(err)
	}
	return receipt.NewHasher(ring.Derive("hashes in receipts")...).Hash("local", []byte(text)).String()
}

func TestEveryDecisionHasItsReceipt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const took = 30 * time.Millisecond // by the bubble's clock, only what sleeps takes time
		nap := NewTool("nap", "Adds slowly.", func(_ context.Context, in pair) (pair, error) { time.Sleep(took); return pair{A: in.A + in.B}, nil })
		url, store, end := recorded(t, append(wireTools(), nap, NewTool("rare", "Once.", func(context.Context, None) (string, error) { return "here", nil }, ToolOptions{PerSecond: 0.01, Burst: 1})))
		const arguments, nulls = `{"a":1,"b":2}`, `{ "b" : null, "a": 1 }`
		const large, larger = `{"n":9007199254740992}`, `{"n":9007199254740993}`
		cases := []struct {
			name                         string
			send                         wire
			kind                         receipt.Kind
			method, tool, reason, limit  string
			era, arguments, resultMember string
		}{
			{"modern", modern("tools/call", "nap", `"name":"nap","arguments":`+arguments), receipt.Completed, "tools/call", "nap", "", "", "2026-07-28", arguments, "result"},
			{"legacy", legacy("2025-11-25", "tools/call", `"name":"nap","arguments":`+arguments), receipt.Completed, "tools/call", "nap", "", "", "2025-11-25", arguments, "result"},
			{"nulls for what is not set", modern("tools/call", "nap", `"name":"nap","arguments":`+nulls), receipt.Completed, "tools/call", "nap", "", "", "2026-07-28", nulls, "result"},
			{"large numbers", modern("tools/call", "fail", `"name":"fail","arguments":`+large), receipt.Failed, "tools/call", "fail", "tool_failed", "", "2026-07-28", large, "result"},
			{"their neighbours", modern("tools/call", "fail", `"name":"fail","arguments":`+larger), receipt.Failed, "tools/call", "fail", "tool_failed", "", "2026-07-28", larger, "result"},
			{"list", modern("tools/list", "", ""), receipt.Completed, "tools/list", "", "", "", "2026-07-28", "", "result"},
			{"first of its rate", modern("tools/call", "rare", `"name":"rare"`), receipt.Completed, "tools/call", "rare", "", "", "2026-07-28", "", "result"},
			{"beyond its rate", modern("tools/call", "rare", `"name":"rare"`), receipt.Refused, "tools/call", "rare", "rate", "tool:rare 0.01/s", "", "", ""},
			{"beyond its rate, legacy", legacy("2025-11-25", "tools/call", `"name":"rare"`), receipt.Refused, "tools/call", "rare", "rate", "tool:rare 0.01/s", "2025-11-25", "", ""},
			{"a tool that fails", modern("tools/call", "fail", `"name":"fail"`), receipt.Failed, "tools/call", "fail", "tool_failed", "", "2026-07-28", "", "result"},
			{"a tool that panics", modern("tools/call", "panic", `"name":"panic"`), receipt.Failed, "tools/call", "panic", "panicked", "", "2026-07-28", "", ""},
			{"an unknown tool", modern("tools/call", "sesame", `"name":"sesame"`), receipt.Failed, "tools/call", "", "failed", "", "2026-07-28", "", ""},
			{"a body unlike its headers", modern("tools/call", "add", `"name":"list"`), receipt.Failed, "tools/call", "add", "invalid", "", "", "", ""},
		}
		ids, answers, sent := make([]string, len(cases)), make([]string, len(cases)), make([]time.Time, len(cases))
		for i, c := range cases {
			sent[i] = time.Now()
			resp, got := c.send.send(t, url)
			ids[i], answers[i] = resp.Header.Get("X-Request-Id"), got
		}
		end() // and all is stored
		counted := 0
		for i, c := range cases {
			all := find(t, store, ids[i])
			if c.name == "beyond its rate, legacy" { // in the second of the one before
				if len(all) == 0 {
					counted++
					continue
				}
			}
			if len(all) != 1 {
				t.Errorf("%s: %d receipts: %+v", c.name, len(all), all)
				continue
			}
			r := all[0]
			if r.Kind != c.kind || r.Method != c.method || r.Tool != c.tool || r.Reason != c.reason || r.Limit != c.limit || r.Era != c.era {
				t.Errorf("%s: %+v", c.name, r)
			}
			if r.Tenant != "local" || len(r.Principal) != 32 || strings.Contains(r.Principal, "local") || len(r.Catalog) != 16 {
				t.Errorf("%s: tenant %q, principal %q, catalog %q", c.name, r.Tenant, r.Principal, r.Catalog)
			}
			wantArguments, wantResult := "", ""
			if c.arguments != "" {
				wantArguments = sum(t, c.arguments)
			}
			if c.resultMember != "" {
				var a map[string]json.RawMessage
				if err := json.Unmarshal([]byte(answers[i]), &a); err != nil {
					t.Fatal(err)
				}
				wantResult = sum(t, string(a[c.resultMember]))
			}
			if r.Arguments.String() != wantArguments || r.Result.String() != wantResult {
				t.Errorf("%s: hashes %s %s, want %s %s", c.name, r.Arguments, r.Result, wantArguments, wantResult)
			}
			want := time.Duration(0)
			if c.tool == "nap" {
				want = took
			}
			if !r.Time.Equal(sent[i]) || r.Duration != want {
				t.Errorf("%s: at %v, for %v, want at %v, for %v", c.name, r.Time, r.Duration, sent[i], want)
			}
		}
		if counted != 1 {
			t.Error("the second refusal of a second has a receipt of its own")
		}
		report, err := verify.Store(t.Context(), store, verify.Options{})
		if err != nil || !report.OK() || report.Receipts != int64(len(cases)-counted)+1 { // and the end of the chain
			t.Errorf("%v\n%v", err, report)
		}
	})
}

func TestStrictToolsWaitForTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		var store *shaky
		known := make(chan int, 1)
		strict := NewTool("pay", "Pays.", func(ctx context.Context, _ None) (string, error) {
			calls.Add(1)
			n := 0
			for r, err := range verify.Select(ctx, store, "", time.Time{}, time.Time{}) {
				if err == nil && r.Kind == receipt.Admitted && r.Tool == "pay" {
					n++
				}
			}
			known <- n
			return "paid", nil
		}, ToolOptions{RequireReceipt: true})
		url, store2, end := recorded(t, append(wireTools(), strict))
		store = store2
		pay := modern("tools/call", "pay", `"name":"pay"`)
		resp, got := pay.send(t, url)
		if resp.StatusCode != 200 || calls.Load() != 1 {
			t.Fatalf("%d %s", resp.StatusCode, got)
		}
		if n := <-known; n != 1 {
			t.Errorf("when the tool was called, %d receipts of its intent were stored", n)
		}
		paid := resp.Header.Get("X-Request-Id")

		store.away.Store(true)
		resp, got = pay.send(t, url)
		if a := parse(t, got); a.code() != 1005 || calls.Load() != 1 || !strings.Contains(got, "recorded") {
			t.Errorf("while the store is away: %d %s, %d calls", resp.StatusCode, got, calls.Load())
		}
		if resp, got := modern("tools/call", "add", `"name":"add","arguments":{"a":1,"b":2}`).send(t, url); resp.StatusCode != 200 {
			t.Errorf("a tool that is not strict: %d %s", resp.StatusCode, got)
		}
		if _, got := get(t, url+"/ready"); !strings.Contains(got, "receipts: the store does not take them") {
			t.Errorf("/ready: %s", got)
		}
		store.away.Store(false)
		within(t, 2*time.Second, func() (wrong string) {
			if resp, got := pay.send(t, url); resp.StatusCode != 200 {
				return fmt.Sprintf("strict calls are not taken again: %d %s", resp.StatusCode, got)
			}
			return ""
		})
		end()
		var kinds []string
		for _, r := range find(t, store, paid) {
			kinds = append(kinds, string(r.Kind))
		}
		if strings.Join(kinds, " ") != "admitted completed" {
			t.Errorf("a strict call left %q", kinds)
		}
		if report, err := verify.Store(t.Context(), store, verify.Options{}); err != nil || !report.OK() || report.Lost != 0 {
			t.Errorf("%v\n%v", err, report)
		}
	})
}

// TestLongCallsAreKnownWhileTheyRun wants the receipt of a call's admission before the call ends, if that takes its time.
func TestLongCallsAreKnownWhileTheyRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leave := make(chan struct{})
		url, store, end := recorded(t, []Tool{NewAction("long", "Waits.", func(context.Context, None) error { <-leave; return nil })})
		answered := make(chan string, 1)
		go func() {
			_, got := modern("tools/call", "long", `"name":"long"`).send(t, url)
			answered <- got
		}()
		kinds := func() (all []string) {
			for r, err := range verify.Select(context.Background(), store, "", time.Time{}, time.Time{}) {
				if err != nil {
					t.Fatal(err)
				}
				if r.Tool == "long" {
					all = append(all, string(r.Kind))
				}
			}
			return all
		}
		// The receipt is written when the call has run for a second, and stored within another.
		time.Sleep(999 * time.Millisecond)
		synctest.Wait()
		if got := kinds(); got != nil {
			t.Errorf("of a call that is not long yet: %q", got)
		}
		time.Sleep(1001 * time.Millisecond)
		synctest.Wait()
		if got := strings.Join(kinds(), " "); got != "admitted" {
			t.Errorf("after 2 s: %q", got)
		}
		close(leave)
		<-answered
		end()
		if got := strings.Join(kinds(), " "); got != "admitted completed" {
			t.Errorf("at the end: %s", got)
		}
	})
}

func TestReceiptSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			env  []string
			want string
		}{
			"no store":     {[]string{"RECEIPTS", "true", "REDIS_URL", "redis://127.0.0.1:1"}, "GOOGLE_CLOUD_PROJECT"},
			"no boolean":   {[]string{"RECEIPTS", "yes"}, "RECEIPTS"},
			"no such file": {[]string{"RECEIPT_KEY_FILE", "/nowhere/key.pem"}, "RECEIPT_KEY_FILE"},
			"no key":       {[]string{"RECEIPT_KEY_FILE", "receipts_test.go"}, "RECEIPT_KEY_FILE"},
			"no version":   {[]string{"RECEIPT_KMS_KEY", "receipts"}, "RECEIPT_KMS_KEY"},
			"two keys":     {[]string{"RECEIPT_KMS_KEY", cloudkmstest.Key, "RECEIPT_KEY_FILE", "receipts_test.go"}, "RECEIPT_KMS_KEY"},
		} {
			_, err := assemble(t.Context(), WithGetenv(env(c.env...)), WithLoopback(), WithLogger(logTo(t)), onNetwork)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		url, store, end := recorded(t, wireTools(), WithGetenv(env("RECEIPTS", "false")))
		modern("tools/list", "", "").send(t, url)
		end()
		for range verify.Select(context.Background(), store, "", time.Time{}, time.Time{}) {
			t.Fatal("RECEIPTS=false records")
		}
	})
}

// standIn has a server use a test's Cloud KMS, which the network of the tests reaches.
func standIn(t *testing.T, kms *cloudkmstest.KMS) Option {
	endpoint, client := network.Serve(t, kms), network.Client(t)
	return func(o *Options) {
		o.stand.KMS = func(k *cloudkms.Options) {
			k.Endpoint, k.Client, k.Token = endpoint, client, func(context.Context) (string, error) { return cloudkmstest.Token, nil }
		}
	}
}

// TestReceiptsSignedByKMS proves what a server has recorded by the public key that Cloud KMS shows.
func TestReceiptsSignedByKMS(t *testing.T) {
	kms := cloudkmstest.NewKMS(t)
	synctest.Test(t, func(t *testing.T) {
		url, store, end := recorded(t, wireTools(), standIn(t, kms), WithGetenv(env("RECEIPT_KMS_KEY", cloudkmstest.Key)))
		modern("tools/list", "", "").send(t, url)
		end()
		keys, err := receipt.ParseKeys(kms.PEM)
		if err != nil {
			t.Fatal(err)
		}
		report, err := verify.Store(t.Context(), store, verify.Options{Keys: keys.Keys})
		if err != nil || !report.OK() || report.Receipts != 2 || report.Roots != 1 || kms.Signed() != 2 { // with the end of the chain, and the root that holds it
			t.Errorf("%v, %v, %d signatures", err, report, kms.Signed())
		}
		other, _, _ := ed25519.GenerateKey(nil)
		if report, err := verify.Store(t.Context(), store, verify.Options{Keys: []ed25519.PublicKey{other}}); err != nil || report.OK() {
			t.Errorf("by another key: %v, %v", err, report)
		}
	})
}

// TestNoStartWithoutTheKey wants both functions to refuse to start where Cloud KMS does, or says nothing for 5 s.
func TestNoStartWithoutTheKey(t *testing.T) {
	for name, c := range map[string]struct {
		meddle cloudkmstest.Meddle
		want   string
		took   time.Duration
	}{
		"denied": {func(_ string, w http.ResponseWriter, _ *http.Request, _ map[string]any) bool {
			cloudkmstest.Refuse(w, 403, "PERMISSION_DENIED", "no", "")
			return true
		}, "roles/cloudkms.signerVerifier", 0},
		"slow": {func(_ string, _ http.ResponseWriter, r *http.Request, _ map[string]any) bool {
			<-r.Context().Done()
			return true
		}, "no answer of Cloud KMS in time", 5 * time.Second},
	} {
		for _, target := range []string{"erlmcp", "taiea"} {
			t.Run(name+" "+target, func(t *testing.T) {
				kms := cloudkmstest.NewKMS(t)
				kms.Meddle(c.meddle)
				synctest.Test(t, func(t *testing.T) {
					begun := time.Now()
					_, err := assemble(t.Context(), WithLoopback(), WithMemory(NewInMemoryStore()), WithLogger(logTo(t)), onNetwork, standIn(t, kms),
						WithGetenv(env("RECEIPT_KMS_KEY", cloudkmstest.Key, "FUNCTION_TARGET", target, "AUTHENTICATION", "anonymous")))
					var start *StartError
					if !errors.As(err, &start) || !strings.Contains(err.Error(), "RECEIPT_KMS_KEY: ") || !strings.Contains(err.Error(), c.want) {
						t.Error(err)
					}
					if took := time.Since(begun); took != c.took {
						t.Errorf("it took %v, want %v", took, c.took)
					}
				})
			})
		}
	}
}

// TestReceiptsInTheLog wants a record in the log of each receipt of a request, by its id.
func TestReceiptsInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text safeBuffer
		logger := slog.New(slog.NewJSONHandler(&text, nil))
		url, _, end := recorded(t, append(wireTools(), NewTool("rare", "Once.", func(context.Context, None) (string, error) { return "here", nil }, ToolOptions{PerSecond: 0.01, Burst: 1})), WithLogger(logger))
		var ids []string
		for range 3 {
			resp, _ := modern("tools/call", "rare", `"name":"rare"`).send(t, url)
			ids = append(ids, resp.Header.Get("X-Request-Id"))
		}
		end()
		for _, id := range ids { // the third refusal, counted in another, too
			if n := strings.Count(text.String(), id); n != 1 {
				t.Errorf("%s is in the log %d times:\n%s", id, n, &text)
			}
		}
	})
}

// TestAnchoredWithoutAnnouncements: what can't be read of what instances announce, or a Redis that is away, keeps no chain from
// being anchored.
func TestAnchoredWithoutAnnouncements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := network.Redis(t)
		memory := NewInMemoryStore()
		s := newServer(t, WithMemory(memory), WithGetenv(env("REDIS_URL", redis.URL)))
		modern("tools/call", "add", `"name":"add","arguments":{"a":1}`).send(t, s.URL)
		time.Sleep(1500 * time.Millisecond) // and its receipt is stored
		redis.HSet("{erlmcp}:heads", "someone", "garbage")
		if err := data(s.Server).Recorder.AnchorOnce(t.Context()); err == nil || !strings.Contains(err.Error(), "can't be read: garbage") {
			t.Errorf("an announcement that can't be read: %v", err)
		}
		root, err := memory.memory.Receipts.LastRoot(t.Context())
		if err != nil || root == nil {
			t.Fatalf("no root: %v", err)
		}
	})
}

// TestInvalidRequestsCount wants a request with params that can't be used counted under the limits of what it is about, and recorded, in
// either era and in a batch.
func TestInvalidRequestsCount(t *testing.T) {
	batch := func(element string) wire {
		w := legacy("", "", "")
		w.body = "[" + element + "]"
		return w
	}
	request := func(method, params string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":{` + params + `}}`
	}
	type eras map[string]wire
	of := func(method, name, params string) eras {
		return eras{"2026-07-28": modern(method, name, params), "2025-11-25": legacy("2025-11-25", method, params), "none": legacy("", method, params), "batch": batch(request(method, params))}
	}
	for _, c := range []struct {
		name         string
		send         eras
		method, tool string
		code         int
	}{
		{"arguments of a tool", of("tools/call", "rare", `"name":"rare","arguments":[1]`), "tools/call", "rare", 1056},
		{"another member", of("tools/call", "rare", `"name":"rare","_meta":{"traceparent":1},"requestState":1`), "tools/call", "rare", 1056},
		{"a list", of("tools/list", "", `"cursor":1`), "tools/list", "", 1056},
		{"no tool", of("tools/call", "", `"arguments":{}`), "tools/call", "", 1056},
		{"no method of the protocol", of("tools/dance", "", `"name":1`), "", "", 1056},
		{"initialize in a batch", eras{"batch": batch(request("initialize", ""))}, "initialize", "", 1056},
		{"no request in a batch", eras{"batch": batch(`{"jsonrpc":"2.0","id":1}`)}, "-", "", 1056},
	} {
		for era, w := range c.send {
			t.Run(c.name+", "+era, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					url, store, end := recorded(t, []Tool{NewTool("rare", "Once.", func(context.Context, None) (string, error) { return "here", nil }, ToolOptions{PerSecond: 0.01, Burst: 1})},
						WithGetenv(env("RATE_LIMIT_PER_SECOND", "10")))
					var first string
					code, sent := 0, 0
					for ; code != c.code && sent < 100; sent++ {
						resp, got := w.send(t, url)
						code = parse(t, strings.Trim(got, "[]\n")).code()
						if first == "" {
							first = resp.Header.Get("X-Request-Id")
							if code > -32600 || code < -32700 {
								t.Fatalf("it is not invalid: %s", got)
							}
						}
					}
					most := 50 // of what is no call, 40 come at once
					if c.tool != "" {
						most = 2
					} else if era == "batch" {
						most = 25 // itself, and its element
					}
					if sent > most {
						t.Errorf("%d were sent, and the last got %d, want %d", sent, code, c.code)
					}
					end()
					all := find(t, store, first)
					if c.method == "-" {
						if len(all) != 0 {
							t.Errorf("%+v", all)
						}
						return
					}
					if len(all) != 1 || all[0].Kind != receipt.Failed || all[0].Reason != "invalid" || all[0].Method != c.method || all[0].Tool != c.tool || all[0].Tenant != "local" {
						t.Errorf("receipts of the first: %+v", all)
					}
				})
			})
		}
	}
}
