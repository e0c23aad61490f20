package value

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"example.com/erlmcp/function/internal/strictjson"
)

// kinds are the words for JSON's types.
var kinds = map[string]string{
	"string": "a string", "boolean": "true or false", "integer": "a whole number", "number": "a number", "array": "a list", "object": "an object", "null": "null",
}

func listOfKinds(types []string) string {
	words := make([]string, len(types))
	for i, t := range types {
		words[i] = cmp.Or(kinds[t], t)
	}
	return strings.Join(words, " or ")
}

const maxShown = 60 // bytes of a value, and of a name

// shown is a value as it came, or its beginning.
func shown(v any) string {
	if n, ok := v.(float64); ok {
		return strconv.FormatFloat(n, 'g', -1, 64)
	}
	text := string(beginning(nil, v))
	return cut(text, maxShown)
}

// cut is a text, or its beginning.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// beginning appends the JSON of a value, of which all beyond what is shown may be missing: it may be as large as a request.
func beginning(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return strictjson.AppendString(b, v[:min(len(v), maxShown+utf8.UTFMax)])
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if len(b) > maxShown {
				return b
			}
			if i > 0 {
				b = append(b, ',')
			}
			b = beginning(b, e)
		}
		return append(b, ']')
	case map[string]any:
		b = append(b, '{')
		for i, name := range slices.Sorted(maps.Keys(v)) {
			if len(b) > maxShown {
				return b
			}
			if i > 0 {
				b = append(b, ',')
			}
			b = beginning(append(beginning(b, name), ':'), v[name])
		}
		return append(b, '}')
	}
	return append(b, plainJSON(v)...)
}

// plainJSON is the JSON of a decoded value, without what encoding/json escapes for HTML.
func plainJSON(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// named is a name that a stranger chose: cut, and quoted where it can't be shown or would be read as a path.
func named(name string) string {
	cut := name
	if len(cut) > maxShown {
		cut = strings.ToValidUTF8(cut[:maxShown], "") + "…"
	}
	if quoted := strconv.Quote(cut); cut == "" || quoted != `"`+cut+`"` || strings.ContainsAny(cut, ".[]:; ") {
		return quoted
	}
	return cut
}

// listed are the values of an enum.
func listed(values []any) string {
	const most = 20
	var out []string
	for i, v := range values {
		if i == most {
			out = append(out, fmt.Sprintf("and %d more", len(values)-i))
			break
		}
		if text, ok := v.(string); ok && text != "" && !strings.ContainsAny(text, ", ") {
			out = append(out, text)
		} else {
			out = append(out, shown(v))
		}
	}
	return strings.Join(out, ", ")
}

// unknown says that there is no such member, and which is meant or which there are.
func unknown(name string, members []string, folded map[string]string) Fault {
	f := Fault{At: named(name)}
	const most = 20
	switch right := folded[strictjson.Fold(name)]; {
	case right != "":
		f.What = "not known, it is spelled " + named(right)
	case len(members) == 0:
		f.What = "not known, there are no members"
	case len(members) > most:
		f.What = fmt.Sprintf("not known, the members are %s and %d more", strings.Join(members[:most], ", "), len(members)-most)
	default:
		f.What = "not known, the members are " + strings.Join(members, ", ")
	}
	return f
}

// foldedNames are names by what they are without regard to case.
func foldedNames(names []string) map[string]string {
	out := make(map[string]string, len(names))
	for _, name := range slices.Backward(names) {
		out[strictjson.Fold(name)] = name
	}
	return out
}

func indexed(i int) string { return "[" + strconv.Itoa(i) + "]" }
