package strictjson_test

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/strictjson"
)

type (
	point struct {
		X int `json:"x"`
		Y int // without a tag
	}
	base struct {
		Kind  string `json:"kind"`
		Twice string
	}
	other struct{ Twice string }
	deep  struct {
		base
		*other
		Kind  int            `json:"Kind"` // beside base's kind, which only case tells apart
		Next  *deep          `json:"next,omitempty"`
		Point point          `json:"point"`
		List  []point        `json:"list"`
		Pair  [2]point       `json:"pair"`
		Map   map[string]int `json:"map"`
		Of    map[string]point
		Tens  map[int]string `json:"tens"`
		Free  any            `json:"free"`
		Time  time.Time      `json:"time"`
		Bytes []byte         `json:"bytes"`
		Own   own            `json:"own"`
		Raw   json.RawMessage
		//lint:ignore SA5008 encoding/json takes no such name
		Odd  string `json:"ö\"" `
		Gone string `json:"-"`
		//lint:ignore SA5008 it is the member "-"
		Dash string `json:"-,"`
	}
	// own decodes itself in the way that most such types do.
	own struct {
		Rows int `json:"rows"`
	}
)

func (o *own) UnmarshalJSON(text []byte) error {
	type plain own
	return json.Unmarshal(text, (*plain)(o))
}

func decoded(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestTypeTakesNamesAsTheyAre(t *testing.T) {
	of := strictjson.TypeOf(reflect.TypeFor[*deep](), []string{"limit"})
	for _, c := range []struct{ text, fault string }{
		{`{}`, ""},
		{`{"kind":"a","Kind":1,"next":{"next":{"point":{"x":1,"Y":2}}},"unknown":{"Rows":1}}`, ""},
		{`{"map":{"X":1,"x":2},"free":{"Rows":1,"rows":2,"Limit":3},"tens":{"0":"","-10":"","7":""},"-":"a"}`, ""},
		{`{"own":{"rows":1,"else":2},"Raw":{"limit":1,"Rows":1},"Twice":"in neither","bytes":"AAE="}`, ""},
		{`{"KIND":1}`, "KIND is not known: it is spelled "},
		{`{"\u212aind":1}`, "it is spelled "}, // the Kelvin sign
		{`{"next":{"next":{"Point":{}}}}`, "next.next.Point is not known: it is spelled point"},
		{`{"point":{"y":1}}`, "point.y is not known: it is spelled Y"},
		{`{"list":[{},{"X":1}]}`, "list[1].X is not known: it is spelled x"},
		{`{"pair":[{"X":1}]}`, "pair[0].X"},
		{`{"Of":{"any":{"X":1}}}`, "Of.any.X"},
		{`{"of":{}}`, "it is spelled Of"},
		{`{"own":{"Rows":1}}`, "own.Rows is not known: it is spelled rows"},
		{`{"own":{"a":[{"LIMIT":1}]}}`, "own.a[0].LIMIT is not known: it is spelled limit"},
		{`{"Raw":{"Limit":1}}`, "Raw.Limit"},
		{`{"tens":{"07":""}}`, "tens.07 is not a whole number"},
		{`{"tens":{"+7":""}}`, "is not a whole number"},
		{`{"pair":[{},{},{}]}`, "pair has 3 elements, and at most 2 are taken"},
	} {
		err := of.Check(decoded(t, c.text))
		if c.fault == "" && err != nil || c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
			t.Errorf("%s: %v, want %q", c.text, err, c.fault)
		}
	}
}

// TestNothingArrivesThatWasNotSeen decodes random values whose names differ by their case, and looks for what the type has got in the value:
// what encoding/json put elsewhere would not be there.
func TestNothingArrivesThatWasNotSeen(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	words := []string{"kind", "Twice", "Kind", "next", "point", "list", "pair", "map", "Of", "x", "Y", "own", "rows"}
	number := 0
	var value func(depth int) any
	object := func(depth int) map[string]any {
		m := map[string]any{}
		for range random.IntN(5) {
			word := words[random.IntN(len(words))]
			switch random.IntN(6) {
			case 0:
				word = strings.ToUpper(word)
			case 1:
				word = strings.ToUpper(word[:1]) + word[1:]
			}
			m[word] = value(depth - 1)
		}
		return m
	}
	value = func(depth int) any {
		number++
		switch n := random.IntN(10); {
		case depth > 0 && n < 5:
			return object(depth)
		case depth > 0 && n < 6:
			return []any{value(depth - 1), value(depth - 1)}
		}
		return float64(number) // each is another
	}
	of := strictjson.TypeOf(reflect.TypeFor[deep](), nil)
	tried := 0
	for range 30_000 {
		seen := object(5)
		if of.Check(seen) != nil {
			continue
		}
		text, _ := json.Marshal(seen)
		var got deep
		if json.Unmarshal(text, &got) != nil {
			continue
		}
		tried++
		text, _ = json.Marshal(got)
		within(t, decoded(t, string(text)), seen, "")
	}
	if tried < 1000 {
		t.Fatalf("only %d values were decoded", tried)
	}
}

func within(t *testing.T, got, seen any, at string) {
	t.Helper()
	switch g := got.(type) {
	case map[string]any:
		members, _ := seen.(map[string]any)
		for name, v := range g {
			within(t, v, members[name], at+"."+name)
		}
	case []any:
		elements, _ := seen.([]any)
		for i, v := range g {
			var of any
			if i < len(elements) {
				of = elements[i]
			}
			within(t, v, of, at)
		}
	case float64:
		if g != 0 && g != seen {
			t.Fatalf("%s is %v, and seen was %v", at, g, seen)
		}
	}
}
