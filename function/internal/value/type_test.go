package value

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"example.com/erlmcp/function/internal/mcp"
)

// colour is an enum as Go programs have them.
type colour int

func (c colour) MarshalText() ([]byte, error) {
	if c > 1 {
		return nil, errors.New("there is no such colour")
	}
	return []byte([]string{"red", "green"}[c]), nil
}

func (c *colour) UnmarshalText(text []byte) error {
	switch string(text) {
	case "red":
		*c = 0
	case "green":
		*c = 1
	default:
		return errors.New("it is red or green")
	}
	return nil
}

type (
	named8 int8
	words  []string
	raws   json.RawMessage
	base   struct {
		ID   string `json:"id"`
		Note string `json:"note,omitempty"`
	}
	tree struct {
		Name string  `json:"name"`
		Kids []*tree `json:"kids,omitempty"`
		Next *tree   `json:"next"`
	}
	branch map[string]branch
	embeds struct {
		base
		More int `json:"more"`
	}
	Exported struct {
		Far string `json:"far"`
	}
	embedsPointer struct {
		*Exported
		Near string `json:"near"`
	}
	hides struct {
		base
		ID int `json:"id"`
	}
	selfDecoding struct{ A int }
)

func (s *selfDecoding) UnmarshalJSON([]byte) error  { return nil }
func (s selfDecoding) MarshalJSON() ([]byte, error) { return []byte("1"), nil }

// A kind is a type of a field, and what JSON Schema has for it.
type kind struct {
	of     reflect.Type
	schema string // of a field; "" where In and Out differ
	loose  bool   // a string of which the schema can't say what is in it, or a number of 64 bits
	filled any
}

func field1[T any](schema string, filled T) kind {
	return kind{of: reflect.TypeFor[T](), schema: schema, filled: filled}
}

func loose[T any](schema string, filled T) kind {
	k := field1(schema, filled)
	k.loose = true
	return k
}

var seven = 7

