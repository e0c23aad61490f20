package texts

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/seal"
)

// exchange is one without a network.
type exchange struct {
	body  string
	reply []byte
}

func (e *exchange) Body(string, mcp.Late) ([]byte, error) { return []byte(e.body), nil }
func (e *exchange) Peek() []byte                          { return []byte(e.body) }
func (e *exchange) Reply(_ int, body []byte) error {
	e.reply = append([]byte(nil), body...)
	return nil
}
func (e *exchange) Accept()                                {}
func (e *exchange) Stream([]byte)                          {}
func (e *exchange) Observe(context.Context, *mcp.Message)  {}
func (e *exchange) Refuse(_ *mcp.Refusal, s int, b []byte) { e.Reply(s, b) }

// gate lets everyone do everything but read what it hides.
type gate struct{ hides string }

func (g gate) Admit(context.Context, *mcp.RequestHeader) (mcp.Admission, *mcp.Refusal) { return g, nil }
func (g gate) MayRead(_ context.Context, _ *mcp.Call, uri string) error {
	if g.hides != "" && strings.Contains(uri, g.hides) {
		return mcp.ErrUnknown
	}
	return nil
}
func (g gate) Start(ctx context.Context, _ *mcp.Call) (context.Context, mcp.Admission, *mcp.Refusal) {
	return ctx, g, nil
}
func (gate) Caller() string                                  { return "acme/x" }
func (gate) Tenant() string                                  { return "acme" }
func (gate) Believed() bool                                  { return true }
func (gate) End(*mcp.Ending)                                 {}
func (gate) Drop(context.Context)                            {}
func (gate) Invalid(context.Context, *mcp.Call) *mcp.Refusal { return nil }
func (gate) Yield()                                          {}
func (gate) Charge(context.Context) *mcp.Refusal             { return nil }

// served is an engine over the entries of a directory.
type served struct {
	t      *testing.T
	server *mcp.Server
}

func serve(t *testing.T, d *Directory, hides string) served {
	t.Helper()
	entries, err := d.Entries()
	if err != nil {
		t.Fatal(err)
	}
	c, err := catalog.Build(entries...)
	if err != nil {
		t.Fatal(err)
	}
	return served{t, mcp.NewServer(mcp.Options{Catalog: c, Gate: gate{hides}, Keys: seal.RandomRing(), Info: mcp.Info{Name: "t", Version: "1"}, PageSize: 1000})}
}

// ask returns the result, or the error's message.
func (s served) ask(method, params string, into any) string {
	s.t.Helper()
	const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}`
	var named struct {
		Name, URI string
		Ref       struct{ Name, URI string }
	}
	if err := json.Unmarshal([]byte("{"+params+"}"), &named); err != nil {
		s.t.Fatal(err)
	}
	if params != "" {
		params += ","
	}
	header := http.Header{"Mcp-Protocol-Version": {mcp.Version20260728}, "Mcp-Method": {method}}
	if name := named.Name + named.URI; name != "" {
		header.Set("Mcp-Name", "=?base64?"+base64.StdEncoding.EncodeToString([]byte(name))+"?=")
	}
	e := &exchange{body: `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":{` + params + meta + `}}`}
	s.server.Serve(s.t.Context(), mcp.ReadRequestHeader(header, "", "r", time.Now()), e)
	var reply struct {
		Result json.RawMessage
		Error  *mcp.Error
	}
	if err := json.Unmarshal(e.reply, &reply); err != nil {
		s.t.Fatalf("%v: %s", err, e.reply)
	}
	if reply.Error != nil {
		return reply.Error.Message
	}
	if err := json.Unmarshal(reply.Result, into); err != nil {
		s.t.Fatal(err)
	}
	return ""
}

// write makes a directory of files.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for at, text := range files {
		at = filepath.Join(dir, at)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func quoted(text string) string {
	b, _ := json.Marshal(text)
	return string(b)
}
