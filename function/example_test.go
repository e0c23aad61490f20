package function_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"example.com/erlmcp/function"
)

// serve answers one JSON-RPC message, as an agent would send it.
func serve(o function.Options, message string) string {
	o.Loopback, o.Logger = true, slog.New(slog.DiscardHandler)
	o.Getenv = func(string) string { return "" }
	s, err := function.New(context.Background(), o)
	if err != nil {
		return err.Error()
	}
	defer s.Close()
	r := httptest.NewRequest(http.MethodPost, "http://localhost:8080/mcp", strings.NewReader(message))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	b, _ := io.ReadAll(w.Body)
	if len(b) == 0 {
		return w.Result().Status
	}
	return strings.TrimSpace(string(b))
}

func ExampleNewTool() {
	type in struct {
		Name string `json:"name" jsonschema:"whom to greet" minLength:"1"`
	}
	type out struct {
		Greeting string `json:"greeting"`
	}
	greet := function.NewTool("greet", "Greets a person by name.",
		func(_ context.Context, in in) (out, error) { return out{"Hello, " + in.Name + "."}, nil },
		function.ToolOptions{ReadOnly: true, PerSecond: 5, Timeout: time.Second})

	fmt.Println(serve(function.Options{Catalog: function.Catalog{Tools: []function.Tool{greet}}},
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"greet","arguments":{"name":"Ada"}}}`))
	fmt.Println(serve(function.Options{Catalog: function.Catalog{Tools: []function.Tool{greet}}},
		`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"greet","arguments":{"name":""}}}`))
	// Output:
	// {"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"{\"greeting\":\"Hello, Ada.\"}"}],"structuredContent":{"greeting":"Hello, Ada."}}}
	// {"jsonrpc":"2.0","id":2,"result":{"content":[{"type":"text","text":"The arguments do not fit the input schema of greet: name: is empty"}],"isError":true}}
}

func ExampleNewTemplate() {
	notes := map[string]string{"ada": "computes"}
	note := function.NewTemplate("note://{name}", "note", func(_ context.Context, uri string, vars map[string]string) ([]function.ResourceContents, error) {
		text, ok := notes[vars["name"]]
		if !ok {
			return nil, function.ErrNotFound
		}
		return []function.ResourceContents{{URI: uri, MIMEType: "text/plain", Text: text}}, nil
	}, function.ResourceOptions{Complete: function.CompleteFrom("ada")})

	fmt.Println(serve(function.Options{Catalog: function.Catalog{Resources: []function.Resource{note}}},
		`{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"note://ada"}}`))
	// Output:
	// {"jsonrpc":"2.0","id":1,"result":{"contents":[{"uri":"note://ada","mimeType":"text/plain","text":"computes"}]}}
}

func ExampleCatalog_Lint() {
	c := function.Catalog{Tools: []function.Tool{
		function.NewTool("grade", "Grades a text.", func(context.Context, struct {
			Grade int `json:"grade" enum:"1,2,3"`
		}) (string, error) {
			return "", nil
		}),
	}}
	findings, err := c.Lint()
	fmt.Println(strings.Join(findings, "\n"), err)
	// Output:
	// tool grade: input.grade: its enum has 1, and must have texts alone: refused by Google, https://github.com/microsoft/azure-devops-mcp/issues/145 <nil>
}
