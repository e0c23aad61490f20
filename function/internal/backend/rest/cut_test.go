package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// random makes JSON of all shapes.
func random(r *rand.Rand, depth int) any {
	switch n := r.IntN(8); {
	case n < 2 && depth > 0:
		out := make([]any, r.IntN(12))
		for i := range out {
			out[i] = random(r, depth-1)
		}
		return out
	case n < 5 && depth > 0:
		out := map[string]any{}
		for range r.IntN(8) {
			out[text(r, 6)] = random(r, depth-1)
		}
		return out
	case n == 5:
		return json.Number(fmt.Sprint(r.Int64()))
	case n == 6:
		return r.IntN(2) == 0
	}
	return text(r, 120)
}

func text(r *rand.Rand, most int) string {
	letters := []rune("abc \"\\\n\x01é€𝄞.<")
	out := make([]rune, 1+r.IntN(most))
	for i := range out {
		out[i] = letters[r.IntN(len(letters))]
	}
	return string(out)
}

// TestCutJSON cuts generated JSON to all lengths: what is shown is JSON within the bound, is part of the answer by encoding/json's reading, is not empty where the
// answer is not, and what is shown of a list with what is left is the list.
func TestCutJSON(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	resumed, rounds := 0, 500
	if testing.Short() {
		rounds = 100
	}
	for range rounds {
		var v any = random(r, 5)
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		most := 200 + r.IntN(len(b)+1)
		c := CutJSON(b, most)
		if len(b) <= most {
			if !bytes.Equal(c.Shown, b) || c.Notes != nil {
				t.Fatalf("%s was cut to %d", b, most)
			}
			continue
		}
		var whole, shown any
		if err := json.Unmarshal(c.Shown, &shown); err != nil {
			t.Fatalf("%s of %s: %v", c.Shown, b, err)
		}
		json.Unmarshal(b, &whole)
		if len(c.Shown) > most || len(c.Notes) == 0 || !utf8.Valid(c.Shown) {
			t.Fatalf("%d bytes of at most %d, %q: %s", len(c.Shown), most, c.Notes, c.Shown)
		}
		if err := partOf(shown, whole); err != nil {
			t.Fatalf("%s of %s: %v", c.Shown, b, err)
		}
		path := pathOf(c.Path)
		var pages, all []json.RawMessage
		json.Unmarshal(at(c.Shown, path), &pages)
		whole, shown = nil, nil
		json.Unmarshal(at(b, path), &all)
		if exact := c.More && len(pages) == c.From; !exact && len(c.Shown) < most/3 {
			t.Fatalf("a stub of %d bytes, where %d have room: %.2000s of %.2000s", len(c.Shown), most, c.Shown, b)
		}
		if !c.More {
			continue
		}
		resumed++
		pages = pages[:c.From]
		for c.More {
			if len(pages) != c.From || len(all) != c.Total {
				t.Fatalf("%d of %d items of %s, and %d of %d are read", c.From, c.Total, c.Path, len(pages), len(all))
			}
			var ok bool
			var page []json.RawMessage
			if c, ok = listFrom(b, c.Path, c.From, most); !ok || len(c.Shown) > most || json.Unmarshal(c.Shown, &page) != nil || len(page) == 0 {
				t.Fatalf("a page of at most %d bytes is %s", most, c.Shown)
			}
			pages = append(pages, page...)
		}
		if len(pages) != len(all) {
			t.Fatalf("%d of %d items are read", len(pages), len(all))
		}
		for i := range all { // byte for byte, but for one that has no room by itself
			if len(all[i]) > most-len("[]") {
				var whole, shown any
				if json.Unmarshal(all[i], &whole); json.Unmarshal(pages[i], &shown) != nil || partOf(shown, whole) != nil {
					t.Fatalf("item %d of %s is %s, and was %s", i, c.Path, pages[i], all[i])
				}
			} else if !bytes.Equal(pages[i], all[i]) {
				t.Fatalf("item %d of %s is %s, and was %s", i, c.Path, pages[i], all[i])
			}
		}
	}
	if resumed < rounds/20 {
		t.Errorf("only %d can be read on", resumed)
	}
}

// TestDeep has JSON that is nested as deeply as encoding/json takes it cut, kept in part and read in a moment: what is read again at each level is bounded.
func TestDeep(t *testing.T) {
	const depth = 9000
	size := 1 << 20
	if testing.Short() {
		size = 100 << 10
	}
	inner := `["` + strings.Repeat("x", size) + `",1]`
	mask, err := ParseMask([]string{"a"})
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range [][2]string{{"[", "]"}, {`{"a":`, "}"}, {`[{"a":`, "}]"}} {
		n := depth / len(pair[1])
		body := strings.Repeat(pair[0], n) + inner + strings.Repeat(pair[1], n)
		if c := CutJSON([]byte(body), 64<<10); !json.Valid(c.Shown) || len(c.Notes) == 0 {
			t.Errorf("%s: %q %q", pair[0], c.Shown, c.Notes)
		}
		if out, _ := mask.append(nil, []byte(body), 0); !json.Valid(out) {
			t.Errorf("%s: %.100q", pair[0], out)
		}
		if c := CutJSON([]byte(`{"b":[1,2,3],"d":`+body+`}`), 64<<10); string(c.Shown) != `{"b":[1,2,3]}` {
			t.Errorf("%s: %q", pair[0], c.Shown)
		}
	}
}

