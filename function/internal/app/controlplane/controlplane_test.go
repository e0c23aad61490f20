package controlplane

import (
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/erlmcp/function/internal/app"
	"example.com/erlmcp/function/internal/controlapi"
	"example.com/erlmcp/function/internal/serve"
)

func options(t *testing.T, memory *app.Memory, pairs ...string) app.Options {
	settings := map[string]string{"GOVERNOR_SCOPE": "instance"}
	for i := 0; i < len(pairs); i += 2 {
		settings[pairs[i]] = pairs[i+1]
	}
	return app.Options{Loopback: true, Memory: memory, Getenv: func(name string) string { return settings[name] }, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

// TestRoutes gives an order through the control plane, and reads it and its receipt there.
func TestRoutes(t *testing.T) {
	memory := app.NewMemory()
	p, err := New(t.Context(), options(t, memory))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.Serving("http://localhost:8081")
	for _, c := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"PUT", "/v1/kills/tool:pay", `{"reason":"leak"}`, 0, `"leak"`},
		{"GET", "/v1/kills", "", 200, `"tool:pay"`},
		{"PUT", "/v1/limits/tool:pay", `{"perSecond":-1}`, 400, "a rate of -1"},
		{"GET", "/v1/nothing", "", 404, ""},
		{"GET", "/health", "", 200, ""},
		{"GET", "/ready", "", 200, ""},
	} {
		r := httptest.NewRequest(c.method, "http://localhost"+c.path, strings.NewReader(c.body))
		r.Host = "localhost:8081"
		if c.body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		if c.status != 0 && w.Code != c.status || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s %s: %d %s, want %d and %q", c.method, c.path, w.Code, w.Body, c.status, c.says)
		}
	}
	if !p.Governs() || p.Unready(t.Context()) != "" || len(p.Degraded()) > 0 {
		t.Errorf("%v", p.Degraded())
	}
}

// TestOwnKeys: what the control plane keeps under keys of its own, the data plane's keys don't open.
func TestOwnKeys(t *testing.T) {
	memory := app.NewMemory()
	shared, own := strings.Repeat("A", 43)+"=", strings.Repeat("B", 42)+"A="
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, []byte(own+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		settings []string
		status   int // of who asks again
		own      bool
	}{
		{[]string{"SEALING_KEYS", shared, "TAIEA_SEALING_KEYS", own}, 200, true},
		{[]string{"SEALING_KEYS", shared, "TAIEA_SEALING_KEYS_FILE", file}, 200, true},
		{[]string{"SEALING_KEYS", shared}, 500, false}, // as the data plane
		{[]string{"SEALING_KEYS", own}, 200, false},
	} {
		p, err := New(t.Context(), options(t, memory, c.settings...))
		if err != nil {
			t.Fatal(err)
		}
		p.Serving("http://localhost:8081")
		r := httptest.NewRequest("PUT", "http://localhost/v1/kills/tool:pay", strings.NewReader(`{"reason":"leak"}`))
		r.Host = "localhost:8081"
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", "one")
		w := httptest.NewRecorder()
		if p.ServeHTTP(w, r); w.Code/100 != c.status/100 {
			t.Errorf("%v: %d %s, want %d", c.settings, w.Code, w.Body, c.status)
		}
		if says := p.self().OwnSealingKeys != nil; says != c.own {
			t.Errorf("%v: it says that it has keys of its own: %t", c.settings, says)
		}
		p.Close()
	}
}

// TestSignedOnly: of all routes one is there, and it wants a signature.
func TestSignedOnly(t *testing.T) {
	p, err := New(t.Context(), options(t, app.NewMemory(), "TAIEA_ROUTES", "webhook", "WEBHOOK_SECRETS", "whsec_"+strings.Repeat("A", 43)+"="))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.Serving("http://localhost:8081")
	for _, route := range controlapi.Routes() {
		want := 404
		if route.Guard == controlapi.BySecret {
			want = 401
		}
		r := httptest.NewRequest(route.Method, "http://localhost"+route.Path, strings.NewReader("{}"))
		r.Host = "localhost:8081"
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		if p.ServeHTTP(w, r); w.Code != want {
			t.Errorf("%s %s: %d %s, want %d", route.Method, route.Path, w.Code, w.Body, want)
		}
	}
}

// TestStartFaults: without a store there is nothing to keep orders in, and without receipts no change is recorded.
func TestStartFaults(t *testing.T) {
	for _, c := range []struct {
		memory *app.Memory
		pairs  []string
		want   string
	}{
		{app.NewMemory(), []string{"RECEIPTS", "false"}, "RECEIPTS"},
		{app.NewMemory(), []string{"FUNCTION_TARGET", "taiea", "TAIEA_ROUTES", "webhook"}, "WEBHOOK_SECRETS: is not set"},
		{app.NewMemory(), []string{"TAIEA_ROUTES", "some"}, "TAIEA_ROUTES"},
		{app.NewMemory(), []string{"TAIEA_SEALING_KEYS", "short"}, "TAIEA_SEALING_KEYS: key 1"},
		{app.NewMemory(), []string{"TAIEA_SEALING_KEYS_FILE", "/none"}, "TAIEA_SEALING_KEYS_FILE: "},
	} {
		_, err := New(t.Context(), options(t, c.memory, c.pairs...))
		var start *serve.StartError
		if !errors.As(err, &start) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	if _, err := OpenLocal(t.Context(), options(t, nil)); err == nil || !strings.Contains(err.Error(), "which fleet") {
		t.Errorf("a command without a fleet: %v", err)
	}
}
