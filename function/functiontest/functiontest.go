// Package functiontest calls tools, resources and prompts in-process, for the tests of those who write them. A call takes the whole
// way through the server but for the socket: the schema checks the arguments, limits and rules hold, and questions to the user are
// answered from the test. What the server warns of is in the log of the test, which shows it where it fails.
//
//	func TestGreet(t *testing.T) {
//		got := functiontest.Call(t, function.NewTool("greet", "Greets.", greet), map[string]any{"name": "Ada"})
//		if got.Text != "Hello, Ada" {
//			t.Errorf("got %+v", got)
//		}
//	}
//
// A [Server] has a whole catalog, callers, and the operator's rules and settings:
//
//	s := functiontest.New(t, functiontest.Setup{
//		Catalog: tools.Catalog(),
//		Callers: []functiontest.Caller{{Tenant: "acme", Scopes: []string{"read"}}},
//		Rules:   `rules: [{when: 'tool.destructive', then: deny, message: not on weekdays}]`,
//	})
//	got := s.As("acme").Call("remove", map[string]any{"name": "a.txt"})
package functiontest

import (
	"encoding/json"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"example.com/erlmcp/function"
	"example.com/erlmcp/function/internal/identity"
)

// A Setup says what a [Server] serves, and to whom.
type Setup struct {
	Catalog  function.Catalog
	Callers  []Caller          // beside whoever is at the machine itself
	Rules    string            // of the operator, as in POLICY_FILE
	Settings map[string]string // such as TENANT_CALLS_PER_DAY

	pageSize int // of lists, in tests of this package
}

// A Caller may call.
type Caller struct {
	Tenant, Subject string   // the subject is "default" where it is left out
	Scopes          []string // that it was granted
}

// A Server serves a test.
type Server struct {
	t      testing.TB
	server *function.Server
	keys   map[string]string // by tenant, and by tenant/subject
	key    string            // of the caller; "" for whoever is at the machine, who may do everything

	schemas map[string]json.RawMessage // of tools; empty until one is called
}

