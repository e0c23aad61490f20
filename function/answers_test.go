package function

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestAnswersFit: what clients would throw away is the tool's fault, in words and in the log, and all else goes out as the schema says.
func TestAnswersFit(t *testing.T) {
	type out struct {
		Grade string            `json:"grade" enum:"A,B"`
		Next  *string           `json:"next"`
		List  []string          `json:"list"`
		Map   map[string]string `json:"map"`
		Any   any               `json:"any"`
		Wait  time.Duration     `json:"wait"`
	}
	var log safeBuffer
	half := 1.5
	answer := func(name string, out any) Tool {
		switch out := out.(type) {
		case *Result:
			return NewTool(name, "Answers.", func(context.Context, None) (*Result, error) { return out, nil }, ToolOptions{OutputSchema: `{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}`})
		case Result: // with no schema
			return NewTool(name, "Answers.", func(context.Context, None) (Result, error) { return out, nil })
		case error:
			return NewTool(name, "Answers.", func(context.Context, None) (string, error) { return "", out })
		case []Content:
			return NewTool(name, "Answers.", func(context.Context, None) ([]Content, error) { return out, nil })
		case string:
			return NewTool(name, "Answers.", func(context.Context, None) (string, error) { return out, nil })
		}
		panic(name)
	}
	synctest.Test(t, func(t *testing.T) {
		url, _, _ := observed(t, &log, nil, WithTools(
			NewTool("typed", "Answers.", func(context.Context, None) (out, error) {
				return out{Grade: "A", Any: map[string]any{"n": int64(9007199254740993), "t": "<b>"}, Wait: time.Minute}, nil
			}),
			NewTool("grade", "Answers.", func(context.Context, None) (out, error) { return out{Grade: "C"}, nil }),
			NewTool("nil", "Answers.", func(context.Context, None) (*out, error) { return nil, nil }),
			NewTool("map", "Answers.", func(context.Context, None) (map[string]int, error) { return nil, nil }),
			NewTool("nothing", "Answers.", func(context.Context, None) ([]int, error) { return nil, nil }),
			NewTool("hole", "Answers.", func(context.Context, None) ([]*int, error) { return []*int{nil}, nil }),
			NewTool("loop", "Answers.", func(context.Context, None) (any, error) {
				loop := map[string]any{}
				loop["a"] = loop
				return loop, nil
			}),
			answer("fits", &Result{Structured: []byte(`{"n":1}`)}), answer("unstructured", &Result{Content: []Content{Text("1")}}),
			answer("wrong", &Result{Structured: []byte(`{"n":"1"}`)}), answer("broken", &Result{Structured: []byte(`{"n":`)}),
			answer("failed", &Result{Content: []Content{Text("no")}, IsError: true}),
			answer("void", (*Result)(nil)), answer("hollow", Result{Structured: []byte{}}), answer("cut", Result{Structured: []byte(`{"n":`)}), answer("failing", Result{Structured: []byte(`{`), IsError: true}),
			answer("lines", Result{Structured: []byte(" {\n\"n\":\r\n1}")}), answer("silent", errors.New("")), answer("blank", []Content{Text(" \n"), Text("x")}),
			answer("relative", []Content{Link("docs", "a")}), answer("dark", []Content{Image(nil, "image/png")}),
			NewTool("huge", "Answers.", func(context.Context, None) ([]any, error) {
				return []any{1e20, json.Number("123456789012345678901234567890"), time.Duration(math.MaxInt64)}, nil
			}),
			answer("empty", ""), answer("empties", []Content{Text(""), Text("x"), Text("")}), answer("html", "<a href=\"x\">&</a>"),
			answer("link", []Content{Link("docs://a", "")}), answer("image", []Content{Image([]byte("x"), "")}), answer("embedded", []Content{{Type: "resource"}}),
			answer("untyped", []Content{{Text: "x"}}), answer("audience", []Content{{Type: "text", Text: "x", Annotations: &Annotations{Audience: []string{"me"}}}}),
			answer("priority", []Content{{Type: "text", Text: "x", Annotations: &Annotations{Priority: &half}}}),
		))
		for _, c := range []struct{ tool, want, logged string }{
			{"typed", `"structuredContent":{"grade":"A","list":[],"map":{},"any":{"n":9007199254740993,"t":"<b>"},"wait":"1m0s"}`, ""},
			{"typed", `"text":"{\"grade\":\"A\",\"list\":[],\"map\":{},\"any\":{\"n\":9007199254740993,\"t\":\"<b>\"},\"wait\":\"1m0s\"}"`, ""},
			{"grade", "", `grade: "C" is not one of A, B`},
			{"nil", "", "it is nil"},
			{"map", `"structuredContent":{}`, ""},
			{"nothing", `"text":"[]"`, ""},
			{"hole", "", "[0]: it is nil"},
			{"loop", "", "nested more than"},
			{"fits", `"structuredContent":{"n":1}`, ""},
			{"unstructured", "", "there is no structured content"},
			{"wrong", "", `n: "1" is not a whole number`},
			{"broken", "", "the structured content: "},
			{"failed", `"text":"no"}],"isError":true`, ""},
			{"void", "", "there is no structured content"},
			{"hollow", "", "the structured content: unexpected end"},
			{"cut", "", "the structured content: unexpected end"},
			{"failing", "", "the structured content: "},
			{"lines", `"structuredContent":{"n":1}`, ""},
			{"silent", `"text":"the tool failed, and does not say why"`, ""},
			{"blank", `"content":[{"type":"text","text":"x"}]`, ""},
			{"relative", "", `"docs" is not a URI`},
			{"dark", "", "a block of type image needs Data"},
			{"huge", `[100000000000000000000,123456789012345678901234567890,\"2562047h47m16.854775807s\"]`, ""},
			{"empty", `"content":[]`, ""},
			{"empties", `"content":[{"type":"text","text":"x"}]`, ""},
			{"html", `"text":"<a href=\"x\">&</a>"`, ""},
			{"link", "", "content[0]: a block of type resource_link needs URI and Name"},
			{"image", "", "content[0]: a block of type image needs MIMEType"},
			{"embedded", "", "a block of type resource needs Resource"},
			{"untyped", "", "use Text, Image, Audio, Link or Embed"},
			{"audience", "", `its audience is user or assistant, not`},
			{"priority", "", "its priority is between 0 and 1, not 1.5"},
		} {
			for _, w := range []wire{modern("tools/call", c.tool, `"name":"`+c.tool+`","arguments":{}`), legacy("2025-06-18", "tools/call", `"name":"`+c.tool+`","arguments":{}`)} {
				before := len(log.String())
				resp, answer := w.send(t, url)
				if resp.StatusCode != 200 || !strings.Contains(answer, c.want) {
					t.Errorf("%s: %d %s, want %s", c.tool, resp.StatusCode, answer, c.want)
				}
				if c.logged == "" {
					continue
				}
				if !strings.Contains(answer, "the answer is not what the server's own description admits, and is not passed on; the operator finds it in the log under request") || !strings.Contains(answer, `"isError":true`) {
					t.Errorf("%s: %s", c.tool, answer)
				}
				time.Sleep(time.Second) // its record comes after its answer
				if text := strings.ReplaceAll(log.String()[before:], `\"`, `"`); !strings.Contains(text, c.logged) || !strings.Contains(text, `"severity":"ERROR"`) {
					t.Errorf("%s: the log says %s, want %s", c.tool, text, c.logged)
				}
			}
		}
	})
}

