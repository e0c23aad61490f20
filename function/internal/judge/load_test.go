package judge

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestLoadIsHarmless sends to a server that has tools of all kinds: only those that read and need nothing are called, in both eras.
func TestLoadIsHarmless(t *testing.T) {
	const list = `{"tools":[
		{"name":"reads","inputSchema":{"type":"object","properties":{"a":{}}},"annotations":{"readOnlyHint":true}},
		{"name":"needs","inputSchema":{"type":"object","required":["a"]},"annotations":{"readOnlyHint":true}},
		{"name":"writes","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":false}},
		{"name":"silent","inputSchema":{"type":"object"}}]}`
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var mu sync.Mutex
	asked := map[string]int{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var m struct {
			Method string
			Params struct {
				Name      string
				Arguments map[string]any
			}
		}
		json.Unmarshal(body, &m)
		era := "legacy"
		if strings.Contains(string(body), "2026-07-28") {
			era = "modern"
		}
		mu.Lock()
		asked[strings.TrimSpace(era+" "+m.Method+" "+m.Params.Name)]++
		done := asked["legacy tools/call reads"] >= 30 && asked["modern tools/call reads"] >= 30
		mu.Unlock()
		if done {
			cancel()
		}
		if len(m.Params.Arguments) > 0 || r.Header.Get("Authorization") != "Bearer key" {
			t.Errorf("%s", body)
		}
		result := `{}`
		switch m.Method {
		case "initialize":
			result = `{"protocolVersion":"2025-11-25"}`
		case "tools/list":
			result = list
		case "notifications/initialized":
			w.WriteHeader(202)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":1,"result":%s}`, result)
	}))
	defer srv.Close()
	l := Load{URL: srv.URL, Token: func(context.Context) (string, error) { return "key", nil }, PerSecond: 1000, Name: "judge", Release: "1"}
	sent := l.Run(ctx)
	want := []string{"legacy initialize", "legacy notifications/initialized", "legacy tools/call reads", "legacy tools/list", "modern server/discover", "modern tools/call reads", "modern tools/list"}
	var got []string
	for name := range asked {
		got = append(got, name)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) || sent.Calls < 60 || sent.Failed > 0 {
		t.Errorf("%v, want %v; %+v", asked, want, sent)
	}
	if n := asked["legacy initialize"]; n < 2 {
		t.Errorf("clients begin %d times in %d calls: balancers may keep each at one server", n, sent.Calls)
	}
}

// TestLoadTellsOfRefusals: what operators have decided is no failure of the server, in whichever form it says so, and any other refusal is.
func TestLoadTellsOfRefusals(t *testing.T) {
	const tools = `"result":{"tools":[{"name":"reads","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}]}`
	for _, c := range []struct {
		name, list, call string
		refused          bool
		message          string
	}{
		{"a list", `"error":{"code":2001,"message":"unlisted","data":{"reason":"not_entitled"}}`, ``, true, "unlisted"},
		{"a call, by an error", tools, `"error":{"code":1056,"message":"too fast","data":{"reason":"rate"}}`, true, "too fast"},
		{"a call, by a result", tools, `"result":{"content":[{"type":"text","text":"too fast"}],"isError":true,"_meta":{"erlmcp/refusal":{"code":1056,"reason":"rate"}}}`, true, "too fast"},
		{"a server that has no room", tools, `"result":{"content":[{"type":"text","text":"no room"}],"isError":true,"_meta":{"erlmcp/refusal":{"code":1005,"reason":"backpressure"}}}`, false, "no room"},
		{"a tool that fails", tools, `"result":{"content":[{"type":"text","text":"broken"}],"isError":true}`, false, ""},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		calls := 0
		var mu sync.Mutex
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			answer := `"result":{"protocolVersion":"2025-11-25"}`
			w.Header().Set("Content-Type", "application/json")
			switch {
			case strings.Contains(string(body), "notifications/"):
				w.WriteHeader(202)
				return
			case strings.Contains(string(body), `"tools/list"`):
				answer = c.list
			case strings.Contains(string(body), `"tools/call"`):
				answer = c.call
			}
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":1,%s}`, answer)
			mu.Lock()
			defer mu.Unlock()
			if calls++; calls == 200 {
				cancel()
			}
		}))
		l := Load{URL: srv.URL, PerSecond: 1000, Name: "judge", Release: "1", Decided: func(reason string) bool { return reason == "not_entitled" || reason == "rate" }}
		sent := l.Run(ctx)
		cancel()
		srv.Close()
		said := ""
		if sent.Refusal != nil {
			said = sent.Refusal.Message
		} else if sent.Fault != nil {
			said = sent.Fault.Error()
		}
		if (sent.Refused > 0) != c.refused || (sent.Failed > 0) != (!c.refused && c.message != "") || !strings.Contains(said, c.message) || sent.Calls < 20 {
			t.Errorf("%s: %+v, %q", c.name, sent, said)
		}
	}
}

// TestLoadTellsOfFaults: calls that nobody answers are counted, and one of them is named.
func TestLoadTellsOfFaults(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	l := Load{URL: srv.URL, PerSecond: 100, Name: "judge", Release: "1"}
	if sent := l.Run(ctx); sent.Failed != sent.Calls || sent.Calls > 0 && (sent.Fault == nil || !strings.Contains(sent.Fault.Error(), "404")) {
		t.Errorf("%+v", sent)
	}
}
