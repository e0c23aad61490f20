package rest

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/yosida95/uritemplate/v3"
)

// blue are the values of the table "Style Examples" of OpenAPI 3.1.1, section 4.8.12.6. Members of an object have no order, and come
// sorted by name here: B, G, R.
var blue = map[string]any{
	"empty": "", "string": "blue", "array": []any{"blue", "black", "brown"},
	"object": map[string]any{"R": int64(100), "G": int64(200), "B": int64(150)},
}

// TestStyleExamples holds the table as it is published. A cell that says n/a is left out.
func TestStyleExamples(t *testing.T) {
	styles := map[string]Style{"matrix": Matrix, "label": Label, "simple": Simple, "form": Form, "spaceDelimited": SpaceDelimited, "pipeDelimited": PipeDelimited, "deepObject": DeepObject}
	const table = `
matrix         | false | ;color | ;color=blue | ;color=blue,black,brown             | ;color=R,100,G,200,B,150
matrix         | true  | ;color | ;color=blue | ;color=blue;color=black;color=brown | ;R=100;G=200;B=150
label          | false | .      | .blue       | .blue,black,brown                   | .R,100,G,200,B,150
label          | true  | .      | .blue       | .blue.black.brown                   | .R=100.G=200.B=150
simple         | false |        | blue        | blue,black,brown                    | R,100,G,200,B,150
simple         | true  |        | blue        | blue,black,brown                    | R=100,G=200,B=150
form           | false | color= | color=blue  | color=blue,black,brown              | color=R,100,G,200,B,150
form           | true  | color= | color=blue  | color=blue&color=black&color=brown  | R=100&G=200&B=150
spaceDelimited | false | n/a    | n/a         | color=blue%20black%20brown          | color=R%20100%20G%20200%20B%20150
pipeDelimited  | false | n/a    | n/a         | color=blue%7Cblack%7Cbrown          | color=R%7C100%7CG%7C200%7CB%7C150
deepObject     | true  | n/a    | n/a         | n/a                                 | color%5BR%5D=100&color%5BG%5D=200&color%5BB%5D=150`
	cells := 0
	for line := range strings.Lines(strings.TrimSpace(table)) {
		row := strings.Split(strings.TrimSuffix(line, "\n"), "|")
		for i := range row {
			row[i] = strings.TrimSpace(row[i])
		}
		e := Encoding{Style: styles[row[0]], Explode: row[1] == "true"}
		for n, kind := range []string{"empty", "string", "array", "object"} {
			want := row[2+n]
			if want == "n/a" {
				continue
			}
			cells++
			got, err := written(e, "color", blue[kind])
			if err != nil || inAnyOrder(got) != inAnyOrder(want) {
				t.Errorf("%s explode=%s %s: %q (%v), published is %q", row[0], row[1], kind, got, err, want)
			}
		}
	}
	if cells != 37 {
		t.Errorf("%d cells", cells)
	}
}

// written is a value by a style, wherever that stands.
func written(e Encoding, name string, v any) (string, error) {
	if slices.Contains([]Style{Matrix, Label, Simple}, e.Style) {
		return e.inPath(name, v, func(text, _ string) (string, error) { return encode(text, ""), nil })
	}
	fields, err := e.fields(name, v, e.inQuery)
	var out strings.Builder
	appendFields(&out, fields)
	return out.String(), err
}

// inAnyOrder moves the member R of the example to the end, where it stands first in the specification.
func inAnyOrder(text string) string {
	for _, order := range [][2]string{
		{"R=100;G=200;B=150", "B=150;G=200;R=100"}, {"R,100,G,200,B,150", "B,150,G,200,R,100"}, {"R=100.G=200.B=150", "B=150.G=200.R=100"},
		{"R=100,G=200,B=150", "B=150,G=200,R=100"}, {"R=100&G=200&B=150", "B=150&G=200&R=100"}, {"R%20100%20G%20200%20B%20150", "B%20150%20G%20200%20R%20100"},
		{"R%7C100%7CG%7C200%7CB%7C150", "B%7C150%7CG%7C200%7CR%7C100"}, {"color%5BR%5D=100&color%5BG%5D=200&color%5BB%5D=150", "color%5BB%5D=150&color%5BG%5D=200&color%5BR%5D=100"},
	} {
		text = strings.ReplaceAll(text, order[0], order[1])
	}
	return text
}

// TestStylesAreTemplates has an implementation of RFC 6570, from which OpenAPI has its styles, write the same values: of ASCII that can be printed,
// since it does not write UTF-8, drops NUL, does not encode the names of members, and loses the = of an empty one in {.x*} and {x*}. Those come back from decoders elsewhere.
func TestStylesAreTemplates(t *testing.T) {
	texts := []string{"blue", "", "a b", "a,b", "a;b=c&d", "100%", "a/b?c#d", "~-._", "\"<>\\^`{|}"}
	for _, s := range []struct {
		style    Style
		operator string
	}{{Matrix, ";"}, {Label, "."}, {Simple, ""}, {Form, "?"}} {
		for _, explode := range []bool{false, true} {
			for n, text := range texts {
				other := texts[(n+1)%len(texts)]
				values := map[string]struct {
					ours   any
					theirs uritemplate.Value
				}{
					"string": {text, uritemplate.String(text)},
					"list":   {[]any{text, other}, uritemplate.List(text, other)},
					"object": {map[string]any{"a": text, "bc": other}, uritemplate.KV("a", text, "bc", other)},
				}
				if explode && s.style != Form && s.style != Matrix && (text == "" || other == "") {
					delete(values, "object")
				}
				for kind, v := range values {
					star := ""
					if explode {
						star = "*"
					}
					template, err := uritemplate.New("{" + s.operator + "color" + star + "}")
					if err != nil {
						t.Fatal(err)
					}
					want, err := template.Expand(uritemplate.Values{"color": v.theirs})
					if err != nil {
						t.Fatal(err)
					}
					got, err := written(Encoding{Style: s.style, Explode: explode}, "color", v.ours)
					if want = strings.TrimPrefix(want, "?"); err != nil || got != want {
						t.Errorf("{%scolor%s} %s %q: %q (%v), a template gives %q", s.operator, star, kind, text, got, err, want)
					}
				}
			}
		}
	}
}

// TestReserved has values come back from a reader of forms, with and without reserved characters in them.
func TestReserved(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		for c := range rune(0x250) {
			text := "a" + string(c) + "b"
			e := Encoding{Style: Form, AllowReserved: allowed}
			query, err := written(e, "q", text)
			if err != nil {
				t.Fatal(err)
			}
			values, err := url.ParseQuery(query)
			if err != nil || !slices.Equal(values["q"], []string{text}) {
				t.Errorf("%q, reserved %t: %q is read as %q (%v)", text, allowed, query, values, err)
			}
			if kept := strings.Contains(query[2:], string(c)); c != '%' && kept != (unreserved(byte(c)) && c < 0x80 || allowed && strings.ContainsRune(":/?@!$'()*,=", c)) {
				t.Errorf("%q, reserved %t: %q", text, allowed, query)
			}
		}
	}
}