var kinds60 = []kind{
	field1(`{"type":"boolean"}`, true),
	loose(`{"type":"integer"}`, 42),
	field1(`{"type":"integer","minimum":-128,"maximum":127}`, int8(-128)),
	field1(`{"type":"integer","minimum":-32768,"maximum":32767}`, int16(300)),
	field1(`{"type":"integer","minimum":-2147483648,"maximum":2147483647}`, int32(1<<30)),
	loose(`{"type":"integer"}`, int64(math.MinInt64)),
	loose(`{"type":"integer","minimum":0}`, uint(7)),
	field1(`{"type":"integer","minimum":0,"maximum":255}`, uint8(255)),
	field1(`{"type":"integer","minimum":0,"maximum":65535}`, uint16(65535)),
	field1(`{"type":"integer","minimum":0,"maximum":4294967295}`, uint32(1<<31)),
	loose(`{"type":"integer","minimum":0}`, uint64(math.MaxUint64)),
	field1(`{"type":"integer","minimum":-128,"maximum":127}`, named8(3)),
	loose(`{"type":"number"}`, float32(0.1)),
	loose(`{"type":"number"}`, 1e300),
	field1(`{"type":"string"}`, "<a href=\"x\">&\u2028é\x00\xff"),
	loose(`{"type":"string","contentEncoding":"base64"}`, []byte{0, 1, 255}),
	field1(`{"type":"array","items":{"type":"integer","minimum":0,"maximum":255},"minItems":3,"maxItems":3}`, [3]byte{1, 2, 3}),
	field1(`{}`, json.RawMessage(`{"a":[9007199254740993,"<"]}`)),
	loose(`{"type":"string","contentEncoding":"base64"}`, raws("x")),
	field1(`{"type":"number"}`, json.Number("12.5")),
	field1[any](`{}`, map[string]any{"n": int64(9007199254740993), "s": []any{nil, "x", 1.5}}),
	loose(`{"type":"string","description":"a duration such as 90s or 1h30m","minLength":2,"pattern":`+string(mustJSON(durationPattern))+`}`, 90*time.Second),
	loose(`{"type":"string","format":"date-time"}`, time.Date(2026, 11, 29, 1, 2, 3, 4, time.FixedZone("", 3600))),
	loose(`{"type":"string"}`, netip.MustParseAddr("192.0.2.1")),
	loose(`{"type":"string"}`, netip.MustParsePrefix("2001:db8::/32")),
	loose(`{"type":"string","format":"uri-reference"}`, url.URL{Scheme: "https", Host: "[::1]:80", Path: "/a b", RawQuery: "q=%3Ca%3E"}),
	loose(`{"type":"string"}`, colour(1)),
	field1(`{"type":"integer"}`, *big.NewInt(1 << 40)),
	field1(`{"type":"array","items":{"type":"string"}}`, []string{"a", "b"}),
	field1(`{"type":"array","items":{"type":"string"}}`, words{"a"}),
	loose(`{"type":"array","items":{"type":"string"}}`, []colour{0, 1}),
	loose(`{"type":"array","items":{"type":"array","items":{"type":"integer"}}}`, [][]int{{1}, {2, 3}}),
	field1(`{"type":"array","items":{"type":"boolean"},"minItems":2,"maxItems":2}`, [2]bool{true, false}),
	field1(`{"type":"array","items":{}}`, []any{"x", nil, true}),
	loose(`{"type":"object","additionalProperties":{"type":"integer"},"properties":{}}`, map[string]int{"a": 1, "ä.b": 2}),
	field1(`{"type":"object","properties":{}}`, map[string]any{"a": "x", "b": nil}),
	loose(`{"type":"object","additionalProperties":{"type":"string"},"propertyNames":{"type":"string","pattern":"^(0|-?[1-9][0-9]*)$"},"properties":{}}`, map[int]string{-1: "x", 10: "y"}),
	loose(`{"type":"object","additionalProperties":{"type":"string"},"propertyNames":{"type":"string","pattern":"^(0|[1-9][0-9]*)$"},"properties":{}}`, map[uint8]string{255: "x"}),
	loose(`{"type":"object","additionalProperties":{"type":"boolean"},"properties":{}}`, map[colour]bool{1: true}),
	loose(`{"type":"object","additionalProperties":{"type":"boolean"},"properties":{}}`, map[netip.Addr]bool{netip.MustParseAddr("::1"): true}),
	field1(`{"type":"object","additionalProperties":{"type":"object","properties":{"id":{"type":"string"},"note":{"type":"string"}},"required":["id"],"additionalProperties":false},"properties":{}}`, map[string]base{"a": {ID: "x"}}),
	field1(`{"type":"object","properties":{"id":{"type":"string"},"note":{"type":"string"}},"required":["id"],"additionalProperties":false}`, base{"x", "y"}),
	field1(`{"type":"object","properties":{},"additionalProperties":false}`, struct{}{}),
	loose(`{"type":"object","properties":{"id":{"type":"string"},"note":{"type":"string"},"more":{"type":"integer"}},"required":["id","more"],"additionalProperties":false}`, embeds{base{ID: "x"}, 3}),
	field1(`{"type":"object","properties":{"far":{"type":"string"},"near":{"type":"string"}},"required":["near"],"additionalProperties":false}`, embedsPointer{&Exported{"f"}, "n"}),
	loose(`{"type":"object","properties":{"note":{"type":"string"},"id":{"type":"integer"}},"required":["id"],"additionalProperties":false}`, hides{base{"x", "y"}, 3}),
	loose(`{"type":"integer"}`, &seven),
	loose(`{"type":"integer"}`, new(&seven)),
	field1(`{"type":"object","properties":{"id":{"type":"string"},"note":{"type":"string"}},"required":["id"],"additionalProperties":false}`, &base{ID: "x"}),
	loose(`{"type":"array","items":{"type":"integer"}}`, []*int{&seven}),
	field1(`{"type":"array","items":{"type":"object","properties":{"id":{"type":"string"},"note":{"type":"string"}},"required":["id"],"additionalProperties":false}}`, []base{{ID: "x"}}),
	field1(`{"$ref":"#/$defs/tree"}`, tree{Name: "a", Kids: []*tree{{Name: "b"}}, Next: &tree{Name: "c"}}),
	field1(`{"$ref":"#/$defs/tree"}`, &tree{Name: "a"}),
	field1(`{"type":"array","items":{"$ref":"#/$defs/tree"}}`, []tree{{Name: "a"}}),
	field1(`{"$ref":"#/$defs/branch"}`, branch{"a": {"b": nil}}),
	loose(`{"type":"object","additionalProperties":{"type":"array","items":{"type":"string","format":"date-time"}},"properties":{}}`, map[string][]time.Time{"a": {time.Unix(0, 0)}}),
	loose(`{"type":"object","properties":{"A":{"type":"integer"}},"required":["A"],"additionalProperties":false}`, struct{ A, b int }{1, 2}),
	loose(`{"type":"object","properties":{"x":{"type":"string","pattern":"^(0|-?[1-9][0-9]*)$"},"y":{"type":"string","enum":["true","false"]},"z":{"type":"string","pattern":`+string(mustJSON(numberPattern))+`}},"required":["x","y","z"],"additionalProperties":false}`, struct {
		X int     `json:"x,string"`
		Y bool    `json:"y,string"`
		Z float64 `json:"z,string"`
	}{-3, true, 0.5}),

	loose(`{"type":"integer","minimum":0}`, uintptr(3)),
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// holding is a struct with one field of the kind.
func holding(of reflect.Type, tag string) reflect.Type {
	return reflect.StructOf([]reflect.StructField{{Name: "V", Type: of, Tag: reflect.StructTag(strings.TrimSpace(`json:"v" ` + tag))}})
}

func described(t testing.TB, of reflect.Type, use Use) (*Type, *jsonschema.Schema, *jsonschema.Resolved) {
	t.Helper()
	ty, err := Of(of, use)
	if err != nil {
		t.Fatalf("%v: %v", of, err)
	}
	s, err := ty.Schema()
	if err != nil {
		t.Fatalf("%v: %v", of, err)
	}
	resolved, err := s.CloneSchemas().Resolve(&jsonschema.ResolveOptions{ValidateDefaults: true})
	if err != nil {
		t.Fatalf("%v: %s: %v", of, mustJSON(s), err)
	}
	return ty, s, resolved
}

// candidates are values, of which a schema takes some.
var candidates = []string{
	`null`, `true`, `false`, `0`, `-0`, `1`, `5.0`, `5e0`, `-1`, `127`, `128`, `-128`, `-129`, `255`, `256`, `65535`, `65536`, `2147483647`, `2147483648`, `-2147483649`,
	`4294967295`, `4294967296`, `9007199254740993`, `9223372036854775807`, `-9223372036854775808`, `1.5`, `-0.25`, `1e300`, `""`, `"x"`, `"5"`, `"-3"`, `"0.5"`,
	`"true"`, `"AAH/"`, `"AA=="`, `"5s"`, `"1h30m"`, `"-90s"`, `"1.5h"`, `"-"`, `"0"`, `"2026-11-29T01:02:03Z"`, `"2026-11-29t01:02:03.5z"`, `"2026-06-30T23:59:60+00:00"`,
	`"red"`, `"192.0.2.1"`, `"https://example.com/a%20b"`, `[]`, `[1]`, `[1,2,3]`, `[true,false]`, `["a","b"]`, `[[1],[]]`, `[null]`, `[{"id":"x"}]`, `{}`, `{"a":1}`,
	`{"a":"x"}`, `{"1":"x"}`, `{"-1":"x"}`, `{"01":"x"}`, `{"300":"x"}`, `{"red":true}`, `{"id":"x"}`, `{"id":"x","note":"y"}`, `{"id":"x","more":1}`, `{"id":1}`, `{"ID":"x"}`,
	`{"near":"x"}`, `{"near":"x","far":"y"}`, `{"name":"a"}`, `{"name":"a","kids":[{"name":"b"}],"next":{"name":"c"}}`, `{"name":"a","kids":[{}]}`, `{"a":{"b":{}}}`,
	`{"x":"-3","y":"true","z":"0.5"}`, `{"x":-3,"y":"true","z":"0.5"}`, `{"a":{"id":"x"}}`, `{"A":1}`, `{"a":["2026-11-29T01:02:03Z"]}`,
}

// TestKinds holds what is said of each kind of field: what the schema admits is decoded, as another validator reads the schema, and what is
// encoded fits it, zero and filled.
func TestKinds(t *testing.T) {
	if len(kinds60) < 58 {
		t.Errorf("only %d kinds", len(kinds60))
	}
	for _, k := range kinds60 {
		of := holding(k.of, "")
		in, schema, other := described(t, of, In)
		out, _, otherOut := described(t, of, Out)
		checker, err := NewChecker(schema)
		if err != nil {
			t.Fatal(err)
		}
		var published struct{ Properties struct{ V json.RawMessage } }
		if err := json.Unmarshal(Published(mustJSON(schema)), &published); err != nil {
			t.Fatal(err)
		}
		if got := string(published.Properties.V); got != k.schema {
			t.Errorf("%v: published as\n%s, want\n%s", k.of, got, k.schema)
		}
		for _, filled := range []reflect.Value{reflect.Zero(k.of), reflect.ValueOf(k.filled)} {
			v := reflect.New(of).Elem()
			v.Field(0).Set(filled)
			text, err := out.Encode(nil, v.Interface())
			if err != nil {
				if k.of == reflect.TypeFor[tree]() || !filled.IsZero() {
					t.Errorf("%v: %v", k.of, err)
				}
				continue
			}
			got, err := mcp.Decode(text)
			if err != nil {
				t.Errorf("%v: %s: %v", k.of, text, err)
				continue
			}
			if err := otherOut.Validate(got); err != nil {
				t.Errorf("%v: %s does not fit what is published: %v", k.of, text, err)
			}
			back := reflect.New(of)
			if err := in.Decode(got, back.Interface()); err != nil {
				t.Errorf("%v: %s does not come back: %v", k.of, text, err)
			} else if again, err := out.Encode(nil, back.Elem().Interface()); err != nil || string(again) != string(text) {
				t.Errorf("%v: %s comes back as %s, %v", k.of, text, again, err)
			}
		}
		admitted := 0
		for _, text := range candidates {
			v, err := mcp.Decode([]byte(`{"v":` + text + `}`))
			if err != nil {
				t.Fatal(err)
			}
			checker.Settle(v, true)
			mine, others := checker.Check(v), other.Validate(v)
			if (mine == nil) != (others == nil) {
				t.Errorf("%v: of %s: %v; the library: %v", k.of, text, mine, others)
			}
			into := reflect.New(of)
			if err := in.Decode(v, into.Interface()); mine == nil && err != nil && !k.loose {
				t.Errorf("%v: %s is admitted and not decoded: %v", k.of, text, err)
			} else if mine == nil && err == nil {
				admitted++
			}
		}
		if admitted == 0 {
			t.Errorf("%v: nothing is decoded", k.of)
		}
	}
}

// TestReferences are URLs in the characters that RFC 3986 has.
func TestReferences(t *testing.T) {
	for text, want := range map[string]string{
		"https://[::1]:80/a%20b?c=<d>&e=[ü]#f": "https://[::1]:80/a%20b?c=%3Cd%3E&e=%5B%C3%BC%5D#f",
		"https://example.com":                  "https://example.com",
		"mailto:a@example.com?x={y}":           "mailto:a@example.com?x=%7By%7D",
		"/a/[b]?q=%zz|^":                       "/a/%5Bb%5D?q=%25zz%7C%5E",
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := reference(u); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// TestUndescribed: what can't be described stops the start with the field and the way out.
func TestUndescribed(t *testing.T) {
	type nest struct {
		Lines []struct {
			Deep map[string]struct {
				C chan int `json:"c"`
			} `json:"deep"`
		} `json:"lines"`
	}
	for _, c := range []struct {
		of   reflect.Type
		use  Use
		want string
	}{
		{reflect.TypeFor[nest](), In, `field Lines.Deep.C: chan int is not a value of JSON: leave it out with json:"-"`},
		{reflect.TypeFor[struct{ F func() }](), Out, "field F: func() is not a value of JSON"},
		{reflect.TypeFor[struct{ E error }](), In, "field E: error is not a value of JSON"},
		{reflect.TypeFor[struct{ C complex128 }](), Out, "field C: complex128 is not"},
		{reflect.TypeFor[struct{ M map[bool]int }](), In, "field M: the keys of a map are strings in JSON, which bool is not"},
		{reflect.TypeFor[struct {
			S string `json:"s,string"`
		}](), In, "field S: a string in a string"},
		{reflect.TypeFor[struct{ S selfDecoding }](), In, "decodes itself (UnmarshalJSON), so that its schema can't be seen: say what it is with InputSchema, or use a json.RawMessage"},
		{reflect.TypeFor[struct{ S *selfDecoding }](), Out, "encodes itself (MarshalJSON), so that its schema can't be seen: say what it is with OutputSchema"},
		{reflect.TypeFor[struct{ L slog.Level }](), In, "decodes itself"},
		{holding(reflect.TypeFor[int](), `pattern:"^x"`), In, `field V: the tag pattern:"^x" stands on a string, and a field of type int is a whole number`},
		{holding(reflect.TypeFor[string](), `minimum:"1"`), In, "stands on a whole number or a number, and a field of type string is a string"},
		{holding(reflect.TypeFor[string](), `minItems:"1"`), In, "stands on a list"},
		{holding(reflect.TypeFor[any](), `enum:"1"`), In, "a field of type interface {} is of any type"},
		{holding(reflect.TypeFor[int](), `minimum:"few"`), In, `the tag minimum:"few": "few" is not a number`},
		{holding(reflect.TypeFor[int](), `maximum:"9007199254740993"`), In, "can't be held exactly"},
		{holding(reflect.TypeFor[uint](), `minimum:"-1"`), In, "the type has no such numbers"},
		{holding(reflect.TypeFor[int](), `enum:"1,two"`), In, `"two" is not JSON`},
		{holding(reflect.TypeFor[int](), `multipleOf:"0"`), In, "it must be more than 0"},
		{holding(reflect.TypeFor[string](), `maxLength:"-1"`), In, "is not a number of characters"},
		{holding(reflect.TypeFor[string](), `pattern:"("`), In, "error parsing regexp"},
		{holding(reflect.TypeFor[time.Duration](), `pattern:"^1"`), In, "has a pattern of its own"},
		{holding(reflect.TypeFor[[]int](), `uniqueItems:"yes"`), In, "uniqueItems"},
		{holding(reflect.TypeFor[int](), `default:"5" maximum:"3"`), In, "the default or an example, 5, does not fit: 5 is more than 3"},
		{holding(reflect.TypeFor[string](), `examples:"a,b" enum:"a"`), In, `"b", does not fit`},
		{holding(reflect.TypeFor[string](), `minlength:"3"`), In, "field V: the tag minlength is spelled minLength"},
		{holding(reflect.TypeFor[string](), `description:"a" jsonschema:"b"`), In, "leave one out"},
	} {
		ty, err := Of(c.of, c.use)
		if err == nil {
			_, err = ty.Schema()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %s", c.of, err, c.want)
		}
	}
}

// TestTags are published where they are due: on a value, the elements of a list, or the values of a map.
func TestTags(t *testing.T) {
	for _, c := range []struct {
		of        reflect.Type
		tag, want string
		fits, not string
	}{
		{reflect.TypeFor[string](), `enum:"a,b" title:"T" jsonschema:"D"`, `{"type":"string","title":"T","description":"D","enum":["a","b"]}`, `"a"`, `"c"`},
		{reflect.TypeFor[[]string](), `enum:"a,b" minItems:"1" maxItems:"2" uniqueItems:"true"`, `{"type":"array","items":{"type":"string","enum":["a","b"]},"minItems":1,"maxItems":2,"uniqueItems":true}`, `["a","b"]`, `["a","a"]`},
		{reflect.TypeFor[map[string]int](), `minimum:"1"`, `{"type":"object","additionalProperties":{"type":"integer","minimum":1},"properties":{}}`, `{"x":1}`, `{"x":0}`},
		{reflect.TypeFor[map[string][]string](), `pattern:"^x" description:"D"`, `{"type":"object","description":"D","additionalProperties":{"type":"array","items":{"type":"string","pattern":"^x"}},"properties":{}}`, `{"a":["x"]}`, `{"a":["y"]}`},
		{reflect.TypeFor[*float64](), `exclusiveMinimum:"0" exclusiveMaximum:"1" examples:"0.5,0.25"`, `{"type":"number","examples":[0.5,0.25],"exclusiveMinimum":0,"exclusiveMaximum":1}`, `0.5`, `1`},
		{reflect.TypeFor[int](), `multipleOf:"3" default:"6"`, `{"type":"integer","default":6,"multipleOf":3}`, `9`, `10`},
		{reflect.TypeFor[bool](), `default:"true"`, `{"type":"boolean","default":true}`, `false`, `1`},
		{reflect.TypeFor[string](), `minLength:"2" maxLength:"3" format:"email" default:"abc"`, `{"type":"string","default":"abc","minLength":2,"maxLength":3,"format":"email"}`, `"äöü"`, `"äöüß"`},
		{reflect.TypeFor[[]int](), `default:"[1,2]" examples:"[3]"`, `{"type":"array","items":{"type":"integer"},"default":[1,2],"examples":[[3]]}`, `[3]`, `["3"]`},
		{reflect.TypeFor[time.Duration](), `default:"5s"`, `{"type":"string","description":"a duration such as 90s or 1h30m","default":"5s","minLength":2,"pattern":` + string(mustJSON(durationPattern)) + `}`, `"90s"`, `"x"`},
		{reflect.TypeFor[string](), `header:"Shard"`, `{"type":"string","x-mcp-header":"Shard"}`, `"x"`, `1`},
		{reflect.TypeFor[uint8](), `maximum:"9"`, `{"type":"integer","minimum":0,"maximum":9}`, `9`, `10`},
	} {
		_, s, other := described(t, holding(c.of, c.tag), In)
		var published struct{ Properties struct{ V json.RawMessage } }
		if err := json.Unmarshal(Published(mustJSON(s)), &published); err != nil {
			t.Fatal(err)
		}
		if got := string(published.Properties.V); got != c.want {
			t.Errorf("%v %s: published as\n%s, want\n%s", c.of, c.tag, got, c.want)
		}
		checker, err := NewChecker(s)
		if err != nil {
			t.Fatal(err)
		}
		for text, want := range map[string]bool{c.fits: true, c.not: false} {
			v, _ := mcp.Decode([]byte(`{"v":` + text + `}`))
			if err := checker.Check(v); (err == nil) != want || (other.Validate(v) == nil) != want {
				t.Errorf("%v %s: %s: %v, the library: %v", c.of, c.tag, text, err, other.Validate(v))
			}
		}
	}
}

// TestDefaults stand for what is absent, and for null.
func TestDefaults(t *testing.T) {
	type in struct {
		N    int      `json:"n" default:"6"`
		Text string   `json:"text,omitempty" default:"none"`
		List []string `json:"list" default:"[\"a\"]"`
		Sub  struct {
			On bool `json:"on" default:"true"`
		} `json:"sub"`
		Kids map[string]struct {
			On bool `json:"on" default:"true"`
		} `json:"kids,omitempty"`
	}
	ty, s, _ := described(t, reflect.TypeFor[in](), In)
	checker, err := NewChecker(s)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`{"sub":{}}`: `{"list":["a"],"n":6,"sub":{"on":true},"text":"none"}`,
		`{"n":null,"text":null,"list":null,"sub":{"on":null},"kids":null}`:         `{"list":["a"],"n":6,"sub":{"on":true},"text":"none"}`,
		`{"n":1,"text":"","list":[],"sub":{"on":false},"kids":{"a":{}}}`:           `{"kids":{"a":{"on":true}},"list":[],"n":1,"sub":{"on":false}}`,
		`{"n":1,"text":"","list":[],"sub":{"on":false},"kids":{"a":{"on":false}}}`: `{"kids":{"a":{"on":false}},"list":[],"n":1,"sub":{"on":false}}`,
	} {
		for range 2 { // a default is not shared
			v, _ := mcp.Decode([]byte(text))
			checker.Settle(v, true)
			var got in
			if err := errors.Join(checker.Check(v), ty.Decode(v, &got)); err != nil {
				t.Errorf("%s: %v", text, err)
			}
			var tree any
			json.Unmarshal(mustJSON(got), &tree)
			if string(mustJSON(tree)) != want {
				t.Errorf("%s: %s, want %s", text, mustJSON(tree), want)
			}
			if got.List != nil {
				got.List = append(got.List[:0], "changed")
			}
		}
	}
}

// FuzzType makes types and values of them: what is encoded fits what is published, and what fits is decoded.
func FuzzType(f *testing.F) {
	for seed := range uint64(50) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 1))
		kinds, strict := kinds60, seed%2 == 0
		if strict { // all that is admitted is decoded
			kinds = slices.DeleteFunc(slices.Clone(kinds), func(k kind) bool { return k.loose })
		}
		of := someStruct(r, kinds, 3)
		in, schema, other := described(t, of, In)
		out, _, otherOut := described(t, of, Out)
		checker, err := NewChecker(schema)
		if err != nil {
			t.Fatalf("%v: %v", of, err)
		}
		for range 4 {
			v := reflect.New(of).Elem()
			fill(r, v)
			text, err := out.Encode(nil, v.Interface())
			if err != nil {
				t.Fatalf("%v: %v", of, err)
			}
			got, err := mcp.Decode(text)
			if err == nil {
				err = otherOut.Validate(got)
			}
			if err != nil {
				t.Fatalf("%v: %s does not fit: %v", of, text, err)
			}
			for range 4 {
				spoil(r, got)
				checker.Settle(got, false)
				mine, others := checker.Check(got), other.Validate(got)
				if (mine == nil) != (others == nil) {
					t.Fatalf("%v: %s: %v; the library: %v", of, plainJSON(got), mine, others)
				}
				if mine != nil {
					break
				}
				if err := in.Decode(got, reflect.New(of).Interface()); err != nil && strict {
					t.Fatalf("%v: %s: %v", of, plainJSON(got), err)
				}
			}
		}
	})
}

