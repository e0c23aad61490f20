package ask

import (
	"encoding/json"
	"testing"
)

// TestFormsThatSayNull hands a form's content on without the nulls that stand for what is not filled in, and with those that are answers.
func TestFormsThatSayNull(t *testing.T) {
	const schema = `{"type":"object","required":["a"],"properties":{"a":{"type":["string","null"]},"b":{"type":"integer"},"c":{"type":["integer","null"]},"d":{"type":"array","items":{"type":"string"}}}}`
	for content, want := range map[string]string{
		`{"a":"x","b":null,"c":1,"d":null}`:      `{"a":"x","c":1}`,
		`{"a":null,"b":9007199254740993}`:        `{"a":null,"b":9007199254740993}`,
		`{"a":null,"b":null,"c":null,"d":["y"]}`: `{"a":null,"c":null,"d":["y"]}`,
		`{"b":null}`:                             "",
		`{"a":"x","d":[null]}`:                   "",
	} {
		got := ""
		q := FormSchema("form", "Fill in.", schema, func(content json.RawMessage) error {
			got = string(content)
			return nil
		})
		if err := q.request.Accept(json.RawMessage(`{"action":"accept","content":` + content + `}`)); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %s %v, want %s", content, got, err, want)
		}
	}
	var said ModelAnswer
	if err := Model("model", ModelRequest{Prompt: "?"}, &said).request.Accept(json.RawMessage(`{"role":"assistant","content":{"type":"text","text":"yes"},"model":"m","stopReason":null}`)); err != nil || said.Text != "yes" {
		t.Errorf("%+v %v", said, err)
	}
	var roots []Root
	if err := Roots("roots", &roots).request.Accept(json.RawMessage(`{"roots":[{"uri":"file:///x","name":null}]}`)); err != nil || len(roots) != 1 {
		t.Errorf("%+v %v", roots, err)
	}
}
