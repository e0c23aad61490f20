package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A field is a name with a value, as they stand in a query, a form or a cookie.
type field struct{ name, value string }

// An escape makes text fit where it will stand. Text is an item of a list or a member of an object where separator is not empty: it must not
// be read as that.
type escape func(text, separator string) (string, error)

// scalar returns the text of a value that has no parts.
func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case uint64:
		return strconv.FormatUint(v, 10), true
	case int:
		return strconv.Itoa(v), true
	case json.Number:
		return v.String(), true
	case float64:
		return floatText(v), true
	}
	return "", false
}

// floatText writes a number without an exponent where the digits are few, as people do.
func floatText(f float64) string {
	if text := strconv.FormatFloat(f, 'f', -1, 64); len(text) <= 24 {
		return text
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// plain is the text of any value: what has parts inside of a style that has no way to write them is JSON.
func plain(v any) (string, error) {
	if text, ok := scalar(v); ok {
		return text, nil
	}
	text, err := jsonText(v)
	return string(text), err
}

func jsonText(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// An entry is a member of an object, or an item of a list, whose name is "".
type entry struct {
	name  string
	value any
}

// entries returns the parts of a value that there are: null is none (RFC 6570, section 2.3). Members come in the order of their names.
func entries(v any) (list []entry, object bool) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if e != nil {
				list = append(list, entry{"", e})
			}
		}
	case map[string]any:
		object = true
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if v[name] != nil {
				list = append(list, entry{name, v[name]})
			}
		}
	}
	return list, object
}

