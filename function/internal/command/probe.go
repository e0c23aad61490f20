package command

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/account"
	"example.com/erlmcp/function/internal/mcp"
)

const probeUsage = `Usage: erlmcp probe [flags] [URL]

Without a URL: exit 0 if the server at PORT on this machine is healthy, as container engines ask.

With the URL of a server, such as https://erlmcp-123456789012.us-central1.run.app: exit 0 if it is healthy and ready, and serves
MCP in both eras. What it is asked with is PROBE_TOKEN, or with -as an ID token of a service account of Google Cloud. Without a
token it may answer 401, which shows that it serves and whom it keeps out. With one it may refuse by what operators have decided
(policy, entitlement, limit, kill switch), which shows that it serves, too.

`

// probe asks a server whether it serves.
func (p *Program) probe(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("probe", flag.ContinueOnError)
	version := flags.String("version", "", "the version that the server must have, such as v0.7.0")
	alone := flags.Bool("health", false, "ask for health, version and readiness alone, as of the control plane, which speaks no MCP")
	as := flags.String("as", "", "the service account whose ID token to bring, asked of IAM: needs roles/iam.serviceAccountOpenIdTokenCreator on it")
	audience := flags.String("audience", "", "of that token; the URL if it is not given. Cloud Run takes a service's own URL, not that of a tag")
	flags.SetOutput(io.Discard)
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(out, p.text(probeUsage))
		flags.SetOutput(out)
		flags.PrintDefaults()
		return nil
	case err != nil:
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if flags.NArg() == 0 {
		url, err := p.HealthURL()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		_, err = get(ctx, url, "")
		return err
	}
	url, token := strings.TrimSuffix(flags.Arg(0), "/"), os.Getenv("PROBE_TOKEN")
	if *as != "" {
		tokens, err := account.IDTokens(nil, *as, cmp.Or(*audience, url))
		if err != nil {
			return err
		}
		if token, err = tokens(ctx); err != nil {
			return err
		}
	}
	if err := p.probeHealth(ctx, url, token, *version); err != nil || *alone {
		return err
	}
	return p.probeEras(ctx, url, token, out)
}

// probeHealth asks whether a server is healthy, of a version ("" for any), and ready.
func (p *Program) probeHealth(ctx context.Context, url, token, version string) error {
	body, err := get(ctx, url+"/health", token)
	if err != nil {
		return err
	}
	var health struct{ Status, Version string }
	if err := json.Unmarshal(body, &health); err != nil || health.Status != "up" {
		return fmt.Errorf("not healthy: %s/health answers %s", url, clip(body))
	}
	if version != "" && "v"+health.Version != version {
		return fmt.Errorf("%s has version v%s, want %s", url, health.Version, version)
	}
	if body, err = get(ctx, url+"/ready", token); err != nil {
		return err
	}
	var ready struct{ Degraded []string }
	if err := json.Unmarshal(body, &ready); err != nil || len(ready.Degraded) > 0 {
		return fmt.Errorf("degraded: %s/ready answers %s", url, clip(body))
	}
	return nil
}

// probeEras asks for the tools in both eras of the protocol.
func (p *Program) probeEras(ctx context.Context, url, token string, out io.Writer) error {
	for _, era := range []string{"2026-07-28", "2025-11-25"} {
		tools, err := p.listTools(ctx, url+"/mcp", token, era)
		if err != nil {
			return fmt.Errorf("%s: %w", era, err)
		}
		fmt.Fprintf(out, "%s %s: %s\n", url, era, tools)
	}
	return nil
}

// decided are the reasons of refusals that operators have decided on. A server that is overloaded, ends, or does not know the caller
// serves nobody, or not this one for a fault of its own.
var decided = []string{
	mcp.InsufficientScope.Name, mcp.NotEntitled.Name, mcp.Killed.Name, mcp.RateLimited.Name, mcp.Concurrency.Name, mcp.QuotaUsed.Name,
}

func isDecided(reason string) bool { return slices.Contains(decided, reason) }

// listTools lists the tools in one era's way.
func (p *Program) listTools(ctx context.Context, url, token, era string) (string, error) {
	const name = "io.modelcontextprotocol/"
	meta := ""
	if era == "2026-07-28" {
		meta = fmt.Sprintf(`"_meta":{%q:%q,%q:{"name":"erlmcp-probe","version":%q},%q:{}}`,
			name+"protocolVersion", era, name+"clientInfo", p.Version, name+"clientCapabilities")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{`+meta+`}}`))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("MCP-Protocol-Version", era)
	if meta != "" {
		req.Header.Set("Mcp-Method", "tools/list")
	}
	status, body, err := do(req, token)
	if err != nil {
		return "", err
	}
	var answer struct {
		Result *struct{ Tools []struct{ Name string } }
		Error  *struct {
			Code    int
			Message string
			Data    struct{ Reason string }
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", fmt.Errorf("%s answers %d: %s", url, status, clip(body))
	}
	switch {
	case status == http.StatusOK && answer.Result != nil:
		return fmt.Sprintf("%d tools", len(answer.Result.Tools)), nil
	case token == "" && answer.Error != nil && (status == http.StatusUnauthorized || status == http.StatusOK):
		return "asks for credentials: " + answer.Error.Message, nil
	case answer.Error != nil && isDecided(answer.Error.Data.Reason):
		return "serves, and does not serve this caller: " + answer.Error.Message, nil
	}
	return "", fmt.Errorf("%s answers %d: %s", url, status, clip(body))
}

func get(ctx context.Context, url, token string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	status, body, err := do(req, token)
	if err != nil {
		return nil, fmt.Errorf("not healthy: %w", err)
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("not healthy: %s answers %d: %s", url, status, clip(body))
	}
	return body, nil
}

func do(req *http.Request, token string) (int, []byte, error) {
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	return resp.StatusCode, body, err
}

func clip(body []byte) string { return strings.TrimSpace(string(body[:min(len(body), 300)])) }
