package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"example.com/erlmcp/function"
	"example.com/erlmcp/local/checks/npm"
)

type (
	address struct {
		Street string `json:"street"`
		Zip    string `json:"zip,omitempty" pattern:"^[0-9]{4}$"`
	}
	part struct {
		Name  string  `json:"name"`
		Parts []*part `json:"parts,omitempty"`
	}
	field[T any] struct {
		V T `json:"v"`
	}
	optional[T any] struct {
		V T `json:"v,omitempty"`
	}
	tagged struct {
		N    int               `json:"n" minimum:"1" exclusiveMaximum:"10" multipleOf:"3"`
		S    string            `json:"s" enum:"a,b"`
		L    []string          `json:"l" minItems:"1" maxItems:"2" uniqueItems:"true" pattern:"^x"`
		M    map[string]int    `json:"m,omitempty" maximum:"5"`
		D    string            `json:"d" default:"none" maxLength:"4"`
		Deep map[string]tagged `json:"deep,omitempty"`
	}
)

// echo answers with what it got.
func echo[T any](name string) function.Tool {
	return function.NewTool(name, "Answers with its arguments.", func(_ context.Context, in T) (T, error) { return in, nil })
}

// both has the type as a required field and as an optional one.
func both[T any](name string) []function.Tool {
	return []function.Tool{echo[field[T]](name), echo[optional[T]](name + "_optional")}
}

