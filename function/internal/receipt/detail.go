package receipt

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"regexp"
	"strings"
)

// maxOrder is what a receipt carries of an order; of a longer one it has the hash.
const maxOrder = 7 << 10

// secret is the form of keys and webhook secrets: none gets into a receipt, even if it is sent where it does not belong.
var secret = regexp.MustCompile(`erlmcp_[A-Za-z0-9]{8}_[A-Za-z0-9]{20,}|whsec_[A-Za-z0-9+/=_-]+`)

// Detail is the canonical JSON of what was ordered, with more members.
func Detail(order, more map[string]any) string {
	maps.Copy(order, more)
	text := Canonical(Plain(order))
	if len(text) > maxOrder {
		text = Canonical(map[string]any{"path": order["path"], "sha256": HashOf(text).String(), "bytes": len(text)})
	}
	return secret.ReplaceAllLiteralString(string(text), "[secret]")
}

// Canonical is JSON in the form of RFC 8785, of what has names in ASCII and numbers as [Plain] has them.
func Canonical(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b) // sorts maps; numbers are written as in ECMAScript
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	text := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	if !bytes.Contains(text, []byte(`\u202`)) {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ { // the two characters that Go escapes and RFC 8785 doesn't
		switch rest := text[i:]; {
		case bytes.HasPrefix(rest, []byte(`\u2028`)):
			out, i = append(out, "\u2028"...), i+5
		case bytes.HasPrefix(rest, []byte(`\u2029`)):
			out, i = append(out, "\u2029"...), i+5
		case text[i] == '\\':
			out, i = append(out, text[i], text[i+1]), i+1
		default:
			out = append(out, text[i])
		}
	}
	return out
}

// Plain turns a value of ours into maps and lists, so that its canonical form has its names in order.
func Plain(v any) any {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	out, err := DecodePlain(text)
	if err != nil {
		panic(err)
	}
	return out
}

// DecodePlain decodes JSON with whole numbers digit by digit, where RFC 8785 has the nearest double: what was ordered is recorded as it was,
// and told from its neighbours.
func DecodePlain(text []byte) (v any, err error) {
	if !json.Valid(text) {
		return nil, errors.New("this is not JSON")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	err = d.Decode(&v)
	return withNumbers(v), err
}

func withNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			v[name] = withNumbers(member)
		}
	case []any:
		for i, element := range v {
			v[i] = withNumbers(element)
		}
	case json.Number:
		f, err := v.Float64()
		switch {
		case err != nil:
		case f == 0: // and no negative one
			return 0
		case strings.ContainsAny(v.String(), ".eE"):
			return f
		}
	}
	return v
}