// TestPromptsAndResourcesFit is TestAnswersFit for what is no tool.
func TestPromptsAndResourcesFit(t *testing.T) {
	prompt := func(name string, messages ...Message) Prompt {
		return NewPrompt(name, "Says.", func(context.Context, map[string]string) ([]Message, error) { return messages, nil }, PromptOptions{Arguments: []Argument{{Name: "a"}}})
	}
	srv := newServer(t, WithPrompts(
		prompt("fits", UserSays(Text("x")), Message{Role: "assistant", Content: Text("y")}), prompt("role", Message{Role: "system", Content: Text("x")}),
		prompt("link", UserSays(Link("", "a"))), prompt("nothing", Message{Role: "user"}),
	), WithResources(NewResource("docs://a", "a", func(context.Context, string, map[string]string) ([]ResourceContents, error) {
		return []ResourceContents{{Text: "x"}}, nil
	}, ResourceOptions{})))
	for _, c := range []struct{ method, name, params, want string }{
		{"prompts/get", "fits", `"name":"fits","arguments":{"a":"1"}`, `"role":"assistant"`},
		{"prompts/get", "role", `"name":"role","arguments":{"a":"1"}`, `"code":-32603,"message":"the answer is not what`},
		{"prompts/get", "link", `"name":"link"`, `"code":-32603`},
		{"prompts/get", "nothing", `"name":"nothing"`, `"code":-32603`},
		{"resources/read", "docs://a", `"uri":"docs://a"`, `"contents":[{"uri":"docs://a","text":"x"}]`},
	} {
		for _, w := range []wire{modern(c.method, c.name, c.params), legacy("2025-06-18", c.method, c.params)} {
			if _, answer := w.send(t, srv.URL); !strings.Contains(answer, c.want) {
				t.Errorf("%s %s: %s, want %s", c.method, c.name, answer, c.want)
			}
		}
	}
}

