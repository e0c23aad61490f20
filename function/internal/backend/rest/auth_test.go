package rest

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/erlmcp/function/internal/egress"
	"example.com/erlmcp/function/internal/mcp"
)

// TestAuth has each credential read by net/http as a server reads it.
func TestAuth(t *testing.T) {
	for _, c := range []struct {
		name string
		auth Auth
		fits func(*http.Request) bool
	}{
		{"bearer", Bearer(secret("abc")), func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer abc" }},
		{"basic", Basic(secret("ada"), secret("p:w ü")), func(r *http.Request) bool {
			user, password, ok := r.BasicAuth()
			return ok && user == "ada" && password == "p:w ü"
		}},
		{"header", HeaderKey("X-Key", secret("abc")), func(r *http.Request) bool { return r.Header.Get("X-Key") == "abc" }},
		{"query", QueryKey("api_key", secret("a&b c")), func(r *http.Request) bool {
			return r.URL.Query().Get("api_key") == "a&b c" && len(r.URL.Query()["api_key"]) == 1 && r.URL.Query().Get("q") == "1"
		}},
	} {
		api := record(t, nil)
		a := api.api()
		a.Auth = c.auth
		r := &Request{Method: "GET", Server: api.URL, Path: "/", Parameters: []Parameter{{Argument: "q", Name: "q", In: Query}}}
		if result, err := call(t, a, r, Answer{}, map[string]any{"q": int64(1)}); err != nil || result.IsError || !c.fits(api.last().Request) {
			t.Errorf("%s: %v %v %s", c.name, result, err, api.last().RequestURI)
		}
	}
	for want, auth := range map[string]Auth{
		"is empty":   Bearer(func(context.Context) (string, error) { return "", errors.New("the secret is empty") }),
		"line break": HeaderKey("X-Key", secret("a\nb")),
		"it is empt": QueryKey("k", secret("")),
		"a colon":    Basic(secret("a:b"), secret("c")),
	} {
		api := record(t, nil)
		a := api.api()
		a.Auth = auth
		if _, err := call(t, a, &Request{Method: "GET", Server: api.URL}, Answer{}, nil); err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, mcp.ErrUnavailable) || api.count() > 0 {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestNoOverride has no argument replace a credential or what is fixed: not by the name of a member, either, where an object's members are parameters.
func TestNoOverride(t *testing.T) {
	api := record(t, nil)
	a := api.api()
	a.Auth = QueryKey("api_key", secret("ours"))
	r := &Request{Method: "POST", Server: api.URL, Path: "/",
		Parameters: []Parameter{{Name: "tenant", In: Query, Fixed: always("acme")}, {Argument: "filter", Name: "filter", In: Query, Encoding: Encoding{Style: Form, Explode: true}},
			{Name: "deep[tenant]", In: Query, Fixed: always("acme")}, {Argument: "deep", Name: "deep", In: Query, Encoding: Encoding{Style: DeepObject, Explode: true}}},
		Body: &Body{MediaType: formType, Members: []Member{{Argument: "more", Name: "more"}, {Name: "currency", Fixed: always("EUR")}},
			Encodings: map[string]Encoding{"more": {Style: Form, Explode: true}}},
	}
	for _, args := range []map[string]any{
		{"filter": map[string]any{"api_key": "theirs"}}, {"filter": map[string]any{"tenant": "other"}}, {"filter": map[string]any{"deep[tenant]": "other"}},
		{"deep": map[string]any{"tenant": "other"}}, {"deep": map[string]any{"a]": "b"}}, {"more": map[string]any{"currency": "USD"}},
		{"filter": map[string]any{"_method": "DELETE"}}, {"more": map[string]any{"_method": "DELETE"}},
	} {
		if _, err := call(t, a, r, Answer{}, args); !errors.As(err, new(*mcp.Misfit)) || api.count() > 0 {
			t.Errorf("%v: %v", args, err)
		}
	}
	if _, err := call(t, a, r, Answer{}, map[string]any{"filter": map[string]any{"a": "b"}, "deep": map[string]any{"c": "d"}, "more": map[string]any{"e": "f"}}); err != nil {
		t.Fatal(err)
	}
	if got := api.last(); got.RequestURI != "/?tenant=acme&a=b&deep%5Btenant%5D=acme&deep%5Bc%5D=d&api_key=ours" || got.body != "e=f&currency=EUR" {
		t.Errorf("%s %s", got.RequestURI, got.body)
	}
}

// way is a way out as the server has it: egress, which may reach this machine.
func way(t *testing.T) *http.Client {
	t.Helper()
	allow, err := egress.ParseAllowed("127.0.0.1,localhost")
	if err != nil {
		t.Fatal(err)
	}
	c := egress.NewClient(egress.Options{Allow: allow}).HTTP()
	c.Transport = egress.NewRetry(c.Transport)
	return c
}

// TestRedirects has credentials, the API's own headers and cookies go to the host that they are for, over redirects of it too, and to no other: not back to it
// by another one's word, either.
func TestRedirects(t *testing.T) {
	var first, second *recorder
	second = record(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/back" {
			http.Redirect(w, r, first.URL+"/end", http.StatusFound)
		}
	})
	other := strings.Replace(second.URL, "127.0.0.1", "localhost", 1)
	first = record(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/same":
			http.Redirect(w, r, "/end", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/other":
			http.Redirect(w, r, second.URL+"/end", http.StatusTemporaryRedirect)
		case "/name":
			http.Redirect(w, r, other+"/end", http.StatusMovedPermanently)
		case "/back":
			http.Redirect(w, r, second.URL+"/back", http.StatusFound)
		}
	})
	for _, c := range []struct {
		method, path string
		auth         Auth
		at           *recorder
		kept         bool
		fault        string
	}{
		{"GET", "/same", Bearer(secret("hush")), first, true, ""},
		{"GET", "/same", QueryKey("key", secret("hush")), first, true, ""},
		{"POST", "/same", Bearer(secret("hush")), first, true, ""},
		{"GET", "/other", Bearer(secret("hush")), second, false, ""},
		{"GET", "/other", QueryKey("key", secret("hush")), second, false, ""},
		{"GET", "/name", Bearer(secret("hush")), second, false, ""},
		{"GET", "/back", Bearer(secret("hush")), first, false, ""},
		{"POST", "/other", Bearer(secret("hush")), nil, false, "a redirect would send the body on"},
		{"GET", "/loop", QueryKey("key", secret("hush")), nil, false, "redirects"},
	} {
		a := &API{Name: "billing", Client: way(t), Auth: c.auth, Headers: map[string]Secret{"X-Tenant": secret("hush-hush")}}
		r := &Request{Method: c.method, Server: first.URL, Path: c.path, Parameters: []Parameter{{Name: "session", In: Cookie, Fixed: always("hush")}}}
		if c.method == "POST" {
			r.Body = &Body{MediaType: "text/plain", Argument: "text"}
		}
		_, err := call(t, a, r, Answer{}, map[string]any{"text": "hello"})
		if c.fault != "" {
			if err == nil || !strings.Contains(err.Error(), c.fault) || strings.Contains(err.Error(), "hush") || errors.Is(err, mcp.ErrUnavailable) {
				t.Errorf("%s %s: %v", c.method, c.path, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s %s: %v", c.method, c.path, err)
			continue
		}
		var seen strings.Builder
		got := c.at.last()
		got.Header.Write(&seen)
		text := got.RequestURI + " " + seen.String() + got.body
		if got.URL.Path != "/end" || strings.Contains(text, "hush") != c.kept || c.kept && strings.Count(text, "hush") != 4 || got.Method != "GET" || strings.Contains(text, "hello") {
			t.Errorf("%s %s: %s", c.method, c.path, text)
		}
	}
}

// TestForward has of the caller's headers sent what is named, under the API's name for it, and nothing else.
func TestForward(t *testing.T) {
	api := record(t, nil)
	a := api.api()
	a.Forward = map[string]string{"X-Github-Token": "X-Token", "X-Absent": "X-Absent"}
	tool, err := a.Tool(&Request{Method: "GET", Server: api.URL}, Answer{})
	if err != nil {
		t.Fatal(err)
	}
	caller := http.Header{"X-Github-Token": {"mine"}, "Authorization": {"Bearer caller"}, "Cookie": {"a=b"}, "X-Other": {"x"}, "Traceparent": {"00-1-2-00"}, "User-Agent": {"agent"}, "Mcp-Session-Id": {"s"}}
	if _, err := tool(t.Context(), &mcp.Call{Head: &mcp.RequestHeader{Header: caller}}); err != nil {
		t.Fatal(err)
	}
	got := api.last().Header
	got.Del("Accept-Encoding")
	want := http.Header{"X-Token": {"mine"}, "User-Agent": {"erlmcp"}, "Accept": {"application/json, */*;q=0.5"}}
	if len(got) != len(want) || got.Get("X-Token") != "mine" || got.Get("User-Agent") != "erlmcp" {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestNoSecretInErrors has no text of a failure show a key, an address or a URL.
func TestNoSecretInErrors(t *testing.T) {
	down := httptest.NewServer(nil)
	down.Close()
	hangUp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, _ := w.(http.Hijacker).Hijack()
		conn.Close()
	}))
	defer hangUp.Close()
	half := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "half")
	}))
	defer half.Close()
	untrusted := httptest.NewUnstartedServer(nil)
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	defer untrusted.Close()
	for want, c := range map[string]struct {
		server string
		away   bool
	}{
		"is not reached: connection refused":     {down.URL, true},
		"ended the connection before its answer": {half.URL, true},
		"ended the connection before":            {hangUp.URL, true},
		"certificate that is not trusted":        {untrusted.URL, true},
		"its address is private":                 {"https://10.0.0.1", false},
		"is a name of a private network":         {"https://db.internal", false},
	} {
		a := &API{Name: "billing", Client: way(t), Auth: QueryKey("key", secret("hush"))}
		_, err := call(t, a, &Request{Method: "GET", Server: c.server}, Answer{}, nil)
		if err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, mcp.ErrUnavailable) != c.away || strings.Contains(err.Error(), "hush") || strings.Contains(err.Error(), "127.0") {
			t.Errorf("%s: %v", want, err)
		}
	}
}