// TestValues holds the schemas of Go types against two validators that are not ours, over the wire: what they admit runs, but for texts of which a
// schema can't say what is in them and numbers of 64 bits; what they refuse does not run; and each answer fits what is published.
func TestValues(t *testing.T) {
	var all []function.Tool
	for _, tools := range [][]function.Tool{
		both[bool]("bool"), both[int]("int"), both[int8]("int8"), both[int16]("int16"), both[int32]("int32"), both[int64]("int64"), both[uint]("uint"), both[uint8]("uint8"),
		both[uint64]("uint64"), both[float32]("float32"), both[float64]("float64"), both[string]("string"), both[[]byte]("bytes"), both[[2]int8]("array"), both[json.RawMessage]("raw"),
		both[json.Number]("number"), both[any]("any"), both[time.Time]("time"), both[time.Duration]("duration"), both[netip.Addr]("addr"), both[url.URL]("url"), both[[]string]("strings"),
		both[[]int8]("numbers"), both[[][]bool]("lists"), both[map[string]string]("map"), both[map[int8]bool]("keys"), both[map[string]address]("addresses"), both[address]("struct"),
		both[*address]("pointer"), both[*int]("int_pointer"), both[[]address]("structs"), both[part]("part"), both[map[string]any]("object"), both[[]any]("anys"), both[function.None]("none"),
		{echo[tagged]("tagged")},
	} {
		all = append(all, tools...)
	}
	s, err := function.New(t.Context(), function.Options{Loopback: true, LogOutput: io.Discard, Getenv: func(string) string { return "" }, Catalog: function.Catalog{Tools: all}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	srv := httptest.NewServer(s)
	defer srv.Close()
	post := func(method, params string) json.RawMessage {
		resp, err := http.Post(srv.URL+"/mcp", "application/json", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"`+method+`","params":`+params+`}`))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var answer struct{ Result, Error json.RawMessage }
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Error != nil {
			t.Fatalf("%s %s: %v %s", method, params, err, answer.Error)
		}
		return answer.Result
	}
	compiled := func(name string, schema json.RawMessage) *jsonschema.Schema {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(schema)))
		if err != nil {
			t.Fatal(err)
		}
		c := jsonschema.NewCompiler()
		c.DefaultDraft(jsonschema.Draft2020)
		if err := c.AddResource(name, v); err != nil {
			t.Fatalf("%s: %v", schema, err)
		}
		out, err := c.Compile(name)
		if err != nil {
			t.Fatalf("%s: %v", schema, err)
		}
		return out
	}
	var asked bytes.Buffer // of ajv
	var said [][]bool      // what the validator in Go said
	ask := func(schema json.RawMessage, values []string, fits []bool) {
		fmt.Fprintf(&asked, `{"schema":%s,"values":[%s]}`+"\n", schema, strings.Join(values, ","))
		said = append(said, fits)
	}
	loose := strings.Fields("keys bytes time duration addr url int int64 uint uint64 int_pointer float32 float64 number")
	ran, refused, listed := 0, 0, 0
	for cursor := `{}`; cursor != ""; {
		var page struct {
			Tools []struct {
				Name                      string
				InputSchema, OutputSchema json.RawMessage
			}
			NextCursor string
		}
		if err := json.Unmarshal(post("tools/list", cursor), &page); err != nil {
			t.Fatal(err)
		}
		for _, tool := range page.Tools {
			if strings.HasPrefix(tool.Name, "taiea") {
				continue
			}
			listed++
			in, out := compiled(tool.Name+"-in", tool.InputSchema), compiled(tool.Name+"-out", tool.OutputSchema)
			accepts := 0
			var sent, answers []string
			var sentFit, answersFit []bool
			for _, args := range arguments() {
				v, err := jsonschema.UnmarshalJSON(strings.NewReader(args))
				if err != nil {
					t.Fatal(err)
				}
				admitted := in.Validate(v) == nil
				sent, sentFit = append(sent, args), append(sentFit, admitted)
				var result struct {
					IsError           bool
					StructuredContent json.RawMessage
					Content           []struct{ Text string }
				}
				if err := json.Unmarshal(post("tools/call", `{"name":"`+tool.Name+`","arguments":`+args+`}`), &result); err != nil {
					t.Fatal(err)
				}
				null := strings.Contains(args, "null") // which stands for what is not set
				switch name := strings.TrimSuffix(tool.Name, "_optional"); {
				case result.IsError && admitted && !strings.Contains(" "+strings.Join(loose, " ")+" ", " "+name+" "):
					t.Errorf("%s %s: %s admits it, and it is refused: %s", tool.Name, args, tool.InputSchema, result.Content[0].Text)
				case !result.IsError && !admitted && !null:
					t.Errorf("%s %s: %s does not admit it, and it ran", tool.Name, args, tool.InputSchema)
				case result.IsError:
					refused++
					if strings.Contains(result.Content[0].Text, "own description") {
						t.Errorf("%s %s: %s", tool.Name, args, result.Content[0].Text)
					}
				default:
					ran++
					accepts++
					answers, answersFit = append(answers, string(result.StructuredContent)), append(answersFit, true)
					v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(result.StructuredContent)))
					if err == nil {
						err = out.Validate(v)
					}
					if err != nil {
						t.Errorf("%s %s: the answer %s does not fit %s: %v", tool.Name, args, result.StructuredContent, tool.OutputSchema, err)
					}
				}
			}
			ask(tool.InputSchema, sent, sentFit)
			ask(tool.OutputSchema, answers, answersFit)
			if accepts == 0 {
				t.Errorf("%s takes nothing of what was sent: %s", tool.Name, tool.InputSchema)
			}
		}
		if cursor = ""; page.NextCursor != "" {
			cursor = fmt.Sprintf(`{"cursor":%q}`, page.NextCursor)
		}
	}
	if listed != len(all) {
		t.Errorf("%d of %d tools are listed", listed, len(all))
	}
	cmd := exec.Command(npm.Modules(t, "clients"), "node/ajv.mjs")
	questions := strings.Split(asked.String(), "\n")
	cmd.Stdin = &asked
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(said) {
		t.Fatalf("ajv answered %d questions of %d", len(lines), len(said))
	}
	for i, line := range lines {
		var fits []bool
		if err := json.Unmarshal([]byte(line), &fits); err != nil {
			t.Fatal(err)
		}
		for j := range fits {
			if fits[j] != said[i][j] && !strings.Contains(questions[i], `"format"`) { // which ajv holds values against
				t.Errorf("ajv says %t of value %d, the other validator %t: %s", fits[j], j, said[i][j], questions[i])
			}
			if !fits[j] && i%2 == 1 {
				t.Errorf("ajv refuses answer %d: %s", j, questions[i])
			}
		}
	}
	t.Logf("%d calls ran and %d were refused, as the other validator has it", ran, refused)
}

// arguments are what is sent to each tool.
func arguments() (out []string) {
	for _, v := range []string{
		`null`, `true`, `0`, `5.0`, `5e0`, `-1`, `127`, `128`, `-129`, `255`, `256`, `32768`, `2147483648`, `9007199254740993`, `1.5`, `1e300`, `""`, `"x"`, `"5"`, `"AAH/"`, `"5s"`, `"1h30m"`,
		`"2026-11-29T01:02:03Z"`, `"2026-11-29t01:02:03.5z"`, `"192.0.2.1"`, `"https://example.com/a%20b?c=<d>"`, `[]`, `[1,2]`, `[1,2,3]`, `[1.0,-5]`, `["a","b"]`, `[[true],[]]`, `[null]`, `{}`, `{"a":"x"}`,
		`{"1":true,"-128":false}`, `{"01":true}`, `{"300":true}`, `{"street":"x"}`, `{"street":"","zip":"1"}`, `{"street":"x","zip":"8000"}`, `{"Street":"x"}`, `[{"street":"x"}]`, `{"a":{"street":"x"}}`,
		`{"name":"a","parts":[{"name":"b","parts":[]}]}`, `{"name":"a","parts":[{}]}`, `{"a":[1,{"b":null}]}`,
	} {
		out = append(out, `{"v":`+v+`}`)
	}
	return append(out, `{}`, `{"V":1}`, `{"v":1,"w":2}`, `{"n":3,"s":"a","l":["x"]}`, `{"n":3,"s":"b","l":["x","xy"],"m":{"a":5},"d":"abcd","deep":{"k":{"n":6,"s":"a","l":["x"]}}}`,
		`{"n":4,"s":"a","l":["x"]}`, `{"n":3,"s":"c","l":["x"]}`, `{"n":3,"s":"a","l":["x","x"]}`, `{"n":3,"s":"a","l":[]}`, `{"n":3,"s":"a","l":["y"]}`, `{"n":12,"s":"a","l":["x"]}`,
		`{"n":3,"s":"a","l":["x"],"m":{"a":6}}`, `{"n":3,"s":"a","l":["x"],"d":"abcde"}`, `{"n":3,"s":"a","l":["x"],"deep":{"k":{"n":1,"s":"a","l":["x"]}}}`)
}
