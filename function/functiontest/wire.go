package functiontest

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"example.com/erlmcp/function"
)

const (
	maxRounds = 10
	meta      = `{"io.modelcontextprotocol/protocolVersion":"2026-07-28","progressToken":"test",` +
		`"io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{}}}`
)

// ask makes a request, answers what it asks, and returns its result; nil where it failed.
func (s *Server) ask(method, name string, params map[string]any, answers []Answer) (json.RawMessage, Response) {
	s.t.Helper()
	given := map[string]any{}
	for _, a := range answers {
		given[a.Key] = a.Result
	}
	params["_meta"] = json.RawMessage(meta)
	header := http.Header{}
	if method == "tools/call" {
		header = s.mirror(name, params["arguments"])
	}
	var all Response
	for range maxRounds {
		result, err := s.once(method, name, params, header, &all.Progress)
		if err != nil {
			all.Error = err
			return nil, all
		}
		var again struct {
			ResultType    string
			InputRequests map[string]json.RawMessage
			RequestState  string
		}
		if s.decode(result, &again); again.ResultType != "input_required" {
			return result, all
		}
		responses := map[string]any{}
		for key := range again.InputRequests {
			answer, ok := given[key]
			if !ok {
				s.t.Fatalf("%s asks %q, which the test does not answer", name, key)
			}
			all.Asked = append(all.Asked, key)
			responses[key] = answer
		}
		params["inputResponses"], params["requestState"] = responses, again.RequestState
	}
	s.t.Fatalf("%s still asks after %d rounds, the last time %v", name, maxRounds, all.Asked)
	return nil, all
}

// refusal is how the data of a refusal is written: in _meta of a result with the code, and of an error without.
type refusal struct {
	Code                 int
	Reason, Scope, Limit string
	RetryAfterMs         int64
}

// of returns the refusal, or nil where it is none.
func (r *refusal) of(code int) *Refusal {
	if r == nil || r.Reason == "" {
		return nil
	}
	return &Refusal{Code: cmp.Or(r.Code, code), Reason: r.Reason, Scope: r.Scope, Limit: r.Limit, RetryAfter: time.Duration(r.RetryAfterMs) * time.Millisecond}
}

// once makes one round.
func (s *Server) once(method, name string, params map[string]any, header http.Header, progress *[]Progress) (json.RawMessage, *Error) {
	s.t.Helper()
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		s.t.Fatal(err)
	}
	w := s.post(method, name, string(body), header)
	messages := []string{w.Body.String()}
	if w.Header().Get("Content-Type") == "text/event-stream" {
		messages = messages[:0]
		for line := range strings.Lines(w.Body.String()) {
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				messages = append(messages, data)
			}
		}
	}
	for _, text := range messages {
		var m struct {
			Method string
			Params Progress
			Result json.RawMessage
			Error  *struct {
				Code    int
				Message string
				Data    json.RawMessage
			}
		}
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			s.t.Fatalf("%q: %v", text, err)
		}
		switch {
		case m.Method == "notifications/progress":
			*progress = append(*progress, m.Params)
		case m.Error != nil:
			var data refusal
			json.Unmarshal(m.Error.Data, &data) // it may be of another kind
			return nil, &Error{m.Error.Code, m.Error.Message, data.of(m.Error.Code)}
		case m.Result != nil:
			return m.Result, nil
		}
	}
	s.t.Fatalf("%s has no answer: %s", method, w.Body)
	return nil, nil
}

func (s *Server) decode(result json.RawMessage, into any) {
	s.t.Helper()
	if result == nil {
		return
	}
	if err := json.Unmarshal(result, into); err != nil {
		s.t.Fatalf("%s: %v", result, err)
	}
}

// A block is a content block as it is written.
type block struct {
	Type, Text, MIMEType, URI, Name, Title, Description string
	Data                                                []byte
	Resource                                            *contents
	Annotations                                         *function.Annotations
}

