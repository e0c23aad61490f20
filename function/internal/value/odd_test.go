package value

import (
	"encoding"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"example.com/erlmcp/function/internal/mcp"
)

type (
	toItself    *toItself
	turn[T any] struct {
		V    T        `json:"v"`
		Next *turn[T] `json:"next,omitempty"`
	}
	lazy struct{ N int }
	box  struct {
		base `json:"base"`
		More int `json:"more"`
	}
	pointerBox struct {
		*base `json:"base"`
	}
	lentText struct {
		*netip.Addr
		More int
	}
	lentJSON struct {
		json.Unmarshaler
		json.Marshaler
	}
	lentOut struct {
		encoding.TextMarshaler
		More int
	}
	uuid     [16]byte
	pointing [2]byte
	ring     struct{ Left, Right *ring }
	list2    []list2
)

func (l *lazy) IsZero() bool                     { return l.N == 7 }
func (u uuid) MarshalText() ([]byte, error)      { return fmt.Appendf(nil, "%x", u[:]), nil }
func (u *uuid) UnmarshalText(b []byte) error     { _, err := hex.Decode(u[:], b); return err }
func (p *pointing) MarshalText() ([]byte, error) { return p[:], nil }
func (p *pointing) UnmarshalText(b []byte) error { copy(p[:], b); return nil }