// New assembles a server, which ends with the test. What can't start fails the test.
func New(t testing.TB, setup Setup) *Server {
	t.Helper()
	s := &Server{t: t, keys: map[string]string{}, schemas: map[string]json.RawMessage{}}
	settings := map[string]string{"TAIEA_TOOLS": "none"}
	dir := t.TempDir()
	write := func(setting, name string, text []byte) {
		settings[setting] = filepath.Join(dir, name)
		if err := os.WriteFile(settings[setting], text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if len(setup.Callers) > 0 {
		var file identity.KeyFile
		for _, c := range setup.Callers {
			if c.Subject == "" {
				c.Subject = "default"
			}
			text, key := identity.NewKey(identity.Key{Tenant: c.Tenant, Subject: c.Subject, Scopes: c.Scopes, Created: time.Now()})
			file.Keys = append(file.Keys, key)
			if s.keys[c.Tenant] == "" {
				s.keys[c.Tenant] = text
			}
			s.keys[c.Tenant+"/"+c.Subject] = text
		}
		text, err := json.Marshal(file)
		if err != nil {
			t.Fatal(err)
		}
		settings["AUTHENTICATION"] = "keys"
		write("API_KEYS_FILE", "keys.json", text)
	}
	if setup.Rules != "" {
		write("POLICY_FILE", "rules.yaml", []byte(setup.Rules))
	}
	maps.Copy(settings, setup.Settings)
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	server, err := function.New(t.Context(), function.Options{
		Catalog: setup.Catalog, Loopback: true, Logger: log, Getenv: func(name string) string { return settings[name] }, PageSize: setup.pageSize,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	s.server = server
	return s
}

// As is the same server for calls of a caller, by its tenant, or by tenant/subject.
func (s *Server) As(caller string) *Server {
	s.t.Helper()
	as := *s
	if as.key = s.keys[caller]; as.key == "" {
		s.t.Fatalf("there is no caller %q: the test's Setup names %q", caller, slices.Sorted(maps.Keys(s.keys)))
	}
	return &as
}

// Call calls a tool with arguments that marshal to a JSON object, and answers its questions. A question without an answer fails the
// test.
func (s *Server) Call(tool string, args any, answers ...Answer) Response {
	s.t.Helper()
	result, r := s.ask("tools/call", tool, map[string]any{"name": tool, "arguments": args}, answers)
	if result != nil {
		s.read(result, &r)
	}
	return r
}

// Call calls the tool as the one of a server.
func Call(t testing.TB, tool function.Tool, args any, answers ...Answer) Response {
	t.Helper()
	return New(t, Setup{Catalog: function.Catalog{Tools: []function.Tool{tool}}}).Call(tool.Name(), args, answers...)
}

// Read reads a resource.
func (s *Server) Read(uri string, answers ...Answer) Contents {
	s.t.Helper()
	result, r := s.ask("resources/read", uri, map[string]any{"uri": uri}, answers)
	out := Contents{Error: r.Error}
	var read struct{ Contents []contents }
	s.decode(result, &read)
	for _, c := range read.Contents {
		out.Contents = append(out.Contents, function.ResourceContents(c))
	}
	return out
}

// Prompt gets a prompt.
func (s *Server) Prompt(name string, args map[string]string, answers ...Answer) Messages {
	s.t.Helper()
	if args == nil {
		args = map[string]string{}
	}
	result, r := s.ask("prompts/get", name, map[string]any{"name": name, "arguments": args}, answers)
	out := Messages{Error: r.Error}
	var got struct {
		Description string
		Messages    []struct {
			Role    string
			Content block
		}
	}
	s.decode(result, &got)
	out.Description = got.Description
	for _, m := range got.Messages {
		out.Messages = append(out.Messages, function.Message{Role: m.Role, Content: m.Content.content()})
	}
	return out
}

// CompletePrompt proposes values for an argument of a prompt whose text so far is typed; known are the other arguments.
func (s *Server) CompletePrompt(prompt, argument, typed string, known map[string]string) Completion {
	s.t.Helper()
	return s.complete(map[string]string{"type": "ref/prompt", "name": prompt}, argument, typed, known)
}

// CompleteTemplate does the same for a variable of a resource template.
func (s *Server) CompleteTemplate(uri, variable, typed string, known map[string]string) Completion {
	s.t.Helper()
	return s.complete(map[string]string{"type": "ref/resource", "uri": uri}, variable, typed, known)
}

func (s *Server) complete(ref map[string]string, argument, typed string, known map[string]string) Completion {
	s.t.Helper()
	result, r := s.ask("completion/complete", "", map[string]any{
		"ref": ref, "argument": map[string]string{"name": argument, "value": typed}, "context": map[string]any{"arguments": known},
	}, nil)
	var got struct{ Completion struct{ Values []string } }
	s.decode(result, &got)
	return Completion{Values: got.Completion.Values, Error: r.Error}
}

// A Response is how a call ended.
type Response struct {
	Text       string // of all text blocks, a line each
	Content    []function.Content
	Structured json.RawMessage // nil if the tool has no structured output
	IsError    bool            // the tool returned an error, its arguments did not fit the schema, or the call was refused
	Refusal    *Refusal        // the call was refused: a limit, a rule, a kill switch
	Error      *Error          // the call failed as such: no result
	Asked      []string        // keys of the questions that were put, in order
	Progress   []Progress
}

// A Refusal is why a call was not made.
type Refusal struct {
	Code       int
	Reason     string // such as rate or not_entitled
	Scope      string // such as tool:greet
	Limit      string
	RetryAfter time.Duration
}

// Contents are what a resource holds.
type Contents struct {
	Contents []function.ResourceContents
	Error    *Error
}

// Messages are what a prompt says.
type Messages struct {
	Description string
	Messages    []function.Message
	Error       *Error
}

// A Completion proposes values.
type Completion struct {
	Values []string
	Error  *Error
}

// Error is a JSON-RPC error.
type Error struct {
	Code    int
	Message string
	Refusal *Refusal // the request was refused
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

// Confirm answers ask.Confirm.
func Confirm(key string, yes bool) Answer { return Accept(key, map[string]bool{"confirm": yes}) }

// Decline says no to a question.
func Decline(key string) Answer { return Answer{key, map[string]any{"action": "decline"}} }

// Say is what the client's model answers.
func Say(key, text string) Answer {
	return Answer{key, map[string]any{"role": "assistant", "model": "test", "content": map[string]any{"type": "text", "text": text}}}
}