type contents struct {
	URI, MIMEType, Text string
	Blob                []byte
}

func (b *block) content() function.Content {
	return function.Content{
		Type: b.Type, Text: b.Text, Data: b.Data, MIMEType: b.MIMEType, URI: b.URI, Name: b.Name, Title: b.Title, Description: b.Description,
		Resource: (*function.ResourceContents)(b.Resource), Annotations: b.Annotations,
	}
}

// read reads a tool's result.
func (s *Server) read(result json.RawMessage, r *Response) {
	s.t.Helper()
	var got struct {
		Content           []block
		StructuredContent json.RawMessage
		IsError           bool
		Meta              struct {
			Refusal *refusal `json:"erlmcp/refusal"`
		} `json:"_meta"`
	}
	s.decode(result, &got)
	r.Structured, r.IsError, r.Refusal = got.StructuredContent, got.IsError, got.Meta.Refusal.of(0)
	var lines []string
	for _, b := range got.Content {
		r.Content = append(r.Content, b.content())
		if b.Type == "text" {
			lines = append(lines, b.Text)
		}
	}
	r.Text = strings.Join(lines, "\n")
}

func (s *Server) post(method, name, body string, header http.Header) *httptest.ResponseRecorder {
	req := httptest.NewRequestWithContext(s.t.Context(), "POST", "http://localhost/mcp", strings.NewReader(body))
	maps.Copy(req.Header, header)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("MCP-Protocol-Version", "2026-07-28")
	req.Header.Set("Mcp-Method", method)
	if name != "" {
		req.Header.Set("Mcp-Name", encoded(name))
	}
	if s.key != "" {
		req.Header.Set("Authorization", "Bearer "+s.key)
	}
	w := httptest.NewRecorder()
	s.server.ServeHTTP(w, req)
	return w
}

// encoded writes a header's value as one that may not be in ASCII.
func encoded(text string) string {
	return "=?base64?" + base64.StdEncoding.EncodeToString([]byte(text)) + "?="
}

// mirror makes the Mcp-Param headers that a client sends for the tool's x-mcp-header properties.
func (s *Server) mirror(tool string, args any) http.Header {
	s.t.Helper()
	header := http.Header{}
	raw, err := json.Marshal(args)
	if err != nil {
		s.t.Fatal(err)
	}
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		s.t.Fatal(err)
	}
	var walk func(raw json.RawMessage, value any)
	walk = func(raw json.RawMessage, value any) {
		var schema struct {
			Header     string `json:"x-mcp-header"`
			Properties map[string]json.RawMessage
		}
		if json.Unmarshal(raw, &schema) != nil || value == nil {
			return
		}
		if schema.Header != "" {
			header.Set("Mcp-Param-"+schema.Header, encoded(fmt.Sprint(value)))
		}
		members, _ := value.(map[string]any)
		for name, p := range schema.Properties {
			walk(p, members[name])
		}
	}
	walk(s.schema(tool), value)
	return header
}

// schema is the input schema of a tool, as a client learns it; nil where nobody sees the tool. Who asks is at the machine, so that
// it counts against no caller's limit.
func (s *Server) schema(tool string) json.RawMessage {
	s.t.Helper()
	if len(s.schemas) > 0 {
		return s.schemas[tool]
	}
	local := *s
	local.key = ""
	params := map[string]any{"_meta": json.RawMessage(meta)}
	for more := true; more; {
		result, failed := local.once("tools/list", "", params, nil, new([]Progress))
		if failed != nil {
			return nil // the call says why
		}
		var page struct {
			Tools []struct {
				Name        string
				InputSchema json.RawMessage
			}
			NextCursor string
		}
		s.decode(result, &page)
		for _, one := range page.Tools {
			s.schemas[one.Name] = one.InputSchema
		}
		params["cursor"], more = page.NextCursor, page.NextCursor != ""
	}
	return s.schemas[tool]
}
