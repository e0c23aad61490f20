// Package client speaks to an MCP server over streamable HTTP, as much as commands need, in both eras: revision 2026-07-28, and
// those before it, which begin with initialize.
package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
)

// The revisions that are spoken; of the earlier ones the server may settle on another than Legacy.
const (
	Modern = "2026-07-28"
	Legacy = "2025-11-25"
)

// Options say how a server is reached.
type Options struct {
	URL     string
	Token   string // is sent as Authorization: Bearer; "" for none
	Version string // of the protocol; "" for what the server speaks
	Name    string // how the client presents itself, and in which version of its own
	Release string
	// Told is told of notifications while a call runs. Default: nobody.
	Told func(method string, params json.RawMessage)
}

// A Client speaks to one server. It is not for use by several goroutines.
type Client struct {
	o       Options
	version string // of the protocol
	session string
	ids     int
}

// Error is a JSON-RPC error.
type Error struct {
	Code    int             `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data"`
}

func (e *Error) Error() string { return fmt.Sprintf("%s (%d)", e.Message, e.Code) }

// A StatusError is an HTTP answer that holds no JSON-RPC message.
type StatusError struct {
	Status    int
	Body      string
	Challenge string // WWW-Authenticate
}

func (e *StatusError) Error() string {
	text := fmt.Sprintf("the server answers %d %s", e.Status, http.StatusText(e.Status))
	if e.Body != "" {
		text += ": " + e.Body
	}
	return text
}

// A Refusal is why a server that serves does not do what it was asked for.
type Refusal struct{ Reason, Message string }

// Refused returns why an answer is a refusal of an erlmcp server, nil where it is none: an error, or the result of a tool that was not
// called.
func Refused(result json.RawMessage, err error) *Refusal {
	var r Refusal
	var wire *Error
	if errors.As(err, &wire) && json.Unmarshal(wire.Data, &r) == nil && r.Reason != "" {
		return &Refusal{r.Reason, wire.Message}
	}
	var answer struct {
		Content []struct{ Text string }
		Meta    struct {
			Refusal *Refusal `json:"erlmcp/refusal"`
		} `json:"_meta"`
	}
	if err != nil || json.Unmarshal(result, &answer) != nil || answer.Meta.Refusal == nil {
		return nil
	}
	r = Refusal{Reason: answer.Meta.Refusal.Reason}
	if len(answer.Content) > 0 {
		r.Message = answer.Content[0].Text
	}
	return &r
}

// Open finds out what the server speaks.
func Open(ctx context.Context, o Options) (*Client, error) {
	if o.Told == nil {
		o.Told = func(string, json.RawMessage) {}
	}
	c := &Client{o: o, version: Modern}
	var first error
	if o.Version == "" || o.Version == Modern {
		if _, first = c.ask(ctx, "server/discover", "", nil, nil); first == nil || o.Version == Modern || hopeless(first) {
			return c, first
		}
	}
	c.version = ""
	revision := o.Version
	if revision == "" {
		revision = Legacy
	}
	result, err := c.ask(ctx, "initialize", "", map[string]any{
		"protocolVersion": revision, "capabilities": struct{}{}, "clientInfo": map[string]string{"name": o.Name, "version": o.Release},
	}, nil)
	if err != nil {
		return nil, errors.Join(err, first)
	}
	var settled struct{ ProtocolVersion string }
	if err := json.Unmarshal(result, &settled); err != nil || settled.ProtocolVersion == "" {
		return nil, fmt.Errorf("the server answers initialize with %s", clip(result))
	}
	c.version = settled.ProtocolVersion
	return c, c.post(ctx, []byte(`{"jsonrpc":"2.0","method":"notifications/initialized"}`), http.Header{}, nil)
}

// hopeless tells whether another revision would fare no better: nobody answers, or the caller is kept out.
func hopeless(err error) bool {
	var status *StatusError
	var wire *Error
	if errors.As(err, &status) {
		return status.Status == http.StatusUnauthorized || status.Status == http.StatusForbidden
	}
	return !errors.As(err, &wire)
}

// Version is the protocol's revision that is spoken.
func (c *Client) Version() string { return c.version }

// A Tool is what a server says of one.
type Tool struct {
	Name, Title, Description string
	InputSchema              json.RawMessage
	Annotations              struct{ ReadOnlyHint bool }
	Raw                      json.RawMessage `json:"-"` // the tool as it was listed
}

// Tools lists all tools.
func (c *Client) Tools(ctx context.Context) ([]Tool, error) {
	const maxPages = 1000
	var all []Tool
	params := map[string]any{}
	for range maxPages {
		result, err := c.ask(ctx, "tools/list", "", params, nil)
		if err != nil {
			return nil, err
		}
		var page struct {
			Tools      []json.RawMessage
			NextCursor string
		}
		if err := json.Unmarshal(result, &page); err != nil {
			return nil, fmt.Errorf("the server's list of tools: %w", err)
		}
		for _, raw := range page.Tools {
			t := Tool{Raw: raw}
			if err := json.Unmarshal(raw, &t); err != nil {
				return nil, fmt.Errorf("the server's list of tools: %w", err)
			}
			all = append(all, t)
		}
		if page.NextCursor == "" {
			return all, nil
		}
		params["cursor"] = page.NextCursor
	}
	return nil, fmt.Errorf("the server's list of tools has no end after %d pages", maxPages)
}