// TestArgumentsInWords: a model reads all that is wrong at once, with its place, and what real clients send is taken.
func TestArgumentsInWords(t *testing.T) {
	type line struct {
		Size string `json:"size" enum:"S,M,L"`
	}
	type order struct {
		Lines []line `json:"lines"`
		Ship  struct {
			Zip string `json:"zip"`
		} `json:"ship"`
		Limit int           `json:"limit,omitempty" maximum:"9" default:"3"`
		Since time.Time     `json:"since,omitzero"`
		Wait  time.Duration `json:"wait,omitempty"`
		Blob  []byte        `json:"blob,omitempty"`
	}
	var got order
	srv := newServer(t, WithTools(
		NewTool("order", "Orders.", func(_ context.Context, in order) (string, error) { got = in; return "ran", nil }, ToolOptions{AllowWhen: []Condition{{When: "args.limit != 8"}}}),
	))
	for _, c := range []struct{ args, want string }{
		{`{"lines":[{"size":"XL"}],"ship":{}}`, `lines[0].size: \"XL\" is not one of S, M, L; ship.zip: missing`},
		{`{"lines":[],"ship":{"zip":"1"},"limit":5.0,"since":"2026-11-29t01:02:03z"}`, "ran"},
		{`{"lines":null,"ship":{"zip":"1"}}`, "lines: null is not a list"},
		{`{"lines":[],"ship":{"zip":"1"},"limit":null,"since":null,"wait":null,"blob":null}`, "ran"},
		{`{"lines":[],"ship":{"zip":"1"},"wait":5}`, `wait: 5 is not a duration: write one with its unit, such as \"90s\" or \"1h30m\"`},
		{`{"lines":[],"ship":{"zip":"1"},"since":"today","blob":"*"}`, `since: \"today\" is not a date and time of RFC 3339, such as 2026-11-24T15:04:05Z; blob: \"*\" is not base64`},
		{`{"lines":[],"ship":{"zip":"1"},"limit":8.0}`, "refused by policy"},
	} {
		for _, w := range []wire{modern("tools/call", "order", `"name":"order","arguments":`+c.args), legacy("2025-11-25", "tools/call", `"name":"order","arguments":`+c.args)} {
			got = order{}
			_, answer := w.send(t, srv.URL)
			if !strings.Contains(answer, c.want) {
				t.Errorf("%s: %s, want %s", c.args, answer, c.want)
			}
			if c.want == "ran" && got.Limit != 3 && got.Limit != 5 {
				t.Errorf("%s: the limit is %d", c.args, got.Limit)
			}
		}
	}
}
