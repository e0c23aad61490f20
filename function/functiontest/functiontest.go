// Package functiontest calls tools in-process, for the tests of those who write them. A call takes the whole way through
// the server but for the socket: the schema checks the arguments, the gate admits, and questions to the user are answered
// from the test.
//
//	func TestGreet(t *testing.T) {
//		got := functiontest.Call(t, function.NewTool("greet", "Greets.", greet), map[string]any{"name": "Ada"})
//		if got.Text != "Hello, Ada" {
//			t.Errorf("got %+v", got)
//		}
//	}
package functiontest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/erlmcp/function"
)

// A Response is how a call ended.
type Response struct {
	Text       string          // of all text blocks, a line each
	Structured json.RawMessage // nil if the tool has no structured output
	IsError    bool            // the tool returned an error, or its arguments did not fit the schema
	Error      *Error          // the call failed as such: no result
	Asked      []string        // keys of the questions that were put, in order
	Progress   []Progress
}

// Error is a JSON-RPC error.
type Error struct {
	Code    int
	Message string
}

// Progress is one progress notification.
type Progress struct {
	Progress, Total float64
	Message         string
}

// Decode unmarshals the structured output.
func (r Response) Decode(t testing.TB, out any) {
	t.Helper()
	if err := json.Unmarshal(r.Structured, out); err != nil {
		t.Fatalf("structured output %s: %v", r.Structured, err)
	}
}

// An Answer is what the user or the client's model says to the question of a key.
type Answer struct {
	Key    string
	Result any // of the question's method, as JSON
}

// Accept fills in a form; content is a struct or map of its fields.
func Accept(key string, content any) Answer {
	return Answer{key, map[string]any{"action": "accept", "content": content}}
}

// Confirm answers function.Confirm.
func Confirm(key string, yes bool) Answer { return Accept(key, map[string]bool{"confirm": yes}) }

// Decline says no to a question.
func Decline(key string) Answer { return Answer{key, map[string]any{"action": "decline"}} }

// Say is what the client's model answers.
func Say(key, text string) Answer {
	return Answer{key, map[string]any{"role": "assistant", "model": "test", "content": map[string]any{"type": "text", "text": text}}}
}

const (
	mostRounds = 10
	meta       = `{"io.modelcontextprotocol/protocolVersion":"2026-07-28","progressToken":"test",` +
		`"io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{}}}`
)

// Call calls the tool with arguments that marshal to a JSON object, and answers its questions. A question without an answer
// fails the test.
func Call(t testing.TB, tool function.Tool, args any, answers ...Answer) Response {
	t.Helper()
	s, err := function.New(t.Context(), function.WithLoopback(), function.WithTools(tool), function.WithGetenv(func(name string) string { return map[string]string{"TAIEA_TOOLS": "none"}[name] }))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	given := map[string]any{}
	for _, a := range answers {
		given[a.Key] = a.Result
	}
	params := map[string]any{
		"name": tool.Name(), "arguments": args,
		"_meta": json.RawMessage(meta),
	}
	mirrored := mirror(t, s, args)
	var all Response
	for range mostRounds {
		r, again := once(t, s, params, mirrored)
		all.Progress = append(all.Progress, r.Progress...)
		r.Asked, r.Progress = all.Asked, all.Progress
		if again == nil {
			return r
		}
		responses := map[string]any{}
		for key := range again.InputRequests {
			answer, ok := given[key]
			if !ok {
				t.Fatalf("%s asks %q, which the test does not answer", tool.Name(), key)
			}
			all.Asked = append(all.Asked, key)
			responses[key] = answer
		}
		params["inputResponses"], params["requestState"] = responses, again.RequestState
	}
	t.Fatalf("%s still asks after %d rounds, the last time %v", tool.Name(), mostRounds, all.Asked)
	return all
}

type result struct {
	ResultType        string
	InputRequests     map[string]json.RawMessage
	RequestState      string
	Content           []struct{ Type, Text string }
	StructuredContent json.RawMessage
	IsError           bool
}

// once makes one round; its second answer is not nil where the tool asks.
func once(t testing.TB, s *function.Server, params map[string]any, mirrored http.Header) (Response, *result) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
	if err != nil {
		t.Fatal(err)
	}
	w := post(t, s, "tools/call", fmt.Sprint(params["name"]), string(body), mirrored)

	var r Response
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
			Result *result
			Error  *Error
		}
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		switch {
		case m.Method == "notifications/progress":
			r.Progress = append(r.Progress, m.Params)
		case m.Error != nil:
			r.Error = m.Error
		case m.Result != nil && m.Result.ResultType == "input_required":
			return r, m.Result
		case m.Result != nil:
			r.Structured, r.IsError = m.Result.StructuredContent, m.Result.IsError
			var lines []string
			for _, c := range m.Result.Content {
				if c.Type == "text" {
					lines = append(lines, c.Text)
				}
			}
			r.Text = strings.Join(lines, "\n")
		}
	}
	return r, nil
}

func post(t testing.TB, s *function.Server, method, name, body string, header http.Header) *httptest.ResponseRecorder {
	req := httptest.NewRequestWithContext(t.Context(), "POST", "http://localhost/mcp", strings.NewReader(body))
	maps.Copy(req.Header, header)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("MCP-Protocol-Version", "2026-07-28")
	req.Header.Set("Mcp-Method", method)
	req.Header.Set("Mcp-Name", name)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, req)
	return w
}

// mirror makes the Mcp-Param headers that a client sends for the tool's x-mcp-header properties.
func mirror(t testing.TB, s *function.Server, args any) http.Header {
	t.Helper()
	w := post(t, s, "tools/list", "", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":`+meta+`}}`, nil)
	type schema struct {
		Header     string `json:"x-mcp-header"`
		Properties map[string]json.RawMessage
	}
	var list struct {
		Result struct {
			Tools []struct{ InputSchema json.RawMessage }
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || len(list.Result.Tools) != 1 {
		t.Fatalf("tools/list: %v %s", err, w.Body)
	}
	raw, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		t.Fatal(err)
	}
	header := http.Header{}
	var walk func(raw json.RawMessage, value any)
	walk = func(raw json.RawMessage, value any) {
		var s schema
		if json.Unmarshal(raw, &s) != nil || value == nil {
			return
		}
		if s.Header != "" {
			header.Set("Mcp-Param-"+s.Header, "=?base64?"+base64.StdEncoding.EncodeToString(fmt.Append(nil, value))+"?=")
		}
		members, _ := value.(map[string]any)
		for name, p := range s.Properties {
			walk(p, members[name])
		}
	}
	walk(list.Result.Tools[0].InputSchema, value)
	return header
}
