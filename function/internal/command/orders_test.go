package command_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// TestOrdersThroughTaiea gives orders where TAIEA_URL names a control plane.
func TestOrdersThroughTaiea(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	taiea := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, strings.TrimSpace(fmt.Sprint(r.Method, " ", r.RequestURI, " ", r.Header.Get("If-Match"), " ", string(body))))
		say := func(status int, text string) {
			w.WriteHeader(status)
			io.WriteString(w, text)
		}
		switch {
		case r.Header.Get("Authorization") != "Bearer the-key":
			say(401, `{"detail":"say who you are"}`)
		case r.URL.Path == "/v1/kills" && r.URL.Query().Get("after") == "":
			say(200, `{"kills":[{"scope":"tool:a","reason":"\u001b[2J\u202eit leaks","at":"2026-11-24T12:00:00Z"}],"next":"tool:a","warnings":["in Redis alone: tool:a"]}`)
		case r.URL.Path == "/v1/kills":
			say(200, `{"kills":[{"scope":"tool:b","reason":"slow","at":"2026-11-24T12:00:00Z","until":"2026-11-25T12:00:00Z"}]}`)
		case r.URL.Path == "/v1/kills/tool:moved":
			http.Redirect(w, r, "http://elsewhere.example/", http.StatusTemporaryRedirect)
		case r.URL.Path == "/v1/kills/tool:typo":
			say(201, `{"scope":"tool:typo","warnings":["nothing is known here by the name of \"tool:typo\""]}`)
		case r.URL.Path == "/v1/kills/tool:bad":
			say(400, `{"detail":"invalid","faults":["reason: is missing: callers read it"]}`)
		case r.Method == "GET" && r.URL.Path == "/v1/limits/tool:a":
			say(200, `{"scope":"tool:a","override":{"scope":"tool:a","perSecond":5,"perDay":9,"etag":"\"e1\""}}`)
		case r.Method == "GET" && r.URL.Path == "/v1/limits/tool:new":
			say(404, `{"detail":"there is no limit"}`)
		case r.URL.Path == "/v1/limits":
			say(200, `{"limits":[{"scope":"tool:a","perSecond":5,"burst":1,"concurrency":8,"slots":4,"used":1,"today":null,"override":{"perSecond":5,"etag":"e"}}],"instances":2}`)
		default:
			say(200, `{"scope":"x"}`)
		}
	}))
	defer taiea.Close()
	with := []string{"TAIEA_URL=" + taiea.URL, "TAIEA_KEY=the-key"}
	for _, c := range []struct {
		name   string
		env    []string
		args   []string
		status int
		asks   string // all that is asked, each on a line
		says   string
	}{
		{"a list of two pages", with, []string{"kill"}, 0, "GET /v1/kills?limit=100\nGET /v1/kills?limit=100&after=tool%3Aa", `tool:a   2026-11-24T12:00:00Z   lifted                 \u001b[2J\u202eit leaks`},
		{"its warnings", with, []string{"kill"}, 0, "", "warning: in Redis alone: tool:a"},
		{"as JSON", with, []string{"kill", "--json"}, 0, "", `"reason":"\u001b[2J\u202eit leaks"`},
		{"a kill switch", with, []string{"kill", "tool:x", "-reason", "it leaks"}, 0, `PUT /v1/kills/tool:x  {"reason":"it leaks"}`, "tool:x is stopped"},
		{"a lift", with, []string{"kill", "tool:x", "-lift"}, 0, "DELETE /v1/kills/tool:x", "tool:x goes on"},
		{"a typo", with, []string{"kill", "tool:typo", "-reason", "r"}, 0, "", "warning: nothing is known here by the name"},
		{"what is refused", with, []string{"kill", "tool:bad", "-reason", ""}, 1, "", "invalid; reason: is missing"},
		{"a redirect", with, []string{"kill", "tool:moved", "-reason", "r"}, 1, `PUT /v1/kills/tool:moved  {"reason":"r"}`, "answers 307"},
		{"limits", with, []string{"limits"}, 0, "GET /v1/limits?limit=100", "tool:a   5            1       8           1         4"},
		{"limits that tenants share", with, []string{"limits"}, 0, "GET /v1/limits?limit=100", "To give each a limit of its own: shop limits each-tenant -per-second N"},
		{"an override beside another", with, []string{"limits", "tool:a", "-per-second", "7"}, 0, "GET /v1/limits/tool:a\nPUT /v1/limits/tool:a \"e1\" {\"perSecond\":7,\"perDay\":9}\nGET /v1/limits?limit=100", "overridden"},
		{"a first override", with, []string{"limits", "tool:new", "-shadow=true", "--json"}, 0, "GET /v1/limits/tool:new\nPUT /v1/limits/tool:new  {\"shadow\":true}", `{"scope":"x"}`},
		{"a reset", with, []string{"limits", "tool:a", "-reset", "-json"}, 0, "GET /v1/limits/tool:a\nDELETE /v1/limits/tool:a \"e1\"", `{"scope":"x"}`},
		{"no change", with, []string{"limits", "tool:a", "-json"}, 2, "", "what is to change"},
		{"another's key", append(with[:1:1], "TAIEA_KEY=other"), []string{"kill"}, 1, "GET /v1/kills?limit=100", "say who you are"},
		{"no key", []string{"TAIEA_URL=https://taiea.example.com", "TAIEA_KEY="}, []string{"kill"}, 1, "", "TAIEA_KEY: is not set"},
		{"in the clear", []string{"TAIEA_URL=http://taiea.example.com", "TAIEA_KEY=x"}, []string{"kill"}, 1, "", "http is for this machine alone"},
		{"no address", []string{"TAIEA_URL=taiea", "TAIEA_KEY=x"}, []string{"limits"}, 1, "", "TAIEA_URL: is not an address"},
	} {
		mu.Lock()
		asked = nil
		mu.Unlock()
		for _, setting := range c.env {
			name, value, _ := strings.Cut(setting, "=")
			t.Setenv(name, value)
		}
		status, out, said := run(c.args...)
		out += said
		mu.Lock()
		got := strings.Join(asked, "\n")
		mu.Unlock()
		if status != c.status || c.asks != "" && got != c.asks || !strings.Contains(out, c.says) || strings.Contains(out, "\x1b") {
			t.Errorf("%s: status %d, want %d; asked\n%s\nwant\n%s\nsaid\n%s\nwant %q", c.name, status, c.status, got, c.asks, out, c.says)
		}
	}
}
