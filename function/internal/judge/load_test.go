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