// someStruct is a struct of some fields, some of them of structs.
func someStruct(r *rand.Rand, kinds []kind, depth int) reflect.Type {
	var fields []reflect.StructField
	for i := range r.IntN(6) {
		of := kinds[r.IntN(len(kinds))].of
		if depth > 0 && r.IntN(3) == 0 {
			of = someStruct(r, kinds, depth-1)
		}
		switch r.IntN(6) {
		case 0:
			of = reflect.PointerTo(of)
		case 1:
			of = reflect.SliceOf(of)
		case 2:
			of = reflect.MapOf(reflect.TypeFor[string](), of)
		}
		tag := fmt.Sprintf(`json:"f%d%s"`, i, []string{"", ",omitempty", ",omitzero"}[r.IntN(3)])
		fields = append(fields, reflect.StructField{Name: fmt.Sprintf("F%d", i), Type: of, Tag: reflect.StructTag(tag)})
	}
	return reflect.StructOf(fields)
}

// fill puts what a kind has into a value of it, or leaves it zero.
func fill(r *rand.Rand, v reflect.Value) {
	for _, k := range kinds60 {
		if k.of == v.Type() {
			v.Set(reflect.ValueOf(k.filled))
			return
		}
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(r, v.Field(i))
		}
	case reflect.Pointer:
		if r.IntN(2) == 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(r, v.Elem())
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), r.IntN(3), 3))
		for i := range v.Len() {
			fill(r, v.Index(i))
			if v.Index(i).Kind() == reflect.Pointer && v.Index(i).IsNil() {
				v.SetLen(i) // which has no place in a list
				return
			}
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for i := range r.IntN(3) {
			e := reflect.New(v.Type().Elem()).Elem()
			if fill(r, e); e.Kind() != reflect.Pointer || !e.IsNil() {
				v.SetMapIndex(reflect.ValueOf(fmt.Sprint(i)), e)
			}
		}
	}
}

// spoil puts another value in the place of one, somewhere.
func spoil(r *rand.Rand, v any) {
	other, _ := mcp.Decode([]byte(candidates[r.IntN(len(candidates))]))
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			return
		}
		name := slices.Sorted(maps.Keys(v))[r.IntN(len(v))]
		switch r.IntN(4) {
		case 0:
			v[name] = other
		case 1:
			delete(v, name)
		default:
			spoil(r, v[name])
		}
	case []any:
		if len(v) > 0 {
			v[r.IntN(len(v))] = other
		}
	}
}
