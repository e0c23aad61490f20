package controlplane

import (
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/erlmcp/function/internal/app"
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

// TestStartFaults: without a store there is nothing to keep orders in, and without receipts no change is recorded.
func TestStartFaults(t *testing.T) {
	for _, c := range []struct {
		memory *app.Memory
		pairs  []string
		want   string
	}{
		{app.NewMemory(), []string{"RECEIPTS", "false"}, "RECEIPTS"},
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
