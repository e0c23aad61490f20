package value

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"

	"example.com/erlmcp/function/internal/mcp"
)

// TestCoerce has the rows of public reports (ha-mcp#218, Teamwork/mcp#383, anythingmcp#169), and what must stay as it is.
func TestCoerce(t *testing.T) {
	var s jsonschema.Schema
	if err := json.Unmarshal([]byte(`{"type":"object","properties":{
		"n":{"type":"integer","minimum":1},"x":{"type":"number"},"b":{"type":"boolean"},"s":{"type":"string"},"either":{"type":["integer","string"]},
		"maybe":{"anyOf":[{"type":"integer"},{"type":"null"}]},"null":{"type":["integer","null"]},"list":{"type":"array","items":{"type":"integer"}},"any":{},
		"in":{"type":"object","properties":{"n":{"$ref":"#/$defs/n"}},"additionalProperties":{"type":"boolean"}},"two":{"anyOf":[{"type":"integer"},{"type":"boolean"}]},
		"ref":{"$ref":"#/$defs/o"}
	},"$defs":{"n":{"type":"integer"},"o":{"type":"object","properties":{"n":{"type":"integer"}}}}}`), &s); err != nil {
		t.Fatal(err)
	}
	checker, err := NewChecker(&s)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ given, want string }{
		{`{"n":"5"}`, `{"n":5}`},
		{`{"n":"9007199254740993"}`, `{"n":9007199254740993}`},
		{`{"n":"18446744073709551615"}`, `{"n":18446744073709551615}`},
		{`{"n":"0"}`, `{"n":"0"}`}, // it does not fit as a number, and the fault is about what was sent
		{`{"n":"05"}`, `{"n":"05"}`},
		{`{"n":" 5"}`, `{"n":" 5"}`},
		{`{"n":"+5"}`, `{"n":"+5"}`},
		{`{"n":"5.5"}`, `{"n":"5.5"}`},
		{`{"n":""}`, `{"n":""}`},
		{`{"n":"0x5"}`, `{"n":"0x5"}`},
		{`{"x":"-1.5e3"}`, `{"x":-1500}`},
		{`{"x":"NaN"}`, `{"x":"NaN"}`},
		{`{"b":"true"}`, `{"b":true}`},
		{`{"b":"yes"}`, `{"b":"yes"}`},
		{`{"b":1}`, `{"b":1}`},
		{`{"s":5}`, `{"s":"5"}`},
		{`{"s":5.5}`, `{"s":5.5}`},
		{`{"s":true}`, `{"s":true}`},
		{`{"either":"5"}`, `{"either":"5"}`},
		{`{"maybe":"5","null":"6"}`, `{"maybe":5,"null":6}`},
		{`{"maybe":null}`, `{"maybe":null}`},
		{`{"list":["1",2,"x"]}`, `{"list":[1,2,"x"]}`},
		{`{"any":"5","other":"5"}`, `{"any":"5","other":"5"}`},
		{`{"in":{"n":"5","more":"false"}}`, `{"in":{"n":5,"more":false}}`},
		{`{"two":"5"}`, `{"two":"5"}`},
		{`{"ref":{"n":"5"}}`, `{"ref":{"n":5}}`},
	} {
		given, err := mcp.Decode([]byte(c.given))
		want, err2 := mcp.Decode([]byte(c.want))
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		if checker.Coerce(given); !reflect.DeepEqual(given, want) {
			t.Errorf("%s: %#v, want %s", c.given, given, c.want)
		}
	}
}