// partOf tells whether a value is another one with parts left out at its ends.
func partOf(part, whole any) error {
	switch p := part.(type) {
	case string:
		w, _ := whole.(string)
		if cut, ok := strings.CutSuffix(p, ellipsis); p != w && !(ok && strings.HasPrefix(w, cut)) {
			return fmt.Errorf("%q is no begin of %q", p, w)
		}
	case []any:
		w, ok := whole.([]any)
		if !ok || len(p) > len(w) || len(p) == 0 && len(w) > 0 {
			return fmt.Errorf("%d of %d items", len(p), len(w))
		}
		for i := range p {
			if err := partOf(p[i], w[i]); err != nil {
				return err
			}
		}
	case map[string]any:
		w, ok := whole.(map[string]any)
		if !ok || len(p) == 0 && len(w) > 0 {
			return fmt.Errorf("%d of %d members", len(p), len(w))
		}
		for name := range p {
			if err := partOf(p[name], w[name]); err != nil {
				return err
			}
		}
	default:
		if !reflect.DeepEqual(part, whole) {
			return fmt.Errorf("%v is not %v", part, whole)
		}
	}
	return nil
}

// TestMark has a model told how much is missing and how to ask for less, or the result say where what is left begins.
func TestMark(t *testing.T) {
	var items []string
	for n := range 1000 {
		items = append(items, fmt.Sprintf(`{"id":%d,"name":"customer %d"}`, n, n))
	}
	body := `{"total":1000,"data":{"items":[` + strings.Join(items, ", ") + `]},"next":"abc"}`
	r, err := answering(t, &API{}, Answer{MaxBytes: 2000, Structured: true}, 200, "application/json", body)
	if err != nil || r.IsError || len(r.Content) != 2 || !bytes.Equal(r.Structured, []byte(r.Content[0].Text)) || !strings.HasSuffix(r.Content[0].Text, `]},"next":"abc"}`) {
		t.Fatalf("%v %v", r, err)
	}
	var shown struct{ Data struct{ Items []any } }
	if err := json.Unmarshal(r.Structured, &shown); err != nil || len(r.Structured) < 1900 {
		t.Fatalf("%v", err)
	}
	if want := fmt.Sprintf("(only a part is shown: the first %d of 1000 items of data.items; ask for less by the arguments, such as limit)", len(shown.Data.Items)); r.Content[1].Text != want {
		t.Errorf("%s, want %s", r.Content[1].Text, want)
	}
	r, err = answering(t, &API{}, Answer{MaxBytes: 2000, ReadsOn: true}, 200, "application/json", body)
	if err != nil || !strings.HasSuffix(r.Content[1].Text, " of 1000 items of data.items)") || r.More.Path != "data.items" || r.More.From != len(shown.Data.Items) {
		t.Errorf("%v %v %v", in(r), r.More, err)
	}
	r, err = answering(t, &API{}, Answer{MaxBytes: 11, ReadsOn: true}, 200, "text/plain", "äöüäöüäöü")
	if err != nil || in(r) != "text äöüäö | text (only a part is shown: the first 10 of 18 bytes)" || r.More.From != 10 {
		t.Errorf("%v %v", in(r), err)
	}
	// Pretty-printed JSON loses its white space before it loses items.
	r, err = answering(t, &API{}, Answer{MaxBytes: 20}, 200, "application/json", "{\n        \"a\": [\n            1,\n            2\n        ]\n}")
	if err != nil || in(r) != `text {"a":[1,2]}` {
		t.Errorf("%v %v", in(r), err)
	}
}

// TestTextIsReadOn reads generated texts in parts of all lengths: they join to the text, each with whole characters, and no longer than it may be but for one character.
func TestTextIsReadOn(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		whole := []byte(text(r, 200))
		most := 1 + r.IntN(20)
		c := CutText(whole, most)
		joined, parts := bytes.Clone(c.Shown), 1
		for c.More {
			if c = textFrom(whole, c.From, most); !utf8.Valid(c.Shown) || len(c.Shown) > max(most, utf8.UTFMax) || len(c.Shown) == 0 {
				t.Fatalf("a part of %q of at most %d bytes is %q", whole, most, c.Shown)
			}
			joined = append(joined, c.Shown...)
			parts++
		}
		if !bytes.Equal(joined, whole) {
			t.Fatalf("%d parts of %q are %q", parts, whole, joined)
		}
	}
}

// TestListsThatPathsDoNotLeadTo has no list be read on that a path would find another for.
func TestListsThatPathsDoNotLeadTo(t *testing.T) {
	long := "[" + strings.Repeat(`"x",`, 50) + `"x"]`
	for body, want := range map[string]bool{
		`{"a":` + long + `}`: true, `{"a.b":{"c\\":` + long + `}}`: true, `{"a":[1],"b":` + long + `}`: true, long: true,
		`{"a":[1],"a":` + long + `}`: false, `{"":` + long + `}`: false,
	} {
		c := CutJSON([]byte(body), 100)
		if c.More != want {
			t.Errorf("%s is read on: %t", body, c.More)
		}
		if _, ok := listFrom([]byte(body), c.Path, c.From, 100); c.More && !ok {
			t.Errorf("%s: there is nothing at %s", body, c.Path)
		}
	}
}