// expand writes the parts of a value with a separator between them, and the members of an object with = in explode and the separator else.
func expand(v any, explode bool, separator string, esc escape) (string, error) {
	if text, ok := scalar(v); ok {
		return esc(text, "")
	}
	list, object := entries(v)
	equals := separator
	if explode {
		equals = "="
	}
	var b strings.Builder
	for i, e := range list {
		if i > 0 {
			b.WriteString(separator)
		}
		if object {
			name, err := esc(e.name, equals)
			if err == nil && explode {
				_, err = esc(e.name, separator)
			}
			if err != nil {
				return "", err
			}
			b.WriteString(name + equals)
		}
		text, err := plain(e.value)
		if err == nil {
			text, err = esc(text, separator)
		}
		if err != nil {
			return "", err
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

// absent tells of a value that is nowhere to be seen on the wire: null, and what has no parts that could be.
func absent(v any) bool {
	if _, ok := scalar(v); ok {
		return false
	}
	list, _ := entries(v)
	return len(list) == 0
}

// inPath writes a value by the styles that a path has.
func (e Encoding) inPath(name string, v any, esc escape) (string, error) {
	if e.ContentType != "" {
		text, err := e.document(v)
		if err != nil {
			return "", err
		}
		return esc(text, "")
	}
	_, isScalar := scalar(v)
	switch e.Style {
	case Label:
		separator := ","
		if e.Explode {
			separator = "."
		}
		text, err := expand(v, e.Explode, separator, esc)
		return "." + text, err
	case Matrix:
		list, object := entries(v)
		if isScalar || !e.Explode {
			text, err := expand(v, false, ",", esc)
			if err == nil && text != "" {
				text = "=" + text
			}
			return ";" + encode(name, "") + text, err
		}
		var b strings.Builder
		for _, one := range list {
			key, err := encode(name, ""), error(nil)
			if object {
				key, err = esc(one.name, "=")
			}
			text := ""
			if err == nil {
				text, err = plain(one.value)
			}
			if err == nil {
				text, err = esc(text, ";")
			}
			if err != nil {
				return "", err
			}
			b.WriteString(";" + key)
			if text != "" {
				b.WriteString("=" + text)
			}
		}
		return b.String(), nil
	}
	return expand(v, e.Explode, ",", esc)
}

// separators are between the parts of a value that is one field.
var separators = map[Style]string{DefaultStyle: ",", Form: ",", SpaceDelimited: " ", PipeDelimited: "|", TabDelimited: "\t"}

// fields writes a value by the styles of queries and forms. The names are as they are before they are encoded.
func (e Encoding) fields(name string, v any, esc escape) ([]field, error) {
	if e.ContentType != "" {
		text, err := e.document(v)
		if err != nil {
			return nil, err
		}
		value, err := esc(text, "")
		return []field{{name, value}}, err
	}
	if text, ok := scalar(v); ok {
		value, err := esc(text, "")
		return []field{{name, value}}, err
	}
	list, object := entries(v)
	switch {
	case e.Style == DeepObject:
		return deep(nil, name, v, esc)
	case !e.Explode && len(list) > 0:
		separator := separators[e.Style]
		value, err := expand(v, false, separator, esc)
		if separator != "," {
			value = strings.ReplaceAll(value, separator, encode(separator, ""))
		}
		return []field{{name, value}}, err
	}
	var out []field
	for _, one := range list {
		key := name
		if object {
			key = one.name
		}
		text, err := plain(one.value)
		if err == nil {
			text, err = esc(text, "")
		}
		if err != nil {
			return nil, err
		}
		out = append(out, field{key, text})
	}
	return out, nil
}

// deep writes each leaf of a value as name[member][member]=leaf. Items of lists are members by their numbers from 0, which is how PHP,
// Rack, qs and kin-openapi read lists of objects too.
func deep(out []field, name string, v any, esc escape) ([]field, error) {
	if text, ok := scalar(v); ok {
		value, err := esc(text, "")
		return append(out, field{name, value}), err
	}
	list, object := entries(v)
	var err error
	for i, one := range list {
		key := one.name
		if !object {
			key = strconv.Itoa(i)
		} else if strings.ContainsAny(key, "[]") {
			return nil, fmt.Errorf("its member %.60q has a bracket in its name, which this API would take for another member", key)
		}
		if out, err = deep(out, name+"["+key+"]", one.value, esc); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// document writes a value as text of the encoding's media type.
func (e Encoding) document(v any) (string, error) {
	if isJSON(e.ContentType) {
		text, err := jsonText(v)
		return string(text), err
	}
	return plain(v)
}

const hex = "0123456789ABCDEF"

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// encode percent-encodes all but unreserved characters (RFC 3986, section 2.3), and those that are kept besides.
func encode(text, kept string) string {
	n := 0
	for i := range len(text) {
		if c := text[i]; !unreserved(c) && strings.IndexByte(kept, c) < 0 {
			n++
		}
	}
	if n == 0 {
		return text
	}
	b := make([]byte, 0, len(text)+2*n)
	for i := range len(text) {
		if c := text[i]; unreserved(c) || strings.IndexByte(kept, c) >= 0 {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(b)
}

// reservedKept are the reserved characters that a value in a query may have, RFC 3986 and the readers of forms considered.
const reservedKept = ":/?@!$'()*,="

// inQuery is the escape of queries and forms.
func (e Encoding) inQuery(text, separator string) (string, error) {
	if separator != "" && separator != "," && strings.Contains(text, separator) {
		return "", fmt.Errorf("its part %.60q has the character %q, which separates the parts of it for this API", text, separator)
	}
	kept := ""
	if e.AllowReserved {
		kept = reservedKept
		if separator == "," {
			kept = strings.ReplaceAll(kept, ",", "")
		}
	}
	return encode(text, kept), nil
}

// inHeader is the escape of headers: nothing is encoded in them, so what they can't hold is refused.
func inHeader(text, separator string) (string, error) {
	if err := headerText(text); err != nil {
		return "", err
	}
	if separator != "" && strings.Contains(text, separator) {
		return "", fmt.Errorf("its part %.60q has the character %q, which separates the parts of a header", text, separator)
	}
	return text, nil
}

// headerText returns why a header can't have a text as its value (RFC 9110, section 5.5).
func headerText(text string) error {
	for i := range len(text) {
		switch c := text[i]; {
		case c == '\r' || c == '\n':
			return fmt.Errorf("it has a line break, which a header can't have")
		case c >= 0x80:
			return fmt.Errorf("it has a character that is not ASCII, which a header can't have")
		case c < ' ' && c != '\t' || c == 0x7f:
			return fmt.Errorf("it has a control character, which a header can't have")
		}
	}
	if strings.Trim(text, " \t") != text {
		return fmt.Errorf("it begins or ends with a space, which a header loses")
	}
	return nil
}

// inCookie is the escape of cookies, in which nothing is encoded either (RFC 6265, section 4.1.1).
func inCookie(text, _ string) (string, error) {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`",;\`, c) >= 0 {
			return "", fmt.Errorf("it has the character %q, which a cookie can't have", c)
		}
	}
	return text, nil
}