// TestOddTypes: what encoding/json does with types that are seldom seen, or a start that stops.
func TestOddTypes(t *testing.T) {
	for _, c := range []struct {
		of   reflect.Type
		use  Use
		want string
	}{
		{reflect.TypeFor[struct{ P toItself }](), In, "is a pointer to itself"},
		{reflect.TypeFor[struct{ P toItself }](), Out, "is a pointer to itself"},
		{reflect.TypeFor[pointerBox](), In, "field base: it is embedded, and its type is not exported"},
		{reflect.TypeFor[struct{ L lentText }](), In, "field L: value.lentText is read by what is embedded in it, which is nil"},
		{reflect.TypeFor[struct{ L lentJSON }](), In, "field L: value.lentJSON is read by what is embedded in it, which is nil"},
		{reflect.TypeFor[struct{ N atomic.Int64 }](), In, "field N: atomic.Int64 has no exported fields"},
		{reflect.TypeFor[struct{ Mu sync.Mutex }](), Out, "field Mu: sync.Mutex has no exported fields"},
		{reflect.TypeFor[struct{ city string }](), In, "has no exported fields"},
		{reflect.TypeFor[struct{ E error }](), Out, "field E: an error has no JSON: answer its text"},
		{reflect.StructOf([]reflect.StructField{{Name: "A", Type: reflect.TypeFor[int]()}, {Name: "city", PkgPath: "a", Type: reflect.TypeFor[int](), Tag: `json:"city"`}}), In, "field city: it has a json tag and is not exported"},
		{reflect.StructOf([]reflect.StructField{{Name: "A", Type: reflect.TypeFor[int](), Tag: `json:"x"`}, {Name: "B", Type: reflect.TypeFor[int](), Tag: `json:"x"`}}), In, "field B: the name x is that of field A too"},
		{reflect.TypeFor[struct{ F func(func(int) bool) }](), Out, "is not a value of JSON"},
		{holding(reflect.TypeFor[time.Time](), `default:"today"`), In, `the default or an example, "today", does not fit`},
		{holding(reflect.TypeFor[netip.Addr](), `enum:"1.2.3.4,here"`), In, `a value of the enum, "here", does not fit`},
		{holding(reflect.TypeFor[[]byte](), `default:"*"`), In, "is not base64"},
		{holding(reflect.TypeFor[int](), `default:"9223372036854775808"`), In, "does not fit into 64 bits"},
		{holding(reflect.TypeFor[uint8](), `enum:"1,300"`), In, "300, does not fit"},
		{holding(reflect.TypeFor[[]string](), `enum:"a,xb" pattern:"^x"`), In, `a value of the enum, "a", does not fit`},
		{holding(reflect.TypeFor[string](), `enum:"a,b,a"`), In, `the enum has "a" twice`},
		{holding(reflect.TypeFor[int](), `minimum:"5" maximum:"3"`), In, "nothing fits its tags"},
		{holding(reflect.TypeFor[int](), `exclusiveMinimum:"3" exclusiveMaximum:"4"`), In, "nothing fits its tags"},
		{holding(reflect.TypeFor[map[string]float64](), `exclusiveMinimum:"3" maximum:"3"`), In, "nothing fits its tags"},
		{holding(reflect.TypeFor[string](), `minLength:"5" maxLength:"3"`), In, "nothing fits its tags"},
		{holding(reflect.TypeFor[[]int](), `minItems:"5" maxItems:"3"`), In, "nothing fits its tags"},
		{holding(reflect.TypeFor[[3]int](), `minItems:"5"`), In, "the type has a length of its own, 3"},
		{holding(reflect.TypeFor[[3]int](), `maxItems:"2"`), Out, "the type has a length of its own, 3"},
		{holding(reflect.TypeFor[time.Duration](), `minLength:"0"`), In, "the type needs 2"},
		{holding(reflect.TypeFor[time.Time](), `format:"date"`), In, "the type has a format of its own, date-time"},
		{holding(reflect.TypeFor[int](), `const:"5"`), In, "there is no tag const: use enum with one value"},
		{holding(reflect.TypeFor[map[string]int](), `minProperties:"1"`), In, "there is no tag minProperties: use InputSchema"},
		{holding(reflect.TypeFor[string](), `required:"true"`), In, "there is no tag required"},
		{holding(reflect.TypeFor[string](), `jsonschema:"required,enum=a,enum=b"`), In, "it is the description"},
		{holding(reflect.TypeFor[string](), `enum: "a,b"`), In, `are not name:"value"`},
		{holding(reflect.TypeFor[string](), `enum:"a`), In, `are not name:"value"`},
		{holding(reflect.TypeFor[string](), `title:"a" title:"b"`), In, "the tag title stands there twice"},
		{reflect.TypeFor[struct {
			L list2 `minItems:"1"`
		}](), In, "is a part of itself"},
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

// TestLikeEncodingJSON holds what goes out against encoding/json, where nothing is said of a difference.
func TestLikeEncodingJSON(t *testing.T) {
	seven := lazy{7}
	for _, v := range []any{
		struct {
			L lazy         `json:"l,omitzero"`
			P *lazy        `json:"p,omitzero"`
			T time.Time    `json:"t,omitzero"`
			S fmt.Stringer `json:"s,omitzero"`
		}{L: seven, S: nil},
		&struct {
			L lazy `json:"l,omitzero"`
		}{seven},
		struct {
			N json.Number `json:"n,string"`
			P *int        `json:"p,string"`
			Q *bool       `json:"q,string,omitempty"`
		}{"12.5", new(3), nil},
		box{base{ID: "x"}, 1}, pointerBox{&base{ID: "x"}}, lentText{Addr: new(netip.MustParseAddr("::1"))}, lentOut{TextMarshaler: uuid{1}},
		map[string]uuid{"a": {1}}, []uuid{{2}}, map[uuid]int{{3}: 1}, []pointing{{'a', 'b'}}[0:1], big.NewFloat(1.5), big.NewRat(1, 2), new(big.Int).Lsh(big.NewInt(1), 90),
		struct {
			//lint:ignore SA5008 encoding/json takes it for the name "-"
			A int `json:"-,"`
			B int `json:"-"`
			C int `json:"a b;ä/~"`
			//lint:ignore SA5008 encoding/json takes no such name
			D int `json:"wrong\"quote"`
			E int `json:",omitempty"`
		}{1, 2, 3, 4, 0},
		struct {
			A any
			B any `json:",omitempty"`
		}{[]*int{nil, new(1)}, map[string]*int{"a": nil}},
		struct{ A any }{errors.New("lost")}, struct{ A any }{struct {
			S string `json:"s,string"`
		}{"x"}},
		time.March, list2{nil, {nil}}[:0], turn[netip.Addr]{V: netip.MustParseAddr("::1"), Next: &turn[netip.Addr]{V: netip.MustParseAddr("::2")}},
		[]float64{1e20, 1.2345678901234567e20, 1e21, -1e20}, json.RawMessage(`{"a":123456789012345678901234567890}`),
	} {
		ty, err := Of(reflect.TypeOf(v), Out)
		if err != nil {
			t.Errorf("%T: %v", v, err)
			continue
		}
		got, err := ty.Encode(nil, v)
		want, err2 := json.Marshal(v)
		if err != nil || err2 != nil || string(got) != string(want) {
			t.Errorf("%T: %s, %v, want %s, %v", v, got, err, want, err2)
		}
		s, err := ty.Schema()
		if err != nil {
			continue
		}
		decoded, err := mcp.DecodeAnswer(got)
		c, err2 := NewChecker(s)
		if err := errors.Join(err, err2); err != nil {
			t.Errorf("%T: %v", v, err)
		} else if err := c.Check(decoded); err != nil {
			t.Errorf("%T: %s does not fit %s: %v", v, got, mustJSON(s), err)
		}
	}
}

// TestNoValue: what has no JSON is said, and nothing is tried without end.
func TestNoValue(t *testing.T) {
	r := &ring{}
	r.Left, r.Right = r, r
	var l list2
	l = append(l, nil, nil)
	l[0], l[1] = l, l
	var a any
	m := map[string]any{}
	m["a"], m["b"], a = m, &a, m
	for want, v := range map[string]any{"nested more than": r, "nested more than 1000 deep": l, "Left": *r, "embedded": lentOut{}, "no JSON": []float64{math.Inf(1), math.NaN()}, "chan int": []any{make(chan int)}, "it is nested": m} {
		ty, err := Of(reflect.TypeOf(v), Out)
		if err != nil {
			t.Errorf("%T: %v", v, err)
			continue
		}
		if _, err := ty.Encode(nil, v); err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 20000 {
			t.Errorf("%T: %.300v, want %s", v, err, want)
		}
	}
}

// TestLongest: of a duration the longest goes out, and comes in again as far as the schema says.
func TestLongest(t *testing.T) {
	ty, s, other := described(t, reflect.TypeFor[[]time.Duration](), Out)
	text, err := ty.Encode(nil, []time.Duration{math.MaxInt64, math.MinInt64, 0, 1})
	v, _ := mcp.Decode(text)
	c, err2 := NewChecker(s)
	if err := errors.Join(err, err2, c.Check(v), other.Validate(v)); err != nil {
		t.Errorf("%s: %v", text, err)
	}
}

// TestNames: of recursive types the names are the same at each start, and such as references hold.
func TestNames(t *testing.T) {
	type both struct {
		A turn[netip.Addr]      `json:"a"`
		B turn[map[string]base] `json:"b"`
		C turn[int]             `json:"c"`
		D list2                 `json:"d"`
		E list2                 `json:"e,omitempty" description:"more"`
	}
	first := ""
	for range 20 {
		_, s, _ := described(t, reflect.TypeFor[both](), In)
		text := string(mustJSON(s))
		for _, name := range slices.Collect(maps.Keys(s.Defs)) {
			if strings.ContainsAny(name, "/[].~% ") {
				t.Errorf("a name is %s", name)
			}
		}
		if first == "" {
			first = text
		}
		if text != first {
			t.Fatalf("%s\n%s", text, first)
		}
		if _, err := NewChecker(s); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWritten is of schemas that are written by hand.
func TestWritten(t *testing.T) {
	checker := func(schema string) (*Checker, error) {
		var s jsonschema.Schema
		if err := json.Unmarshal([]byte(schema), &s); err != nil {
			t.Fatal(err)
		}
		return NewChecker(&s)
	}
	for _, schema := range []string{
		`{"$ref":"#"}`, `{"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"anyOf":[{"type":"string"},{"$ref":"#/$defs/a"}]}},"properties":{"x":{"$ref":"#/$defs/a"}}}`,
		`{"properties":{"a":{"not":{"$ref":"#/properties/a"}}}}`, `{"$schema":"http://json-schema.org/draft-07/schema#","definitions":{"a":{"allOf":[{"$ref":"#/definitions/a"}]}}}`,
	} {
		if _, err := checker(schema); err == nil || !strings.Contains(err.Error(), "leads back to its own schema") {
			t.Errorf("%s: %v", schema, err)
		}
	}
	for _, c := range []struct{ schema, value, settled, want string }{
		{`{"properties":{"a":{"properties":{"n":{"type":"integer"}}},"b":{"$ref":"#/properties/a"}}}`, `{"b":{"n":"x"}}`, `{"b":{"n":"x"}}`, `b.n: "x" is not a whole number`},
		{`{"$schema":"http://json-schema.org/draft-07/schema#","definitions":{"a/b":{"properties":{"n":{"type":"integer"}}}},"properties":{"b":{"$ref":"#/definitions/a~1b"}}}`, `{"b":{"n":"x"}}`, `{"b":{"n":"x"}}`, `b.n: "x" is not a whole number`},
		{`{"properties":{"a":{"anyOf":[{"type":"string"},{"type":"integer"}]},"b":{"const":"x"},"c":{"anyOf":[{"type":"string"},{"type":"null"}]},"d":{"not":{"type":"null"}}}}`, `{"a":null,"b":null,"c":null,"d":null}`, `{"c":null}`, ``},
		{`{"additionalProperties":{"type":"integer"},"patternProperties":{"^x":{"type":"string"}}}`, `{"a":null,"x":null,"b":1}`, `{"b":1}`, ``},
		{`{"allOf":[{"properties":{"a":{"type":"string"}}}],"properties":{"b":{"anyOf":[{"type":"null"},{"type":"object","properties":{"k":{"type":"string"}}}]}}}`, `{"a":null,"b":{"k":null}}`, `{"b":{}}`, ``},
		{`{"properties":{"a":{"type":"integer"}},"required":["a"]}`, `{"a":null}`, `{"a":null}`, `a: null is not a whole number`},
	} {
		k, err := checker(c.schema)
		if err != nil {
			t.Errorf("%s: %v", c.schema, err)
			continue
		}
		v, _ := mcp.Decode([]byte(c.value))
		k.Settle(v, true)
		got := ""
		if err := k.Check(v); err != nil {
			got = err.Error()
		}
		if plainJSON(v) != c.settled || got != c.want {
			t.Errorf("%s of %s: %s, %s", c.schema, c.value, plainJSON(v), got)
		}
	}
}

// TestEffort: a small request can't buy a long check, which would not end without a bound.
func TestEffort(t *testing.T) {
	many := "[" + strings.Repeat("1,", 200000) + "1]"
	var distinct strings.Builder
	for i := range 100000 {
		fmt.Fprintf(&distinct, "%d,", i)
	}
	deep := strings.Repeat(`{"left":`, 90) + `{"op":"none"}` + strings.Repeat("}", 90)
	for _, c := range []struct{ schema, value, want string }{
		{`{"items":{"type":"string"}}`, many, "; and more"},
		{`{"items":{"anyOf":[{"type":"string"},{"type":"null"},{"type":"integer"}]}}`, many, ""}, // alternatives beside each other
		{`{"uniqueItems":true}`, "[" + distinct.String() + `"x"]`, ""},
		{`{"uniqueItems":true}`, many, "; and more"},
		{`{"oneOf":[{"properties":{"op":{"const":"add"},"left":{"$ref":"#"}}},{"properties":{"op":{"const":"sub"},"left":{"$ref":"#"}}}]}`, deep, "takes too long to be held against its schema"},
		{`{"not":{"anyOf":[{"properties":{"op":{"const":"add"},"left":{"$ref":"#/not"}}},{"properties":{"op":{"const":"sub"},"left":{"$ref":"#/not"}}}]}}`, deep, "takes too long to be held against its schema"},
	} {
		var s jsonschema.Schema
		if err := json.Unmarshal([]byte(c.schema), &s); err != nil {
			t.Fatal(err)
		}
		k, err := NewChecker(&s)
		if err != nil {
			t.Fatal(err)
		}
		v, err := mcp.Decode([]byte(c.value))
		if err != nil {
			t.Fatal(err)
		}
		k.Settle(v, true)
		err = k.Check(v)
		if got := fmt.Sprint(err); !strings.Contains(got, c.want) || (err == nil) != (c.want == "") || len(got) > 3000 {
			t.Errorf("%s: %.500s, want %s", c.schema, got, c.want)
		}
	}
}

// TestPublished is what no client refuses.
func TestPublished(t *testing.T) {
	for schema, want := range map[string]string{
		`{"type":"array","items":true}`: `{"type":"array","items":{}}`,
		`{}`:                            `{}`,
		`{"type":["object"],"dependencies":{"a":true,"b":["c"]}}`:              `{"type":"object","dependencies":{"a":{},"b":["c"]},"properties":{}}`,
		`{"type":["object","null"]}`:                                           `{"type":["object","null"],"properties":{}}`,
		`{"type":"object","properties":{"type":true,"a":{"type":["string"]}}}`: `{"type":"object","properties":{"type":{},"a":{"type":"string"}}}`,
	} {
		if got := string(Published(json.RawMessage(schema))); got != want {
			t.Errorf("%s: %s, want %s", schema, got, want)
		}
	}
}
