// Package oauth takes the official Go SDK's client through discovery: from a 401 over the metadata of the resource and of the
// authorization server, each a process of its own, to an authorized call, and to more scopes where a tool needs them.
package oauth

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"golang.org/x/oauth2"
)

func build(t *testing.T, pkg string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), filepath.Base(pkg))
	if out, err := exec.Command("go", "build", "-o", program, pkg).CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}

// An authServer is the process of the authorization server, and what it was asked.
type authServer struct {
	url  string
	mu   sync.Mutex
	uses []string
}

func (a *authServer) used(prefix string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, u := range a.uses {
		if strings.HasPrefix(u, prefix) {
			n++
		}
	}
	return n
}

func startAuthServer(t *testing.T) *authServer {
	t.Helper()
	cmd := exec.Command(build(t, "./authserver"))
	stdin, _ := cmd.StdinPipe()
	stdout, _ := cmd.StdoutPipe()
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close(); cmd.Wait() })
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() {
		t.Fatal("the authorization server does not start")
	}
	a := &authServer{url: lines.Text()}
	go func() {
		for lines.Scan() {
			a.mu.Lock()
			a.uses = append(a.uses, lines.Text())
			a.mu.Unlock()
		}
	}()
	return a
}

// startServer serves the fixture to callers with tokens of the issuer.
func startServer(t *testing.T, issuer string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	ln.Close()
	cmd := exec.CommandContext(t.Context(), build(t, "./fixture"))
	cmd.Env = append(os.Environ(), "PORT="+port, "AUTHENTICATION=oauth", "OAUTH_ISSUERS="+issuer, "OAUTH_SCOPES=read", "PUBLIC_URL=http://"+address,
		"EGRESS_ALLOW=127.0.0.1", "DRAIN_TIMEOUT=200ms", "LOG_LEVEL=error", "TAIEA_TOOLS=none")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for range 500 {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return "http://" + address + "/mcp"
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the server does not listen")
	return ""
}

const redirect = "http://127.0.0.1/callback"

// browse follows the authorization request to the redirect, as a person's browser does.
func browse(ctx context.Context, address string) (url.Values, error) {
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	to, err := resp.Location()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", resp.Status, err)
	}
	if fault := to.Query().Get("error"); fault != "" {
		return nil, errors.New(to.RawQuery)
	}
	return to.Query(), nil
}

func TestDiscovery(t *testing.T) {
	server := startAuthServer(t)
	endpoint := startServer(t, server.url)

	// Without a token: where to learn more.
	resp, err := http.Post(endpoint, "application/json", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	metadata := strings.TrimSuffix(endpoint, "/mcp") + "/.well-known/oauth-protected-resource/mcp"
	if challenge := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != 401 || !strings.Contains(challenge, `resource_metadata="`+metadata+`"`) {
		t.Fatalf("%s, %s", resp.Status, challenge)
	}

	handler, err := auth.NewAuthorizationCodeHandler(&auth.AuthorizationCodeHandlerConfig{
		PreregisteredClient: &oauthex.ClientCredentials{ClientID: "erlmcp-test"},
		RedirectURL:         redirect,
		AuthorizationCodeFetcher: func(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			answer, err := browse(ctx, args.URL)
			if err != nil {
				return nil, err
			}
			return &auth.AuthorizationResult{Code: answer.Get("code"), State: answer.Get("state"), Iss: answer.Get("iss")}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: endpoint, OAuthHandler: handler}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	tools, err := session.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, tool := range tools.Tools {
		names = append(names, tool.Name)
	}
	if !slices.Equal(names, []string{"who", "wipe"}) {
		t.Errorf("the tools are %q", names)
	}
	call := func(name string) string {
		t.Helper()
		r, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: name, Arguments: map[string]any{}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return r.Content[0].(*mcp.TextContent).Text
	}
	want := strings.TrimPrefix(server.url, "http://") + " ada"
	if got := call("who"); got != want {
		t.Errorf("the caller is %q, want %q", got, want)
	}
	if a, tokens := server.used("authorize read "+endpoint), server.used("token"); a != 1 || tokens != 1 {
		t.Errorf("%d authorizations and %d tokens before the step-up: %q", a, tokens, server.uses)
	}
	// More scopes, because the tool needs them.
	if got := call("wipe"); got != want {
		t.Errorf("the caller is %q, want %q", got, want)
	}
	if server.used("token") != 2 || server.used("authorize") != 2 {
		t.Errorf("the step-up: %q", server.uses)
	}
}

// TestOtherResource holds a good token of the same issuer, made for another server, against this one.
func TestOtherResource(t *testing.T) {
	server := startAuthServer(t)
	endpoint := startServer(t, server.url)
	for resource, status := range map[string]int{"https://elsewhere.example/mcp": 401, endpoint: 200} {
		config := oauth2.Config{ClientID: "erlmcp-test", RedirectURL: redirect, Scopes: []string{"read"},
			Endpoint: oauth2.Endpoint{AuthURL: server.url + "/authorize", TokenURL: server.url + "/token", AuthStyle: oauth2.AuthStyleInParams}}
		verifier := oauth2.GenerateVerifier()
		answer, err := browse(t.Context(), config.AuthCodeURL("a long enough state", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("resource", resource)))
		if err != nil {
			t.Fatal(err)
		}
		token, err := config.Exchange(t.Context(), answer.Get("code"), oauth2.VerifierOption(verifier))
		if err != nil {
			t.Fatal(err)
		}
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`))
		req.Header.Set("Content-Type", "application/json")
		token.SetAuthHeader(req)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var body struct {
			Error *struct{ Data struct{ Reason string } }
		}
		json.NewDecoder(resp.Body).Decode(&body)
		resp.Body.Close()
		if resp.StatusCode != status || (status == 401) != strings.Contains(resp.Header.Get("WWW-Authenticate"), `error="invalid_token"`) || (status == 401) != (body.Error != nil) {
			t.Errorf("%s: %s %s", resource, resp.Status, resp.Header.Get("WWW-Authenticate"))
		}
	}
}
