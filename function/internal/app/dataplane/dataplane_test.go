package dataplane

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/erlmcp/function/internal/app"
	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/seal"
	"example.com/erlmcp/function/internal/serve"
)

// made assembles a plane of one tool by settings, which are pairs of name and value.
func made(t *testing.T, pairs ...string) (*Plane, error) {
	t.Helper()
	settings := map[string]string{"GOVERNOR_SCOPE": "instance"}
	for i := 0; i < len(pairs); i += 2 {
		settings[pairs[i]] = pairs[i+1]
	}
	p, err := New(t.Context(), app.Options{
		Loopback: settings["LOOPBACK"] == "", Getenv: func(name string) string { return settings[name] }, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Entries: []catalog.Entry{catalog.FromFunc("add", "Adds.", func(_ context.Context, in struct{ A, B int }) (string, error) {
			return strings.Repeat("x", in.A+in.B), nil
		}), ofBilling()},
	})
	if err == nil {
		t.Cleanup(p.Close)
	}
	return p, err
}

func ofBilling() *catalog.Tool {
	t := catalog.FromFunc("bill", "Bills.", func(context.Context, catalog.None) (string, error) { return "billed", nil })
	t.Terms.Pack = "billing"
	return t
}

func get(p *Plane, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://localhost"+path, strings.NewReader(body))
	r.Host, r.RemoteAddr = "localhost:8080", "127.0.0.1:1"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "application/json, text/event-stream")
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w
}

const bill = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"bill"}}`

const call = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{"A":1,"B":2}}}`

// TestPaths asks each path that there is, and one that there is not.
func TestPaths(t *testing.T) {
	p, err := made(t)
	if err != nil {
		t.Fatal(err)
	}
	p.Serving("http://localhost:8080/mcp")
	for _, c := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"POST", "/mcp", call, 200, `"text":"xxx"`},
		{"POST", "//mcp/", call, 200, `"text":"xxx"`},
		{"POST", "/mcp/billing", bill, 200, "billed"},
		{"POST", "/mcp/billing/", bill, 200, "billed"},
		{"POST", "/mcp/billing", call, 200, "unknown tool"},
		{"GET", "/mcp/billing", "", 405, "by POST"},
		{"OPTIONS", "/mcp/billing", "", 204, ""},
		{"POST", "/mcp/sales", call, 404, "nothing at /mcp/sales; the MCP endpoint is /mcp"},
		{"GET", "/health", "", 200, ""},
		{"GET", "/ready", "", 200, ""},
		{"GET", "/metrics", "", 200, "tools_called_total"},
		{"GET", "/", "", 404, "the MCP endpoint is /mcp"},
		{"GET", "/" + strings.Repeat("a", 500), "", 404, "…"},
		{"OPTIONS", "/register", "", 204, ""},
		{"GET", app.MetadataPath, "", 404, ""},
	} {
		w := get(p, c.method, c.path, c.body)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s %.40s: %d %.300s, want %d and %q", c.method, c.path, w.Code, w.Body, c.status, c.says)
		}
	}
	if p.Scope() != "instance" || len(p.Degraded()) > 0 || !p.Governs() || p.Unready(t.Context()) != "" || p.Unreachable(t.Context()) != nil {
		t.Errorf("%s, %v, %t", p.Scope(), p.Degraded(), p.Governs())
	}
	if self := p.Self(); !self.Ready || self.Catalog == "" || self.Version == "" || len(self.Tenants) == 0 {
		t.Errorf("%+v", self)
	}
}

// TestMetadata is the document of RFC 9728, with the members that it requires, under the public URL and its path.
func TestMetadata(t *testing.T) {
	p, err := made(t, "LOOPBACK", "no", "SEALING_KEYS", base64.StdEncoding.EncodeToString(make([]byte, seal.KeySize)), "PUBLIC_URL", "https://x.example/tools", "OAUTH_ISSUERS", "https://issuer.example", "AUTHENTICATION", "oauth", "OAUTH_SCOPES", "mcp")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{app.MetadataPath, app.MetadataPath + "/mcp", app.MetadataPath + "/tools/mcp", "/tools" + app.MetadataPath + "/mcp"} {
		w := get(p, "GET", path, "")
		var document struct {
			Resource                                                      string
			AuthorizationServers, ScopesSupported, BearerMethodsSupported []string
		}
		text := strings.NewReplacer("authorization_servers", "AuthorizationServers", "scopes_supported", "ScopesSupported", "bearer_methods_supported", "BearerMethodsSupported").Replace(w.Body.String())
		if err := json.Unmarshal([]byte(text), &document); err != nil || w.Code != http.StatusOK {
			t.Errorf("%s: %d %s, %v", path, w.Code, w.Body, err)
			continue
		}
		if !strings.HasPrefix(document.Resource, "https://x.example/tools") || len(document.AuthorizationServers) != 1 || document.ScopesSupported[0] != "mcp" || document.BearerMethodsSupported[0] != "header" {
			t.Errorf("%s: %+v", path, document)
		}
	}
	for path, resource := range map[string]string{"/mcp/billing": "/mcp/billing", "/tools/mcp/billing": "/mcp/billing", "/mcp": "/mcp", "/mcp/sales": ""} {
		w := get(p, "GET", app.MetadataPath+path, "")
		if resource != "" && !strings.Contains(w.Body.String(), `"resource":"https://x.example/tools`+resource+`"`) || (w.Code == 200) != (resource != "") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	w := get(p, "POST", "/tools/mcp/billing", call)
	if challenge := w.Header().Get("WWW-Authenticate"); w.Code != http.StatusUnauthorized || !strings.Contains(challenge, `resource_metadata="https://x.example/.well-known/oauth-protected-resource/tools/mcp/billing"`) {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if w := get(p, "POST", "/tools/mcp", call); w.Code != http.StatusUnauthorized || !strings.Contains(w.Header().Get("WWW-Authenticate"), `resource_metadata="https://x.example`) {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

// TestStartFaults has settings that are wrong, and that want what there is not, told all at once.
func TestStartFaults(t *testing.T) {
	_, err := made(t, "RATE_LIMIT_PER_SECOND", "-1", "UNKNOWN_TENANTS", "deny", "AUTHENTICATION", "keys", "ALLOWED_ORIGINS", "x y")
	var start *serve.StartError
	if !errors.As(err, &start) {
		t.Fatal(err)
	}
	for _, name := range []string{"RATE_LIMIT_PER_SECOND", "ALLOWED_ORIGINS"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not told of: %v", name, err)
		}
	}
	p, err := made(t, "GOVERNOR_ENABLED", "false")
	if err != nil {
		t.Fatal(err)
	}
	if w := get(p, "POST", "/mcp", call); p.Scope() != "none" || w.Code != 200 || p.Unready(t.Context()) != "" {
		t.Errorf("%s, %d", p.Scope(), w.Code)
	}
}