// Call calls a tool and returns its result as it came. The arguments are a JSON object.
func (c *Client) Call(ctx context.Context, tool *Tool, arguments map[string]any) (json.RawMessage, error) {
	return c.ask(ctx, "tools/call", tool.Name, map[string]any{
		"name": tool.Name, "arguments": arguments, "_meta": map[string]any{"progressToken": 1},
	}, mirrored(tool.InputSchema, arguments))
}

// mirrored are the headers that mirror arguments, as x-mcp-header in a schema says.
func mirrored(schema json.RawMessage, value any) http.Header {
	h := http.Header{}
	var s struct {
		Header     string `json:"x-mcp-header"`
		Properties map[string]json.RawMessage
	}
	if value == nil || json.Unmarshal(schema, &s) != nil {
		return h
	}
	if s.Header != "" {
		h.Set("Mcp-Param-"+s.Header, text(fmt.Sprint(value)))
	}
	members, _ := value.(map[string]any)
	for name, p := range s.Properties {
		for key, values := range mirrored(p, members[name]) {
			h[key] = values
		}
	}
	return h
}

// text writes a header's value, encoded where it is not plain.
func text(s string) string {
	plain := s == strings.TrimSpace(s) && !strings.HasPrefix(s, "=?")
	for _, r := range s {
		plain = plain && r >= ' ' && r <= '~'
	}
	if plain {
		return s
	}
	return "=?base64?" + base64.StdEncoding.EncodeToString([]byte(s)) + "?="
}

// ask sends a request and returns its result.
func (c *Client) ask(ctx context.Context, method, name string, params map[string]any, header http.Header) (json.RawMessage, error) {
	c.ids++
	if params == nil {
		params = map[string]any{}
	}
	h := http.Header{}
	if c.version == Modern {
		const prefix = "io.modelcontextprotocol/"
		meta, _ := params["_meta"].(map[string]any)
		if meta == nil {
			meta = map[string]any{}
			params["_meta"] = meta
		}
		meta[prefix+"protocolVersion"], meta[prefix+"clientCapabilities"] = Modern, struct{}{}
		meta[prefix+"clientInfo"] = map[string]string{"name": c.o.Name, "version": c.o.Release}
		for key, values := range header {
			h[key] = values
		}
		h.Set("Mcp-Method", method)
		if name != "" {
			h.Set("Mcp-Name", text(name))
		}
	}
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": c.ids, "method": method, "params": params})
	if err != nil {
		return nil, err
	}
	var result json.RawMessage
	err = c.post(ctx, body, h, func(m *message) (bool, error) {
		if m.Method != "" {
			c.o.Told(m.Method, m.Params)
			return false, nil
		}
		if m.Error != nil {
			return true, m.Error
		}
		result = m.Result
		return true, nil
	})
	return result, err
}

// A message is an answer or a notification.
type message struct {
	Method string
	Params json.RawMessage
	Result json.RawMessage
	Error  *Error
}

// maxAnswer bounds what is read of an answer, and of one event.
const maxAnswer = 32 << 20

// post sends a message, and hands over what comes back until the answer is among it; take is nil where there is none.
func (c *Client) post(ctx context.Context, body []byte, h http.Header, take func(*message) (answer bool, err error)) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.o.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header = h
	h.Set("User-Agent", c.o.Name+"/"+c.o.Release)
	h.Set("Content-Type", "application/json")
	h.Set("Accept", "application/json, text/event-stream")
	for name, value := range map[string]string{"MCP-Protocol-Version": c.version, "Mcp-Session-Id": c.session} {
		if value != "" {
			h.Set(name, value)
		}
	}
	if c.o.Token != "" {
		h.Set("Authorization", "Bearer "+c.o.Token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if id := resp.Header.Get("Mcp-Session-Id"); id != "" {
		c.session = id
	}
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if take == nil {
		if resp.StatusCode/100 == 2 {
			return nil
		}
		return c.status(resp)
	}
	switch media {
	case "application/json":
		text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if err != nil {
			return err
		}
		var m message
		if json.Unmarshal(text, &m) != nil || m.Result == nil && m.Error == nil {
			return &StatusError{resp.StatusCode, clip(text), resp.Header.Get("WWW-Authenticate")}
		}
		if _, err = take(&m); err != nil && (resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden) {
			err = errors.Join(&StatusError{resp.StatusCode, "", resp.Header.Get("WWW-Authenticate")}, err)
		}
		return err
	case "text/event-stream":
		return events(resp.Body, take)
	}
	return c.status(resp)
}

func (c *Client) status(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
	return &StatusError{resp.StatusCode, clip(text), resp.Header.Get("WWW-Authenticate")}
}

// events reads server-sent events until the answer.
func events(r io.Reader, take func(*message) (bool, error)) error {
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxAnswer)
	var data []string
	for s.Scan() {
		line := s.Text()
		if rest, ok := strings.CutPrefix(line, "data:"); ok {
			data = append(data, strings.TrimPrefix(rest, " "))
			continue
		}
		if line != "" || len(data) == 0 {
			continue
		}
		var m message
		if err := json.Unmarshal([]byte(strings.Join(data, "\n")), &m); err != nil {
			return fmt.Errorf("the server sends an event that is no message: %w", err)
		}
		data = nil
		if answer, err := take(&m); answer || err != nil {
			return err
		}
	}
	if err := s.Err(); err != nil {
		return err
	}
	return errors.New("the server ends its events without an answer")
}

func clip(text []byte) string {
	const most = 300
	text = bytes.TrimSpace(text)
	if len(text) > most {
		return strings.ToValidUTF8(string(text[:most]), "") + "…"
	}
	return string(text)
}
